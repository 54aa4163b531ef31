//! Rules for requests: to which host, by which method, for which path, with which fields; and what credential is put in.
//!
//! Owns the form of such a rule and the decision about one request. A host that such a rule is about speaks HTTP alone, and
//! what no rule of its own allows is denied. Must not know how requests arrive.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub mod path;
pub mod secret;

use path::{Path, glob};

use super::name::Name;
use super::rule::{Protocol, Rule};
use super::{Denied, ONLY_IF, Rules};

/// One rule for requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRule {
    /// To whom, on which ports.
    pub host: Rule,
    /// By which methods; `*` is any.
    pub methods: Vec<String>,
    /// For which paths.
    pub paths: Vec<String>,
    /// What each of these fields must say, `*` standing for anything.
    pub headers: BTreeMap<String, String>,
    /// Whether the connection may become a websocket.
    pub websocket: WebSocket,
    /// What is put in.
    pub inject: Option<Inject>,
}

/// Whether a request may become a websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebSocket {
    /// It may.
    Allowed,
    /// It may not.
    Denied,
}

/// A credential that is put into requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inject {
    /// In this field, whatever the command wrote there.
    pub header: String,
    /// The secret's name.
    pub secret: String,
    /// How it is written there.
    pub form: Form,
}

/// How a secret is written in a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// Between these.
    Text {
        /// What stands before it.
        before: String,
        /// What stands after it.
        after: String,
    },
    /// As the password of this user, RFC 7617.
    Basic {
        /// The user.
        user: String,
    },
}

/// In which connections the gate looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Look {
    /// Those to hosts with rules for requests.
    #[default]
    IntoRuled,
    /// All TLS and HTTP to hosts by name: a placeholder must not leave by any.
    IntoAll,
}

/// A request as it is judged.
pub struct Request<'a> {
    /// The host.
    pub name: &'a Name,
    /// The port.
    pub port: u16,
    /// Whether it goes over TLS.
    pub over: Carrier,
    /// The method.
    pub method: &'a str,
    /// The path.
    pub path: &'a Path,
    /// All values of a field.
    pub header: &'a dyn Fn(&str) -> Vec<String>,
    /// Whether it asks for a websocket.
    pub websocket: bool,
}

/// By what a request is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// TLS.
    Tls,
    /// TCP alone.
    Plain,
}

/// What is decided about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Judged<'a> {
    /// This rule allows it.
    Allowed(&'a HttpRule),
    /// There is no rule for requests to this host: it is allowed as a whole.
    Unruled,
    /// It is denied.
    Denied(Denied),
}

impl Rules {
    /// The rules for requests to `name` on `port`.
    pub fn for_requests<'a>(&'a self, name: &Name, port: u16) -> impl Iterator<Item = &'a HttpRule> {
        self.http.iter().filter(move |rule| rule.host.names(name) && rule.host.covers(Protocol::Tcp, port))
    }

    /// Whether the gate ends TLS for some host, and the jail's programs have to trust it.
    pub fn end_tls(&self) -> bool {
        !self.http.is_empty() || self.look == Look::IntoAll
    }

    /// Whether `request` may be sent.
    pub fn judge_request(&self, request: &Request<'_>) -> Judged<'_> {
        let mut ruled = self.for_requests(request.name, request.port).peekable();
        if ruled.peek().is_none() {
            return Judged::Unruled;
        }
        match ruled.find(|rule| rule.fits(request)) {
            Some(rule) => Judged::Allowed(rule),
            None => Judged::Denied(self.by_no_rule(request)),
        }
    }

    fn by_no_rule(&self, request: &Request<'_>) -> Denied {
        let mut rule = format!("[[egress.http]] `{}` allows no such request, only ", request.name);
        for (index, other) in self.for_requests(request.name, request.port).enumerate().take(MOST_NAMED) {
            let _ = write!(rule, "{}{}", if index == 0 { "" } else { "; " }, other.summary());
        }
        let remedy = format!(
            "{ONLY_IF}have the operator add a rule for {} `{}` to [[egress.http]] of `{}`",
            request.method,
            request.path.as_str(),
            request.name
        );
        Denied::by(rule, remedy)
    }
}

