//! The words of `[egress]` about how much leaves, who is met first, and by which way.
//!
//! Owns their check and their defaults. Must not know rules.

use super::error::ProfileError;
use super::lineage::Layer;
use super::schema::{BudgetTable, FirstContactWord};
use super::typed::Limit;
use super::units::{Bytes, Count};
use crate::policy::document::Spot;
use crate::policy::egress::terms::{Budget, FirstContact, NameServer, Proxy, Terms};
use crate::policy::names::shown;

/// What is wrong with the words of one layer.
pub fn check(layer: &Layer) -> Vec<ProfileError> {
    let egress = &layer.file.egress;
    let mut errors = Vec::new();
    let mut wrong = |spot: Spot<'_>, what: String, hint: &str| {
        let flaw = layer.document.flaw(spot, what).with_hint(hint);
        errors.push(layer.error(flaw));
    };
    if let Some(proxy) = &egress.proxy
        && let Err(flaw) = Proxy::parse(proxy, egress.proxy_credentials.as_deref())
    {
        let what = format!("cannot use proxy `{}`: {flaw}", shown(proxy));
        wrong(
            Spot::Value(&["egress", "proxy"]),
            what,
            "such as `http://proxy.example:3128`, and its password in a file",
        );
    }
    if egress.proxy.is_none() && egress.proxy_credentials.is_some() {
        let what = "`proxy_credentials` without `proxy`".to_owned();
        wrong(Spot::Key(&["egress", "proxy_credentials"]), what, "name the proxy in the same profile");
    }
    for server in egress.resolver.iter().flatten() {
        if let Err(flaw) = NameServer::parse(server) {
            let what = format!("cannot ask `{}` for names: {flaw}", shown(server));
            let hint =
                "such as `192.0.2.53`, `tls://192.0.2.53#dns.example` or `https://192.0.2.53/dns-query#dns.example`";
            wrong(Spot::Item(&["egress", "resolver"], server), what, hint);
        }
    }
    errors
}

/// What holds: the last word on each, and nothing where nobody says anything.
pub fn terms(layers: &[Layer]) -> Terms {
    let proxy = last(layers, |layer| {
        let egress = &layer.file.egress;
        // Checked before.
        Proxy::parse(egress.proxy.as_ref()?, egress.proxy_credentials.as_deref()).ok()
    });
    let resolvers = last(layers, |layer| layer.file.egress.resolver.as_ref());
    Terms {
        budget: Budget {
            sent: at_most(layers, |budget| budget.sent).map(|Bytes(bytes)| bytes),
            sent_per_host: at_most(layers, |budget| budget.sent_per_host).map(|Bytes(bytes)| bytes),
            connections: at_most(layers, |budget| budget.connections).map(|Count(count)| count),
            requests_per_minute: at_most(layers, |budget| budget.requests_per_minute).map(|Count(count)| count),
        },
        first_contact: last(layers, |layer| layer.file.egress.first_contact).map(|word| match word {
            FirstContactWord::Allow => FirstContact::Allow,
            FirstContactWord::Flag => FirstContact::Flag,
            FirstContactWord::Deny => FirstContact::Deny,
        }),
        proxy,
        resolvers: resolvers.into_iter().flatten().filter_map(|text| NameServer::parse(text).ok()).collect(),
    }
}

fn at_most<T>(layers: &[Layer], word: impl Fn(&BudgetTable) -> Option<Limit<T>>) -> Option<T> {
    last(layers, |layer| word(&layer.file.egress.budget)).and_then(Limit::into_option)
}

/// The last word on one key.
fn last<'a, T>(layers: &'a [Layer], word: impl Fn(&'a Layer) -> Option<T>) -> Option<T> {
    layers.iter().rev().find_map(word)
}
