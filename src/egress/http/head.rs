//! The heads of requests and answers, as they are passed on.
//!
//! Owns reading a head for what it means, and the writing of the one that is sent instead: only what was judged, in one form, with
//! nothing that is about the connection that it came by.

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::{Uri, Version as HttpVersion, uri};
use hyper::{HeaderMap, Method};

use crate::egress::authority::Version;
use crate::egress::requests::Flaw;
use crate::policy::egress::http::Carrier;
use crate::policy::egress::http::path::Path;
use crate::policy::egress::name::Name;

/// What a request is for.
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path, in its one form.
    pub path: Path,
    /// Its query, as it was written.
    pub query: Option<String>,
    /// Whether it asks for a websocket.
    pub websocket: bool,
}

/// Fields that are about one connection. RFC 9110, section 7.6.1.
const OF_THE_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Reads what a request to `name` asks for.
pub fn read(head: &Parts, name: &Name, port: u16) -> Result<Asked, Flaw> {
    if head.method == Method::CONNECT {
        return Err(Flaw::Tunnel);
    }
    let host = one(&head.headers, &header::HOST)?;
    let written = [head.uri.authority().map(uri::Authority::as_str), host];
    if written == [None, None] || (host.is_none() && head.version < HttpVersion::HTTP_2) {
        return Err(Flaw::OtherHost);
    }
    if !written.into_iter().flatten().all(|written| is_host(written, name, port)) {
        return Err(Flaw::OtherHost);
    }
    let coding = one(&head.headers, &header::TRANSFER_ENCODING)?;
    let length = one(&head.headers, &header::CONTENT_LENGTH)?;
    let framed_once =
        coding.is_none() || (length.is_none() && coding.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")));
    if !framed_once {
        return Err(Flaw::Malformed);
    }
    let path = if head.uri.path().is_empty() { "/" } else { head.uri.path() };
    let path = Path::read(path).map_err(|_| Flaw::Path)?;
    let query = head.uri.query().map(str::to_owned);
    Ok(Asked { method: head.method.clone(), path, query, websocket: asks_for_websocket(head) })
}

/// The value of a field that may be there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Flaw> {
    let mut all = headers.get_all(name).iter();
    let first = all.next().map(|value| value.to_str().map_err(|_| Flaw::Malformed)).transpose()?;
    if all.next().is_some() { Err(Flaw::Malformed) } else { Ok(first) }
}

fn is_host(written: &str, name: &Name, port: u16) -> bool {
    let (host, written_port) = written.split_once(':').map_or((written, None), |(host, port)| (host, Some(port)));
    written_port.is_none_or(|text| text.parse() == Ok(port)) && Name::parse(host).as_ref() == Ok(name)
}

fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// RFC 6455: other protocols are not changed to.
fn asks_for_websocket(head: &Parts) -> bool {
    let upgrades = words(&head.headers, &header::CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade"));
    let to = words(&head.headers, &header::UPGRADE).any(|word| word.eq_ignore_ascii_case("websocket"));
    head.version == HttpVersion::HTTP_11 && upgrades && to
}

/// Takes away what is about the connection by which a head came.
pub fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        words(headers, &header::CONNECTION).filter_map(|word| HeaderName::from_bytes(word.as_bytes()).ok()).collect();
    for name in named.iter().filter(|name| **name != header::HOST).chain(&OF_THE_CONNECTION) {
        headers.remove(name);
    }
}

/// The head that a server gets. `None`: it cannot be written, which nothing that was read leads to.
pub fn write(asked: &Asked, mut headers: HeaderMap, at: At<'_>) -> Option<hyper::http::request::Builder> {
    strip(&mut headers);
    headers.remove(header::EXPECT);
    headers.remove(HeaderName::from_static("http2-settings"));
    let usual = matches!((at.over, at.port), (Carrier::Tls, 443) | (Carrier::Plain, 80));
    let host = if usual { at.name.to_string() } else { format!("{}:{}", at.name, at.port) };
    let target = target(asked);
    let uri = match at.version {
        Version::One => {
            headers.insert(header::HOST, HeaderValue::from_str(&host).ok()?);
            target.parse::<Uri>().ok()?
        }
        Version::Two => {
            headers.remove(header::HOST);
            Uri::builder().scheme("https").authority(host).path_and_query(target).build().ok()?
        }
    };
    if asked.websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    let mut request = hyper::Request::builder().method(asked.method.clone()).uri(uri);
    *request.headers_mut()? = headers;
    Some(request)
}

