//! Counters of what was run, and their text for Prometheus.
//!
//! Owns the names of the metrics. Pure: whoever serves them counts, and tells what only they know (jails, pool).

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::verdict::{Outcome, Verdict};

/// Upper bounds of the buckets of the run time, in seconds.
pub const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0, 600.0];

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Verdicts by profile and outcome. A refused profile is not named: callers make such names up.
    pub runs: BTreeMap<(String, &'static str), u64>,
    /// Refusals by their code.
    pub refusals: BTreeMap<String, u64>,
    /// Denials by their kind.
    pub denials: BTreeMap<String, u64>,
    /// Runs by their time from request to end; one for each bucket, not added up, and one for those above.
    pub times: [u64; BUCKETS.len() + 1],
    /// The sum of these times, in microseconds.
    pub time: u64,
    /// Open jails now.
    pub jails: u64,
    /// Warm jails in the pool now, by profile.
    pub pool: BTreeMap<String, u64>,
    /// Verdicts that the ledger could not take.
    pub unrecorded: u64,
    /// Times that journal, syslog or SIEM could not be told.
    pub untold: u64,
}

impl Counters {
    /// Counts one verdict.
    pub fn count(&mut self, verdict: &Verdict) {
        let refused = verdict.outcome == Outcome::Refused;
        let profile = if refused { String::new() } else { verdict.profile.clone() };
        *self.runs.entry((profile, verdict.outcome.word())).or_default() += 1;
        if let Some(reason) = verdict.reason.as_ref().filter(|_| refused) {
            *self.refusals.entry(reason.code.clone()).or_default() += 1;
        }
        for denial in &verdict.denials {
            *self.denials.entry(denial.kind.clone()).or_default() += denial.count;
        }
        if !refused {
            self.count_time(verdict.resources.wall_us);
        }
    }

    fn count_time(&mut self, wall_us: u64) {
        let seconds = wall_us as f64 / 1e6;
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        if let Some(count) = self.times.get_mut(bucket) {
            *count += 1;
        }
        self.time = self.time.saturating_add(wall_us);
    }

    /// In the text format of Prometheus, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let runs = self.runs.iter().map(|((profile, outcome), count)| {
            (format!("{{profile=\"{}\",outcome=\"{outcome}\"}}", escaped(profile)), *count)
        });
        family(&mut text, "clawjail_runs_total", "counter", "Verdicts by profile and outcome.", runs);
        let refusals = by("code", &self.refusals);
        family(&mut text, "clawjail_refusals_total", "counter", "Refusals by code.", refusals);
        let denials = by("kind", &self.denials);
        family(&mut text, "clawjail_denials_total", "counter", "Denials by kind.", denials);
        self.render_times(&mut text);
        let one = |count| [(String::new(), count)].into_iter();
        family(&mut text, "clawjail_jails", "gauge", "Open jails.", one(self.jails));
        family(&mut text, "clawjail_pool_jails", "gauge", "Warm jails by profile.", by("profile", &self.pool));
        let help = "Verdicts that the ledger could not take.";
        family(&mut text, "clawjail_unrecorded_total", "counter", help, one(self.unrecorded));
        let help = "Times that journal, syslog or SIEM could not be told.";
        family(&mut text, "clawjail_untold_total", "counter", help, one(self.untold));
        text
    }

    fn render_times(&self, text: &mut String) {
        let mut sum = 0;
        let bounds = BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        let mut samples: Vec<(String, u64)> = Vec::new();
        for (bound, count) in bounds.zip(self.times) {
            sum += count;
            samples.push((format!("_bucket{{le=\"{bound}\"}}"), sum));
        }
        let help = "Time from request to end of a run.";
        family(text, "clawjail_run_seconds", "histogram", help, samples.into_iter());
        // Writing to a string does not fail.
        let _ = writeln!(text, "clawjail_run_seconds_sum {}", self.time as f64 / 1e6);
        let _ = writeln!(text, "clawjail_run_seconds_count {sum}");
    }
}

fn by<'a>(label: &'static str, counts: &'a BTreeMap<String, u64>) -> impl Iterator<Item = (String, u64)> + 'a {
    counts.iter().map(move |(value, count)| (format!("{{{label}=\"{}\"}}", escaped(value)), *count))
}

fn family(text: &mut String, name: &str, kind: &str, help: &str, samples: impl Iterator<Item = (String, u64)>) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, count) in samples {
        let _ = writeln!(text, "{name}{labels} {count}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
