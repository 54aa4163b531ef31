//! Requests that go on as they are, and the corpus of those that must not.

use proptest::prelude::*;

use super::*;

fn requests() -> Requests {
    Requests::to(Name::parse("a.example").expect("a name"), 80)
}

fn fed(text: &str) -> Result<String, Flaw> {
    requests().feed(text.as_bytes()).map(|out| String::from_utf8_lossy(&out).into_owned())
}

#[test]
fn requests_for_the_host_go_on_as_they_are() {
    for text in [
        "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET /x?y=z HTTP/1.1\r\nHost: A.EXAMPLE:80\r\nAccept: */*\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a.example.\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ] {
        assert_eq!(fed(text).as_deref(), Ok(text));
    }
}

#[test]
fn what_has_one_meaning_is_written_in_its_one_form() {
    for (text, written) in [
        ("GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("GET / HTTP/1.1\nHost: a.example\n\n", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        (
            "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: Chunked\r\n\r\n03;x=y\r\nabc\r\n00\r\nX: y\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
        ),
    ] {
        assert_eq!(fed(text).as_deref(), Ok(written));
    }
}

/// What a server says to the first may leave open that there is no second: that one is not passed on, and nobody's fault.
#[test]
fn behind_a_request_that_is_the_last_nothing_goes_on() {
    let again = b"GET http://a.example/again HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let first = b"POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\n";
    let sent = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nConnection: close\r\n\r\n";
    let mut one = Requests::only_one(Name::parse("a.example").expect("a name"), 80);
    assert_eq!(one.feed(first), Ok(sent.to_vec()));
    assert!(!one.are_over());
    assert_eq!(one.feed(&[b"body", &again[..]].concat()), Ok(b"body".to_vec()));
    assert!(one.are_over());
    assert_eq!((one.feed(again), one.count()), (Ok(Vec::new()), 1));
    let mut many = requests();
    assert_eq!(many.feed(again).map(|out| out.is_empty()), Ok(false));
    assert!(!many.are_over());
}

/// C6, C9: another host in any place where a server could look for one, and ways to stop being HTTP/1.
#[test]
fn a_request_for_another_host_does_not_go_on() {
    for (text, flaw) in [
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", Flaw::OtherHost),
        ("GET / HTTP/1.1\r\nHost: b.a.example\r\n\r\n", Flaw::OtherHost),
        ("GET / HTTP/1.1\r\nHost: a.example:81\r\n\r\n", Flaw::OtherHost),
        ("GET / HTTP/1.1\r\nHost: a.example@evil.example\r\n\r\n", Flaw::OtherHost),
        ("GET / HTTP/1.1\r\nHost: \r\n\r\n", Flaw::OtherHost),
        ("GET / HTTP/1.1\r\n\r\n", Flaw::OtherHost),
        ("GET / HTTP/1.0\r\n\r\n", Flaw::OtherHost),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", Flaw::OtherHost),
        ("GET http://a.example@evil.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", Flaw::OtherHost),
        ("GET HTTP://EVIL.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", Flaw::OtherHost),
        ("GET / HTTP/1.1\r\nHost: a.example\r\nHost: evil.example\r\n\r\n", Flaw::Malformed),
        ("GET / HTTP/1.1\r\nHost: a.example\r\nhost: a.example\r\n\r\n", Flaw::Malformed),
        ("GET evil.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", Flaw::Malformed),
        ("GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", Flaw::Malformed),
        ("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n", Flaw::Tunnel),
        ("connect a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n", Flaw::Tunnel),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Flaw::Malformed),
    ] {
        assert_eq!(fed(text), Err(flaw), "{text:?}");
    }
}

#[test]
fn a_later_request_is_judged_like_the_first() {
    let mut requests = requests();
    assert!(requests.feed(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").is_ok());
    assert!(requests.feed(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nok").is_ok());
    assert_eq!(requests.count(), 2);
    assert_eq!(requests.feed(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"), Err(Flaw::OtherHost));
}

/// C10: what two servers could cut into requests in two ways.
#[test]
fn a_request_that_could_hide_another_does_not_go_on() {
    let start = "POST / HTTP/1.1\r\nHost: a.example\r\n";
    for rest in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
        "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "Content-Length: 4, 4\r\n\r\nabcd",
        "Content-Length: +4\r\n\r\nabcd",
        "Content-Length: 0x4\r\n\r\nabcd",
        "Content-Length: 99999999999999999999\r\n\r\nabcd",
        "Content-Length: \r\n\r\nabcd",
        "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "X: y\r\n z\r\n\r\n",
        "X: a\rb\r\n\r\n",
        "X: a\0b\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n",
    ] {
        assert_eq!(fed(&format!("{start}{rest}")), Err(Flaw::Malformed), "{rest:?}");
    }
    let old = "POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(fed(old), Err(Flaw::Malformed));
    let endless = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX: {}", "x".repeat(LONGEST));
    assert_eq!(fed(&endless), Err(Flaw::Malformed));
}

proptest! {
    /// Whatever arrives in whichever pieces: the same goes on, and it never speaks of another host.
    #[test]
    fn the_pieces_in_which_it_arrives_change_nothing(cuts in proptest::collection::vec(1usize..20, 1..40)) {
        let text = "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5;e\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n\
                    PUT /b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nabcdeGET /c HTTP/1.1\r\nHost: a.example\r\n\r\n";
        let whole = requests().feed(text.as_bytes()).expect("sound");
        let (mut one, mut out, mut rest) = (requests(), Vec::new(), text.as_bytes());
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            out.extend(one.feed(piece).expect("sound"));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&whole));
        prop_assert_eq!(one.count(), 3);
    }

    #[test]
    fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = requests().feed(&bytes);
        let head = b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = requests().feed(&[&head[..], &bytes].concat());
    }

    #[test]
    fn what_goes_on_is_read_the_same_again(name in "[A-Za-z-]{1,12}", value in "[ -~]{0,30}", path in "/[!-~]{0,20}") {
        let text = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{name}: {value}\r\n\r\n");
        if let Ok(out) = requests().feed(text.as_bytes()) {
            prop_assert_eq!(requests().feed(&out), Ok(out));
        }
    }
}