/// Where a request goes.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// To whom.
    pub name: &'a Name,
    /// On which port.
    pub port: u16,
    /// By what.
    pub over: Carrier,
    /// In which version.
    pub version: Version,
}

/// Path and query.
pub fn target(asked: &Asked) -> String {
    match &asked.query {
        Some(query) => format!("{}?{query}", asked.path.as_str()),
        None => asked.path.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = hyper::Request::builder().uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn good() -> Name {
        Name::parse("good.example").expect("a name")
    }

    fn flaw(target: &str, fields: &[(&str, &str)]) -> Option<Flaw> {
        read(&head(target, fields), &good(), 443).err()
    }

    #[test]
    fn a_request_is_for_one_host_the_one_that_was_connected_to() {
        for (target, fields) in [
            ("/", &[("host", "good.example")][..]),
            ("/", &[("host", "GOOD.example.:443")]),
            ("https://good.example/", &[("host", "good.example")]),
        ] {
            assert_eq!(flaw(target, fields), None, "{target} {fields:?}");
        }
        for (target, fields, wanted) in [
            ("/", &[][..], Flaw::OtherHost),
            ("/", &[("host", "evil.example")], Flaw::OtherHost),
            ("/", &[("host", "good.example:444")], Flaw::OtherHost),
            ("/", &[("host", "good.example@evil.example")], Flaw::OtherHost),
            ("/", &[("host", "good.example"), ("host", "good.example")], Flaw::Malformed),
            ("https://evil.example/", &[("host", "good.example")], Flaw::OtherHost),
            ("https://good.example/", &[("host", "evil.example")], Flaw::OtherHost),
            ("https://good.example/", &[], Flaw::OtherHost),
            ("/a%2f..%2fb", &[("host", "good.example")], Flaw::Path),
            ("/", &[("host", "good.example"), ("transfer-encoding", "gzip, chunked")], Flaw::Malformed),
            (
                "/",
                &[("host", "good.example"), ("transfer-encoding", "chunked"), ("content-length", "1")],
                Flaw::Malformed,
            ),
        ] {
            assert_eq!(flaw(target, fields), Some(wanted), "{target} {fields:?}");
        }
    }

    #[test]
    fn what_is_about_a_connection_does_not_go_on() {
        let fields = [
            ("host", "good.example"),
            ("connection", "keep-alive, x-hop, host, Upgrade, HTTP2-Settings"),
            ("x-hop", "1"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("proxy-authorization", "x"),
            ("x-end", "1"),
        ];
        let head = head("/a/../b?x=1", &fields);
        let asked = read(&head, &good(), 443).expect("a request");
        assert!(!asked.websocket);
        let name = good();
        let at = At { name: &name, port: 443, over: Carrier::Tls, version: Version::One };
        let sent = write(&asked, head.headers, at).expect("a head").body(()).expect("a request");
        let names: Vec<&str> = sent.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "x-end"]);
        assert_eq!(
            (sent.uri().to_string().as_str(), &sent.headers()["host"]),
            ("/b?x=1", &HeaderValue::from_static("good.example"))
        );
    }

    #[test]
    fn a_websocket_is_known_by_both_of_its_fields() {
        let with = |connection: &str, upgrade: &str| {
            let fields = [("host", "good.example"), ("connection", connection), ("upgrade", upgrade)];
            read(&head("/", &fields), &good(), 443).expect("a request").websocket
        };
        assert!(with("keep-alive, Upgrade", "WebSocket"));
        assert!(!with("keep-alive", "websocket"));
        assert!(!with("upgrade", "h2c"));
    }
}
