//! `top`: what jails use now.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::connection::Client;
use super::jails::Open;
use super::methods::may_see;
use super::runs::Entry;
use crate::wire::fault::Fault;
use crate::wire::privsep::Usage;
use crate::wire::reply::{InUse, Used};

/// How long keepers may take to look, all together.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers it.
pub async fn answer(client: &Client) -> Result<Value, Fault> {
    let may_see = may_see(client)?;
    let mut jails = client.service.jails.all();
    jails.retain(|jail| may_see(jail.shown.uid));
    let mut runs = client.service.runs.all();
    // A run in a jail that stays is part of that.
    runs.retain(|entry| may_see(entry.label.uid) && entry.label.jail.is_none() && entry.is_running());
    // All are asked before the first is waited for.
    let jails: Vec<(u64, Rc<Open>)> = jails.into_iter().map(|jail| (jail.gauge.ask(), jail)).collect();
    let runs: Vec<(u64, Rc<Entry>)> = runs.into_iter().map(|entry| (entry.gauge.ask(), entry)).collect();
    let until = Instant::now() + PATIENCE;
    let mut used = Vec::new();
    for (count, jail) in jails {
        let usage = jail.gauge.after(count, until).await;
        used.push(of_jail(&jail, usage));
    }
    for (count, entry) in runs {
        let usage = entry.gauge.after(count, until).await;
        used.push(of_run(&entry, usage));
    }
    Ok(json!(InUse { jails: used }))
}

fn of_jail(jail: &Open, usage: Option<Usage>) -> Used {
    let shown = jail.listed();
    Used {
        jail: Some(shown.jail),
        run: None,
        uid: shown.uid,
        agent: shown.agent,
        profile: shown.profile,
        time: shown.time,
        runs: shown.runs,
        denials: jail.denials(),
        memory: usage.map(|usage| usage.memory),
        processes: usage.map(|usage| usage.processes),
        processor_us: usage.map(|usage| usage.processor_us),
        argv: Vec::new(),
    }
}

fn of_run(entry: &Entry, usage: Option<Usage>) -> Used {
    let label = entry.label.clone();
    Used {
        jail: None,
        run: Some(label.id),
        uid: label.uid,
        agent: label.agent,
        profile: label.profile,
        time: label.time,
        runs: 1,
        denials: 0,
        memory: usage.map(|usage| usage.memory),
        processes: usage.map(|usage| usage.processes),
        processor_us: usage.map(|usage| usage.processor_us),
        argv: label.argv,
    }
}
