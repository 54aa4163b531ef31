//! The command's environment: nothing is inherited but what is named.

use std::collections::BTreeMap;

use super::raised::Private;
use crate::plan::Plan;
use crate::plan::refused::Refused;
use crate::policy::environment::{Hook, is_hook};
use crate::wire::privsep::{RunRequest, Text};

/// `NAME=value` for everything that the command starts with: the plan's own, what is passed on, what the caller sets.
pub fn make(plan: &Plan, request: &RunRequest, private: &Private) -> Result<Vec<Text>, Refused> {
    let mut environment: BTreeMap<Text, Text> = BTreeMap::new();
    for (name, value) in &plan.environment {
        let value = value.replace("{private}", &private.places).replace("{gate}", &private.gate);
        environment.insert(name.clone().into_bytes(), value.into_bytes());
    }
    for (name, secret) in &plan.egress.secrets {
        if let (Some(env), Some(stands)) = (&secret.env, private.placeholder(name)) {
            environment.insert(env.clone().into_bytes(), stands.into_bytes());
        }
    }
    // What the profile both sets and passes is set only where the caller has none.
    for (name, value) in &request.inherited {
        let by_profile = plan.pass.iter().any(|pass| pass.as_bytes() == name);
        if by_profile || request.pass.contains(name) {
            refuse_bad_value(name, value)?;
            environment.insert(name.clone(), value.clone());
        }
    }
    for name in request.pass.iter().chain(request.set.iter().map(|(name, _)| name)) {
        refuse_bad_name(name)?;
    }
    for (name, value) in &request.set {
        refuse_bad_value(name, value)?;
        environment.insert(name.clone(), value.clone());
    }
    Ok(environment.into_iter().map(|(name, value)| [name, b"=".to_vec(), value].concat()).collect())
}

fn refuse_bad_name(name: &[u8]) -> Result<(), Refused> {
    if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
        return Err(refused(name, "is no name"));
    }
    match is_hook(name) {
        Hook::No => Ok(()),
        Hook::Yes => Err(Refused {
            code: "environment_hook",
            message: format!(
                "environment variable `{}` makes programs run or load code",
                String::from_utf8_lossy(name)
            ),
            remedy: Some("write it under [environment] set in a profile that root owns, if it is meant".into()),
        }),
    }
}

fn refuse_bad_value(name: &[u8], value: &[u8]) -> Result<(), Refused> {
    if value.contains(&0) { Err(refused(name, "has a NUL byte in its value")) } else { Ok(()) }
}

fn refused(name: &[u8], why: &str) -> Refused {
    Refused {
        code: "environment_invalid",
        message: format!("environment variable `{}` {why}", String::from_utf8_lossy(name)),
        remedy: None,
    }
}