/// How many rules a denial names.
const MOST_NAMED: usize = 4;

impl HttpRule {
    /// What it allows, in a few words.
    pub fn summary(&self) -> String {
        let mut text = format!("{} {}", self.methods.join("|"), self.paths.join(" "));
        for (header, value) in &self.headers {
            let _ = write!(text, " with `{header}: {value}`");
        }
        if self.inject.is_some() {
            text.push_str(" over TLS");
        }
        if self.websocket == WebSocket::Allowed {
            text.push_str(", websockets too");
        }
        text
    }

    fn fits(&self, request: &Request<'_>) -> bool {
        let method = self.methods.iter().any(|method| method == "*" || method == request.method);
        // A credential on a connection that anybody can read is no secret any more.
        let carrier = self.inject.is_none() || request.over == Carrier::Tls;
        let socket = !request.websocket || self.websocket == WebSocket::Allowed;
        let fields = self.headers.iter().all(|(header, pattern)| {
            let values = (request.header)(header);
            !values.is_empty() && values.iter().all(|value| glob(pattern, value))
        });
        method && carrier && socket && fields && request.path.matches(&self.paths)
    }
}

impl Inject {
    /// Fields that a gate writes itself, or that would change where a request ends.
    const OWN: [&'static str; 12] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ];

    /// Whether a field may be given a value by a rule.
    pub fn can_write(header: &str) -> bool {
        is_token(header) && !Inject::OWN.contains(&header.to_ascii_lowercase().as_str())
    }
}

/// Whether `text` is a name of a field or a method. RFC 9110.
pub fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

#[cfg(test)]
mod tests {
    use super::super::rule::List;
    use super::super::{Decision, Rules};
    use super::*;

    fn rule(host: &str, methods: &[&str], paths: &[&str]) -> HttpRule {
        let all = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        HttpRule {
            host: Rule::parse(host, List::Allow, "", "test").expect("a rule"),
            methods: all(methods),
            paths: all(paths),
            headers: BTreeMap::new(),
            websocket: WebSocket::Denied,
            inject: None,
        }
    }

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    struct Ask<'a> {
        host: &'a str,
        port: u16,
        over: Carrier,
        method: &'a str,
        path: &'a str,
        fields: &'a [(&'a str, &'a str)],
        websocket: bool,
    }

