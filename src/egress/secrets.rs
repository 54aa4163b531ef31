//! The secrets of one jail: their values, what stands for them inside, and the putting of one for the other.
//!
//! Owns the values, which are in no other process. Must not judge which request gets one.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::needles::{Blotter, Needles};
use super::sources::{self, Value};
use crate::policy::egress::http::{Form, Inject};
use crate::policy::egress::{Denied, Rules};

/// All of them.
pub struct Secrets {
    values: BTreeMap<String, Value>,
    /// What every placeholder of this jail has in it; none when there are none.
    needles: Option<Needles>,
}

impl Secrets {
    /// Reads those that `rules` name. `mark` is in everything that stands for one in this jail.
    pub fn read(rules: &Rules, mark: Option<&str>) -> Secrets {
        let values = rules.secrets.iter().map(|(name, secret)| (name.clone(), sources::read(&secret.source)));
        Secrets { values: values.collect(), needles: mark.map(Needles::of) }
    }

    /// What must not leave, if there is anything.
    pub fn needles(&self) -> Option<&Needles> {
        self.needles.as_ref()
    }

    /// Puts a secret where the rule says, in place of whatever the command wrote there. Gives what must then not come back.
    pub fn put_in(&self, inject: &Inject, headers: &mut HeaderMap) -> Result<Blotter, Denied> {
        let no = |why: &str| {
            let rule = format!("secret `{}`, which the rule puts in, cannot be had: {why}", inject.secret);
            Denied::by(
                rule,
                "have the operator look at its source in [egress.secrets]; a jail that begins later reads it anew",
            )
        };
        let value = self.values.get(&inject.secret).ok_or_else(|| no("nothing says where it comes from"))?;
        let value = value.as_ref().map_err(|why| no(why))?;
        let text = match &inject.form {
            Form::Text { before, after } => format!("{before}{value}{after}"),
            Form::Basic { user } => format!("Basic {}", STANDARD.encode(format!("{user}:{value}"))),
        };
        let name = HeaderName::from_bytes(inject.header.as_bytes()).map_err(|_| no("its field has no name"))?;
        let mut field = HeaderValue::from_str(&text).map_err(|_| no("it can stand in no field"))?;
        field.set_sensitive(true);
        headers.insert(name, field);
        let encoded = matches!(inject.form, Form::Basic { .. }).then_some(text);
        let encoded = encoded.and_then(|text| text.strip_prefix("Basic ").map(str::to_owned));
        Ok(Blotter::of(&[Some(value.clone()), encoded].into_iter().flatten().collect::<Vec<_>>()))
    }

    /// Whether something that stands for a secret is in what a request says of itself.
    pub fn leave_in(&self, target: &str, headers: &HeaderMap) -> bool {
        let Some(needles) = &self.needles else { return false };
        let fields = headers
            .iter()
            .any(|(name, value)| needles.are_in(name.as_str().as_bytes()) || needles.are_in(value.as_bytes()));
        fields || needles.are_in(target.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::egress::http::secret::{Secret, Source};

    const MARK: &str = "clawjail0000000000000000";

    fn secrets(value: &str) -> Secrets {
        let argv = ["/bin/echo", value].map(str::to_owned).to_vec();
        let good = Secret { env: None, source: Source::Command { argv, timeout_ms: 5000 } };
        let bad = Secret { env: None, source: Source::File("/no/such/file".into()) };
        let all = BTreeMap::from([("good".to_owned(), good), ("bad".to_owned(), bad)]);
        Secrets::read(&Rules { secrets: all, ..Rules::default() }, Some(MARK))
    }

    fn inject(secret: &str, form: Form) -> Inject {
        Inject { header: "authorization".into(), secret: secret.into(), form }
    }

    #[test]
    fn a_secret_takes_the_place_of_whatever_stood_there() {
        let secrets = secrets("hunter2");
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("Bearer own"));
        headers.append("authorization", HeaderValue::from_static("Bearer other"));
        let bearer = Form::Text { before: "Bearer ".into(), after: String::new() };
        let blotter = secrets.put_in(&inject("good", bearer), &mut headers).expect("a secret");
        assert_eq!(headers.get_all("authorization").iter().collect::<Vec<_>>(), ["Bearer hunter2"]);
        assert_eq!(blotter.blot(b"you said hunter2"), b"you said *******");
        let basic = Form::Basic { user: "u".into() };
        let blotter = secrets.put_in(&inject("good", basic), &mut headers).expect("a secret");
        assert_eq!(headers["authorization"], "Basic dTpodW50ZXIy");
        assert!(!String::from_utf8_lossy(&blotter.blot(b"Basic dTpodW50ZXIy")).contains("dW50ZXIy"));
    }

    #[test]
    fn a_secret_that_cannot_be_had_is_a_denial_and_leaves_the_field_as_it_was() {
        let mut headers = HeaderMap::new();
        for name in ["bad", "unknown"] {
            let form = Form::Text { before: String::new(), after: String::new() };
            let denied = secrets("x").put_in(&inject(name, form), &mut headers).err().expect("none");
            assert!(denied.rule.contains(name) && headers.is_empty(), "{denied:?}");
        }
    }

    #[test]
    fn what_stands_for_a_secret_is_found_in_fields_and_targets() {
        let secrets = secrets("hunter2");
        let with = |value: &str| {
            HeaderMap::from_iter([(HeaderName::from_static("x"), HeaderValue::from_str(value).expect("text"))])
        };
        assert!(secrets.leave_in("/", &with(&format!("a {MARK}-good"))));
        assert!(secrets.leave_in("/", &with(&format!("Basic {}", STANDARD.encode(format!("u:{MARK}-good"))))));
        assert!(secrets.leave_in(&format!("/?q=%63{}", &MARK[1..]), &HeaderMap::new()));
        assert!(!secrets.leave_in("/?q=clawjail", &with("clawjail")));
    }
}
