//! The service's configuration as typed: `/etc/clawjail/clawjail.toml`.
//!
//! Owns the keys. What they mean together is for [`super::config`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::config::Role;
use crate::ledger::config::LedgerTable;
use crate::profile::typed::{Exact, Limit, table};
use crate::profile::units::{Bytes, Count, Span};

/// The file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Where the socket is.
    pub socket: Option<String>,
    /// The group that may connect; everybody if not given. Who may do what is decided by who they are.
    pub group: Option<String>,
    /// The user that the supervisor becomes. Not with a service that was not started as root.
    pub user: Option<String>,
    /// Who may do what; the first that fits counts.
    #[serde(default)]
    pub caller: Vec<CallerTable>,
    /// Agents by name.
    #[serde(default)]
    pub agent: BTreeMap<String, AgentTable>,
    /// Bounds over all callers.
    #[serde(default, deserialize_with = "table")]
    pub limits: LimitsTable,
    /// Jails that stay open.
    #[serde(default, deserialize_with = "table")]
    pub jails: JailsTable,
    /// Jails made ahead of the next run.
    #[serde(default, deserialize_with = "table")]
    pub pool: PoolTable,
    /// The record of all runs; none is kept without this.
    #[serde(default, deserialize_with = "given")]
    pub ledger: Option<LedgerTable>,
    /// Numbers for Prometheus; none are given without this.
    #[serde(default, deserialize_with = "given")]
    pub metrics: Option<MetricsTable>,
}

/// `[metrics]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsTable {
    /// Where the socket is on which they are given by HTTP.
    pub socket: Option<String>,
    /// The group that may connect; the service's own user alone if not given.
    pub group: Option<String>,
}

fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    table(deserializer).map(Some)
}

/// `[[caller]]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallerTable {
    /// A user, by name or id.
    pub user: Option<String>,
    /// Everybody in a group, by name or id.
    pub group: Option<String>,
    /// What they may do.
    pub role: Option<Role>,
    /// The profiles that they may ask for; `*` is any.
    pub profiles: Option<Vec<String>>,
    /// The profile that is taken when none is named.
    pub default: Option<String>,
}

/// `[agent.NAME]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentTable {
    /// Its profile.
    pub profile: Option<String>,
    /// Its workspace, if a request names none.
    pub workspace: Option<String>,
}

/// `[limits]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsTable {
    /// Runs at once, of all callers.
    pub runs: Option<Exact<Count>>,
    /// Runs at once of one caller.
    pub runs_per_caller: Option<Exact<Count>>,
    /// Runs of one caller that may wait for their turn.
    pub waiting_per_caller: Option<Exact<Count>>,
    /// Runs that one caller may start in a minute.
    pub runs_per_minute: Option<Limit<Count>>,
    /// Open jails of all callers, those of single runs included.
    pub jails: Option<Exact<Count>>,
    /// Open jails of one caller.
    pub jails_per_caller: Option<Exact<Count>>,
    /// Connections of one caller.
    pub connections_per_caller: Option<Exact<Count>>,
    /// Bytes of one request.
    pub frame: Option<Exact<Bytes>>,
    /// How long one request may take from its first byte to its last.
    pub slowest_request: Option<Exact<Span>>,
    /// Bytes of a run's output that are kept for `attach`.
    pub output_kept: Option<Exact<Bytes>>,
}

/// `[jails]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JailsTable {
    /// A jail in which nothing ran for so long is closed.
    pub idle: Option<Exact<Span>>,
    /// A jail that is so old is closed, whatever runs in it.
    pub age: Option<Exact<Span>>,
}

/// `[pool]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolTable {
    /// Jails made ahead for each connection, for runs like its last one; none with 0.
    pub size: Option<u16>,
    /// One that was not used for so long is let go.
    pub idle: Option<Exact<Span>>,
}

/// The JSON Schema of the file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(ConfigFile).to_value()
}
