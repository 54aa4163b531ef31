//! What a gate keeps to beside its rules: how much may leave, whom it meets for the first time, and by which way it goes out.
//!
//! Owns these words and their form. Must not count or connect.

use core::net::{IpAddr, SocketAddr};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::name::Name;

/// All of it. By default nothing is bounded, remembered or detoured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How much may leave.
    pub budget: Budget,
    /// What becomes of a host that this agent has never reached; none: nobody keeps count.
    pub first_contact: Option<FirstContact>,
    /// The proxy of the host's network, if connections go through one.
    pub proxy: Option<Proxy>,
    /// Whoever is asked for names; empty: whom the host asks.
    pub resolvers: Vec<NameServer>,
}

/// How much may leave a jail, in its whole life. `None`: as much as it likes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Bytes that are sent, to all hosts together.
    pub sent: Option<u64>,
    /// Bytes that are sent to any one host.
    pub sent_per_host: Option<u64>,
    /// Connections, and conversations over UDP.
    pub connections: Option<u64>,
    /// Requests in any one minute. What cannot be read counts as one for each connection.
    pub requests_per_minute: Option<u64>,
}

/// What becomes of a host that was never reached before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstContact {
    /// It is reached, and known from then on.
    Allow,
    /// The same, and the verdict says so.
    Flag,
    /// It is denied.
    Deny,
}

/// A proxy that makes connections on request (`CONNECT`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Where it is.
    pub host: ProxyHost,
    /// Its port.
    pub port: u16,
    /// The file that holds `user:password`, if it wants one.
    pub credentials: Option<String>,
}

/// Where a proxy is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyHost {
    /// At this name.
    Name(Name),
    /// At this address.
    Address(IpAddr),
}

/// A name server, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameServer {
    /// Where it is.
    pub at: SocketAddr,
    /// How.
    pub over: Over,
}

/// How a name server is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Over {
    /// UDP, and TCP for what does not fit; RFC 1035.
    Plain,
    /// TLS; RFC 7858. Its certificate is for this name, or for its address.
    Tls(Option<Name>),
    /// HTTPS; RFC 8484.
    Https {
        /// What its certificate is for; its address where nothing is written.
        name: Option<Name>,
        /// What is asked for.
        path: String,
    },
}

/// Why a text is no proxy or no name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable(pub &'static str);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The port of a proxy that none is written for.
const PROXY_PORT: u16 = 3128;

impl Proxy {
    /// Reads `http://host:port`.
    pub fn parse(text: &str, credentials: Option<&str>) -> Result<Proxy, Unusable> {
        let rest = text.strip_prefix("http://").ok_or(Unusable("it does not begin with `http://`"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(Unusable("a password in a profile is read by everybody"));
        }
        let (host, port) = authority(rest, PROXY_PORT)?;
        let host = match host.parse() {
            Ok(address) => ProxyHost::Address(address),
            Err(_) => ProxyHost::Name(Name::parse(host).map_err(|_| Unusable("its host is no name and no address"))?),
        };
        if credentials.is_some_and(|path| !path.starts_with('/')) {
            return Err(Unusable("the file with its credentials is not absolute"));
        }
        Ok(Proxy { host, port, credentials: credentials.map(str::to_owned) })
    }
}

impl NameServer {
    /// Reads `192.0.2.53`, `udp://192.0.2.53:53`, `tls://192.0.2.53#name`, `https://192.0.2.53/dns-query#name`.
    pub fn parse(text: &str) -> Result<NameServer, Unusable> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("udp", text));
        let (rest, name) = rest.split_once('#').map_or((rest, None), |(rest, name)| (rest, Some(name)));
        let name = name.map(Name::parse).transpose().map_err(|_| Unusable("what follows `#` is no name"))?;
        let (place, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
        let (usual, over) = match scheme {
            "udp" if name.is_none() && path.is_empty() => (53, Over::Plain),
            "tls" if path.is_empty() => (853, Over::Tls(name)),
            "https" => (443, Over::Https { name, path: path_of(path)? }),
            "udp" | "tls" => return Err(Unusable("only `https://` has a path, and `udp://` has no name")),
            _ => return Err(Unusable("only `udp://`, `tls://` and `https://` can stand before its address")),
        };
        // A bare IPv6 address has colons of its own.
        let bare = place.parse::<IpAddr>().ok().map(|address| (address, usual));
        let (address, port) = match bare {
            Some(found) => found,
            None => {
                let (host, port) = authority(place, usual)?;
                (host.parse().map_err(|_| Unusable("it has no address: nobody can be asked for its name"))?, port)
            }
        };
        Ok(NameServer { at: SocketAddr::new(address, port), over })
    }
}