    const ASK: Ask<'static> = Ask {
        host: "a.example",
        port: 443,
        over: Carrier::Tls,
        method: "GET",
        path: "/",
        fields: &[],
        websocket: false,
    };

    fn allowed(rules: &Rules, ask: &Ask<'_>) -> Option<bool> {
        let header = |name: &str| -> Vec<String> {
            ask.fields.iter().filter(|(field, _)| *field == name).map(|(_, value)| (*value).to_owned()).collect()
        };
        let request = Request {
            name: &name(ask.host),
            port: ask.port,
            over: ask.over,
            method: ask.method,
            path: &Path::read(ask.path).expect("a path"),
            header: &header,
            websocket: ask.websocket,
        };
        match rules.judge_request(&request) {
            Judged::Allowed(_) => Some(true),
            Judged::Denied(denied) => {
                assert!(!denied.rule.is_empty() && !denied.remedy.is_empty());
                Some(false)
            }
            Judged::Unruled => None,
        }
    }

    fn rules(http: Vec<HttpRule>) -> Rules {
        Rules { http, ..Rules::default() }
    }

    #[test]
    fn a_request_needs_one_rule_of_its_host_that_fits_it_wholly() {
        let rules = rules(vec![
            rule("a.example", &["GET", "HEAD"], &["/repos/**"]),
            rule("a.example", &["POST"], &["/graphql"]),
        ]);
        for (method, path, wanted) in [
            ("GET", "/repos/x", true),
            ("HEAD", "/repos/x", true),
            ("POST", "/repos/x", false),
            ("POST", "/graphql", true),
            ("GET", "/graphql", false),
            ("get", "/repos/x", false),
            ("GET", "/", false),
            ("GET", "/repos/../x", false),
        ] {
            assert_eq!(allowed(&rules, &Ask { method, path, ..ASK }), Some(wanted), "{method} {path}");
        }
    }

    #[test]
    fn a_host_without_rules_for_requests_is_not_judged_by_those_of_another() {
        let rules = rules(vec![rule("*.a.example", &["GET"], &["/x"]), rule("b.example:8443", &["*"], &["/**"])]);
        assert_eq!(allowed(&rules, &Ask { host: "x.a.example", ..ASK }), Some(false));
        assert_eq!(allowed(&rules, &Ask { host: "a.example", ..ASK }), None);
        assert_eq!(allowed(&rules, &Ask { host: "b.example", ..ASK }), None);
        assert_eq!(allowed(&rules, &Ask { host: "b.example", port: 8443, method: "BREW", ..ASK }), Some(true));
    }

    #[test]
    fn a_rule_for_requests_allows_its_host_and_deny_wins() {
        let mut rules = rules(vec![rule("a.example", &["GET"], &["/x"])]);
        assert!(!rules.allow_nothing());
        assert!(matches!(rules.judge_lookup(&name("a.example")), Decision::Allowed(_)));
        assert!(matches!(rules.judge_name(Protocol::Tcp, &name("a.example"), 443), Decision::Allowed(_)));
        assert!(matches!(rules.judge_name(Protocol::Tcp, &name("a.example"), 22), Decision::Denied(_)));
        rules.deny = vec![Rule::parse("a.example", List::Deny, "", "test").expect("a rule")];
        assert!(matches!(rules.judge_name(Protocol::Tcp, &name("a.example"), 443), Decision::Denied(_)));
    }

    #[test]
    fn every_value_of_a_field_must_be_what_the_rule_says() {
        let mut one = rule("a.example", &["GET"], &["/**"]);
        one.headers = BTreeMap::from([("accept".to_owned(), "application/*".to_owned())]);
        let rules = rules(vec![one]);
        let with = |fields| allowed(&rules, &Ask { fields, ..ASK });
        assert_eq!(with(&[("accept", "application/json")]), Some(true));
        assert_eq!(with(&[]), Some(false));
        assert_eq!(with(&[("accept", "text/html")]), Some(false));
        assert_eq!(with(&[("accept", "application/json"), ("accept", "text/html")]), Some(false));
    }

    #[test]
    fn a_websocket_needs_a_rule_that_says_so() {
        let mut one = rule("a.example", &["GET"], &["/socket"]);
        assert_eq!(allowed(&rules(vec![one.clone()]), &Ask { path: "/socket", websocket: true, ..ASK }), Some(false));
        one.websocket = WebSocket::Allowed;
        assert_eq!(allowed(&rules(vec![one.clone()]), &Ask { path: "/socket", websocket: true, ..ASK }), Some(true));
        assert_eq!(allowed(&rules(vec![one]), &Ask { path: "/other", websocket: true, ..ASK }), Some(false));
    }

    #[test]
    fn a_rule_with_a_credential_fits_no_request_that_anybody_can_read() {
        let mut one = rule("a.example", &["GET"], &["/**"]);
        one.inject =
            Some(Inject { header: "authorization".into(), secret: "s".into(), form: Form::Basic { user: "u".into() } });
        let rules = rules(vec![one]);
        assert_eq!(allowed(&rules, &Ask { over: Carrier::Plain, port: 80, ..ASK }), Some(false));
        assert_eq!(allowed(&rules, &ASK), Some(true));
    }

    #[test]
    fn no_rule_writes_a_field_that_frames_a_request() {
        for header in ["Host", "content-length", "Transfer-Encoding", "connection", "", "a b", "a:b", "a\r\nb"] {
            assert!(!Inject::can_write(header), "{header}");
        }
        for header in ["Authorization", "X-Api-Key", "Cookie"] {
            assert!(Inject::can_write(header), "{header}");
        }
    }
}