fn path_of(path: &str) -> Result<String, Unusable> {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?');
    match path {
        "" => Ok("/dns-query".to_owned()),
        path if plain => Ok(path.to_owned()),
        _ => Err(Unusable("its path has a character that a path does not have")),
    }
}

/// Host and port of `host`, `host:port`, `[address]` or `[address]:port`.
fn authority(text: &str, usual: u16) -> Result<(&str, u16), Unusable> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once(']').ok_or(Unusable("brackets do not match"))?,
        None => text.find(':').and_then(|at| text.split_at_checked(at)).unwrap_or((text, "")),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port != 0),
        None if rest.is_empty() => Some(usual),
        None => None,
    };
    port.map(|port| (host, port)).ok_or(Unusable("its port is no number from 1 to 65535"))
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            ProxyHost::Name(name) => write!(f, "http://{name}:{}", self.port),
            ProxyHost::Address(address) => write!(f, "http://{}", SocketAddr::new(*address, self.port)),
        }
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, path, name) = match &self.over {
            Over::Plain => ("udp", "", None),
            Over::Tls(name) => ("tls", "", name.as_ref()),
            Over::Https { name, path } => ("https", path.as_str(), name.as_ref()),
        };
        write!(f, "{scheme}://{}{path}", self.at)?;
        name.map_or(Ok(()), |name| write!(f, "#{name}"))
    }
}

impl FirstContact {
    /// As profiles write it.
    pub fn word(self) -> &'static str {
        match self {
            FirstContact::Allow => "allow",
            FirstContact::Flag => "flag",
            FirstContact::Deny => "deny",
        }
    }
}

impl Budget {
    /// Each bound with the word that profiles have for it.
    pub fn bounds(&self) -> [(&'static str, Option<u64>); 4] {
        [
            ("sent", self.sent),
            ("sent_per_host", self.sent_per_host),
            ("connections", self.connections),
            ("requests_per_minute", self.requests_per_minute),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_is_written_in_one_of_three_ways() {
        for (text, shown) in [
            ("192.0.2.53", "udp://192.0.2.53:53"),
            ("udp://192.0.2.53:5353", "udp://192.0.2.53:5353"),
            ("2001:db8::53", "udp://[2001:db8::53]:53"),
            ("udp://[2001:db8::53]:54", "udp://[2001:db8::53]:54"),
            ("tls://192.0.2.53", "tls://192.0.2.53:853"),
            ("tls://192.0.2.53#Dns.Example.", "tls://192.0.2.53:853#dns.example"),
            ("https://192.0.2.53#dns.example", "https://192.0.2.53:443/dns-query#dns.example"),
            ("https://[2001:db8::53]:8443/q", "https://[2001:db8::53]:8443/q"),
        ] {
            assert_eq!(NameServer::parse(text).expect(text).to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_name_server_is_refused() {
        for text in [
            "",
            "dns.example",
            "tcp://192.0.2.53",
            "udp://192.0.2.53#dns.example",
            "udp://192.0.2.53/q",
            "tls://192.0.2.53/q",
            "tls://192.0.2.53:0",
            "tls://192.0.2.53#-",
            "https://dns.example/dns-query",
            "https://192.0.2.53/a b",
            "192.0.2.53:99999",
            "[192.0.2.53",
        ] {
            assert!(NameServer::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port_and_never_a_password() {
        for (text, shown) in [
            ("http://proxy.example:8080", "http://proxy.example:8080"),
            ("http://Proxy.example/", "http://proxy.example:3128"),
            ("http://10.0.0.8:80", "http://10.0.0.8:80"),
            ("http://[2001:db8::8]:80", "http://[2001:db8::8]:80"),
        ] {
            assert_eq!(Proxy::parse(text, None).expect(text).to_string(), shown);
        }
        for text in
            ["proxy.example", "https://proxy.example", "http://user:word@proxy.example", "http://", "http://a:b"]
        {
            assert!(Proxy::parse(text, None).is_err(), "{text}");
        }
        assert!(Proxy::parse("http://proxy.example", Some("relative")).is_err());
    }
}
