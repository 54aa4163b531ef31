//! What rules match, and what they must never match.

use core::net::IpAddr;

use proptest::prelude::*;

use super::address::{Network, NetworkFlaw, special};
use super::name::{Name, NameFlaw};
use super::rule::{List, Protocol, Rule, RuleFlaw};
use super::{Asked, Decision, Rules};

fn allow(text: &str) -> Rule {
    Rule::parse(text, List::Allow, "", "test").expect("a rule")
}

fn rules(allow: &[&str], deny: &[&str]) -> Rules {
    let all =
        |texts: &[&str], list| texts.iter().map(|text| Rule::parse(text, list, "", "test").expect("a rule")).collect();
    Rules { allow: all(allow, List::Allow), deny: all(deny, List::Deny), ..Rules::default() }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn reaches(rules: &Rules, host: &str, port: u16) -> bool {
    matches!(rules.judge_name(Protocol::Tcp, &name(host), port), Decision::Allowed(_))
}

fn reaches_address(rules: &Rules, address: &str, port: u16) -> bool {
    let address: IpAddr = address.parse().expect("an address");
    matches!(rules.judge_address(Protocol::Tcp, address, port, Asked::ByAddress), Some(Decision::Allowed(_)))
}

#[test]
fn a_name_matches_whatever_its_case_and_with_a_trailing_dot() {
    let rules = rules(&["API.Example.org"], &[]);
    for host in ["api.example.org", "API.EXAMPLE.ORG", "api.example.org.", "aPi.eXample.Org."] {
        assert!(reaches(&rules, host, 443), "{host}");
    }
    for host in
        ["api.example.org.evil.example", "xapi.example.org", "example.org", "x.api.example.org", "api.example.or"]
    {
        assert!(!reaches(&rules, host, 443), "{host}");
    }
}

#[test]
fn a_wildcard_matches_names_below_and_never_the_name_itself_or_one_that_only_ends_alike() {
    let rules = rules(&["*.example.org"], &[]);
    for host in ["a.example.org", "a.b.example.org", "A.EXAMPLE.ORG."] {
        assert!(reaches(&rules, host, 443), "{host}");
    }
    for host in ["example.org", "evilexample.org", "a.example.org.evil.example", "example.org.a"] {
        assert!(!reaches(&rules, host, 443), "{host}");
    }
}

#[test]
fn what_is_no_name_is_refused_with_its_reason() {
    for (text, flaw) in [
        ("", NameFlaw::Empty),
        (".", NameFlaw::Empty),
        ("a..b", NameFlaw::Empty),
        (".a", NameFlaw::Empty),
        ("a.example.org..", NameFlaw::Empty),
        ("a.example.org\0.evil.example", NameFlaw::Byte),
        ("a.example.org\r\nX: y", NameFlaw::Byte),
        ("user@a.example.org", NameFlaw::Byte),
        ("a.example.org%25lo", NameFlaw::Byte),
        ("a.example.org:443", NameFlaw::Byte),
        ("a b", NameFlaw::Byte),
        ("-a.example.org", NameFlaw::Hyphen),
        ("a-.example.org", NameFlaw::Hyphen),
        ("b\u{fc}cher.example", NameFlaw::NotAscii),
        ("\u{430}pi.example.org", NameFlaw::NotAscii),
        ("127.1", NameFlaw::Number),
        ("2130706433", NameFlaw::Number),
        ("0x7f.1", NameFlaw::Number),
        ("0x7f000001", NameFlaw::Number),
        ("0177.0.0.1", NameFlaw::Number),
        ("127.0.0.1.", NameFlaw::Number),
        ("example.0x", NameFlaw::Number),
        ("1.2.3.4", NameFlaw::Number),
    ] {
        assert_eq!(Name::parse(text), Err(flaw), "{text:?}");
    }
    assert_eq!(Name::parse(&"a".repeat(64)), Err(NameFlaw::TooLong));
    assert_eq!(Name::parse(&"a.".repeat(127)[..253]), Ok(name(&"a.".repeat(127)[..253])));
    assert_eq!(Name::parse(&"a.".repeat(128)), Err(NameFlaw::TooLong));
    for text in ["xn--bcher-kva.example", "_srv.a.example", "a1.0xg", "1a.example", "a"] {
        assert!(Name::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn what_is_no_rule_is_refused_with_its_reason() {
    for (text, flaw) in [
        ("", RuleFlaw::Name(NameFlaw::Empty)),
        ("*", RuleFlaw::Name(NameFlaw::Byte)),
        ("*.", RuleFlaw::Name(NameFlaw::Empty)),
        ("*.*.example.org", RuleFlaw::Star),
        ("a.*.example.org", RuleFlaw::Star),
        ("a*.example.org", RuleFlaw::Star),
        ("https://example.org", RuleFlaw::Scheme),
        ("example.org/path", RuleFlaw::Path),
        ("user@example.org", RuleFlaw::User),
        ("example.org:", RuleFlaw::Port),
        ("example.org:0", RuleFlaw::Port),
        ("example.org:65536", RuleFlaw::Port),
        ("example.org:+80", RuleFlaw::Port),
        ("example.org:90-80", RuleFlaw::Port),
        ("example.org:80,443", RuleFlaw::Port),
        (" example.org", RuleFlaw::Blank),
        ("example.org\n", RuleFlaw::Blank),
        ("udp://time.example", RuleFlaw::NoUdpPort),
        ("localhost:80", RuleFlaw::Localhost),
        ("[example.org]:80", RuleFlaw::Brackets),
        ("[2001:db8::1", RuleFlaw::Brackets),
        ("[2001:db8::1]80", RuleFlaw::Brackets),
        ("fe80::1%eth0", RuleFlaw::Network(NetworkFlaw::Address)),
        ("10.0.0.1/8", RuleFlaw::Network(NetworkFlaw::HostBits)),
        ("10.0.0.0/33", RuleFlaw::Network(NetworkFlaw::Length)),
        ("10.0.0.0/08", RuleFlaw::Network(NetworkFlaw::Length)),
        ("10.0.0/8", RuleFlaw::Path),
        ("127.1", RuleFlaw::Name(NameFlaw::Number)),
        ("b\u{fc}cher.example", RuleFlaw::Name(NameFlaw::NotAscii)),
    ] {
        let read = Rule::parse(text, List::Allow, "", "");
        // A lone star is a name with a byte that none has, or a star out of its place: either way it is refused.
        match (text, read) {
            ("*", Err(RuleFlaw::Star | RuleFlaw::Name(_))) => {}
            (text, read) => assert_eq!(read, Err(flaw), "{text:?}"),
        }
    }
}

#[test]
fn ports_are_those_of_the_rule_and_the_web_where_it_names_none() {
    let rules = rules(&["a.example", "b.example:5432", "c.example:8000-8010", "d.example:*"], &[]);
    for (host, port, reached) in [
        ("a.example", 443, true),
        ("a.example", 80, true),
        ("a.example", 22, false),
        ("b.example", 5432, true),
        ("b.example", 443, false),
        ("c.example", 8000, true),
        ("c.example", 8010, true),
        ("c.example", 8011, false),
        ("d.example", 1, true),
        ("d.example", 65535, true),
    ] {
        assert_eq!(reaches(&rules, host, port), reached, "{host}:{port}");
    }
}

#[test]
fn a_rule_for_one_protocol_says_nothing_about_the_other() {
    let own = rules(&["udp://time.example:123", "a.example:123"], &[]);
    assert!(matches!(own.judge_name(Protocol::Udp, &name("time.example"), 123), Decision::Allowed(_)));
    assert!(!reaches(&own, "time.example", 123));
    assert!(matches!(own.judge_name(Protocol::Udp, &name("a.example"), 123), Decision::Denied(_)));
    assert_eq!(own.udp_ports(), Some(vec![123]));
    let many = rules(&["udp://time.example:1-17"], &[]);
    assert_eq!(many.udp_ports(), None);
    let few = rules(&["udp://time.example:1-16", "udp://192.0.2.0/24:7", "other.example"], &[]);
    assert_eq!(few.udp_ports().map(|ports| ports.len()), Some(16));
    assert_eq!(few.datagrams().len(), 17);
}

#[test]
fn deny_wins_over_allow_on_all_ports_and_in_lookups() {
    let rules = rules(&["*.example.org:*", "9.9.9.0/24:*"], &["evil.example.org", "half.example.org:25", "9.9.9.9"]);
    assert!(reaches(&rules, "good.example.org", 443));
    assert!(!reaches(&rules, "evil.example.org", 443));
    assert!(!reaches(&rules, "EVIL.example.org.", 1));
    assert!(!reaches(&rules, "half.example.org", 25));
    assert!(reaches(&rules, "half.example.org", 443));
    assert!(matches!(rules.judge_lookup(&name("evil.example.org")), Decision::Denied(_)));
    assert!(matches!(rules.judge_lookup(&name("half.example.org")), Decision::Allowed(_)));
    assert!(reaches_address(&rules, "9.9.9.8", 443));
    assert!(!reaches_address(&rules, "9.9.9.9", 443));
    assert!(!reaches_address(&rules, "::ffff:9.9.9.9", 443));
}

#[test]
fn with_no_rules_nothing_is_reached() {
    let rules = rules(&[], &[]);
    assert!(rules.allow_nothing());
    assert!(!reaches(&rules, "example.org", 443));
    assert!(!reaches_address(&rules, "9.9.9.9", 443));
    assert!(matches!(rules.judge_lookup(&name("example.org")), Decision::Denied(_)));
}

/// C2, C3: every special range, and every way to write one of its addresses that an address can be written.
#[test]
fn what_is_not_public_is_denied_even_by_a_rule_for_everything() {
    let everything = rules(&["0.0.0.0/0:*", "[::/0]:*"], &[]);
    assert!(reaches_address(&everything, "9.9.9.9", 443));
    assert!(reaches_address(&everything, "2620:fe::fe", 443));
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:7f00:1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(!reaches_address(&everything, address, 443), "{address}");
        let parsed: IpAddr = address.parse().expect("an address");
        let by_name = everything.judge_address(Protocol::Tcp, parsed, 443, Asked::ByName);
        assert!(matches!(by_name, Some(Decision::Denied(_))), "{address} behind a name");
    }
    for public in ["9.9.9.9", "172.32.0.1", "100.128.0.1", "2620:fe::fe", "2a00::1", "::ffff:9.9.9.9"] {
        assert!(special(public.parse().expect("an address")).is_none(), "{public}");
    }
}

#[test]
fn a_special_range_is_opened_by_a_rule_within_it_and_credentials_by_their_address_alone() {
    let rules = rules(
        &["10.1.2.0/24:5432", "169.254.0.0/16", "127.0.0.0/8:*", "198.18.0.5:80", "224.0.0.1:80", "[fd00::/8]:443"],
        &[],
    );
    assert!(reaches_address(&rules, "10.1.2.3", 5432));
    assert!(!reaches_address(&rules, "10.1.2.3", 443));
    assert!(!reaches_address(&rules, "10.1.3.3", 5432));
    assert!(reaches_address(&rules, "169.254.1.1", 80));
    assert!(!reaches_address(&rules, "169.254.169.254", 80));
    assert!(!reaches_address(&rules, "127.0.0.1", 80));
    assert!(!reaches_address(&rules, "198.18.0.5", 80));
    assert!(!reaches_address(&rules, "224.0.0.1", 80));
    assert!(reaches_address(&rules, "fd00::1", 443));
    assert!(!reaches_address(&rules, "fd00:ec2::254", 443));
    let exact = self::rules(&["169.254.169.254:80", "127.0.0.1:5000"], &[]);
    assert!(reaches_address(&exact, "169.254.169.254", 80));
    assert!(reaches_address(&exact, "127.0.0.1", 5000));
    assert!(!reaches_address(&exact, "127.0.0.1", 5001));
}

#[test]
fn an_allowed_name_opens_public_addresses_and_no_others() {
    let rules = rules(&["a.example", "10.1.2.3:443"], &[]);
    let behind = |address: &str, port| {
        let address = address.parse().expect("an address");
        match rules.judge_address(Protocol::Tcp, address, port, Asked::ByName) {
            None | Some(Decision::Allowed(_)) => true,
            Some(Decision::Denied(_)) => false,
        }
    };
    assert!(behind("9.9.9.9", 443));
    assert!(!behind("127.0.0.1", 443));
    assert!(behind("10.1.2.3", 443));
    assert!(!behind("10.1.2.3", 80));
    assert!(!behind("10.1.2.4", 443));
}

#[test]
fn networks_are_read_and_shown_in_one_form() {
    for (text, shown) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1/32", "10.0.0.1"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ] {
        assert_eq!(Network::parse(text).expect("a network").to_string(), shown);
    }
    assert_eq!(Network::parse("::ffff:10.0.0.0/90"), Err(NetworkFlaw::Length));
}

proptest! {
    #[test]
    fn a_name_below_an_allowed_one_is_never_matched_by_its_rule(label in "[a-z]{1,10}", host in "[a-z]{1,10}\\.[a-z]{2,5}") {
        let exact = rules(&[&host], &[]);
        let below = format!("{label}.{host}");
        prop_assert!(reaches(&exact, &host, 443));
        prop_assert!(!reaches(&exact, &below, 443));
        let wild = rules(&[&format!("*.{host}")], &[]);
        prop_assert!(reaches(&wild, &below, 443));
        prop_assert!(!reaches(&wild, &host, 443));
        let glued = format!("{label}{host}");
        prop_assert!(!reaches(&wild, &glued, 443));
    }

    #[test]
    fn whatever_is_denied_is_not_reached(host in "[a-z]{1,8}\\.[a-z]{1,8}\\.[a-z]{2,4}", port in 1u16..) {
        let everything = rules(&[&format!("{host}:*")], &[&host]);
        prop_assert!(!reaches(&everything, &host, port));
    }

    #[test]
    fn any_text_is_read_or_refused_and_what_is_read_reads_the_same_again(text in "\\PC{0,40}") {
        if let Ok(read) = Name::parse(&text) {
            prop_assert_eq!(Name::parse(read.as_str()), Ok(read.clone()));
            prop_assert!(read.as_str().parse::<IpAddr>().is_err());
        }
        let _ = Rule::parse(&text, List::Allow, "", "");
        let _ = Rule::parse(&text, List::Deny, "", "");
    }

    #[test]
    fn an_address_inside_ipv6_is_judged_as_itself(bits in any::<u32>(), port in 1u16..) {
        let inner = core::net::Ipv4Addr::from_bits(bits);
        let everything = rules(&["0.0.0.0/0:*", "[::/0]:*"], &[]);
        let mapped = IpAddr::V6(inner.to_ipv6_mapped()).to_string();
        prop_assert_eq!(
            reaches_address(&everything, &inner.to_string(), port),
            reaches_address(&everything, &mapped, port)
        );
        // Whatever a translator or a tunnel would make of it stays closed.
        let octets = inner.octets();
        let tunnelled = format!("2002:{:02x}{:02x}:{:02x}{:02x}::", octets[0], octets[1], octets[2], octets[3]);
        prop_assert!(!reaches_address(&everything, &tunnelled, port));
    }

    #[test]
    fn a_network_holds_what_shares_its_bits(bits in any::<u32>(), other in any::<u32>(), length in 0u8..=32) {
        let mask = u32::MAX.checked_shl(u32::from(32 - length)).unwrap_or(0);
        let base = core::net::Ipv4Addr::from_bits(bits & mask);
        let network = Network::parse(&format!("{base}/{length}")).expect("a network");
        let other = core::net::Ipv4Addr::from_bits(other);
        prop_assert_eq!(network.holds(IpAddr::V4(other)), other.to_bits() & mask == bits & mask);
    }

    #[test]
    fn a_single_address_rule_matches_that_address_alone(one in any::<u32>(), other in any::<u32>()) {
        let [one, other] = [one, other].map(core::net::Ipv4Addr::from_bits);
        let rule = allow(&format!("{one}:443"));
        prop_assert!(rule.holds(IpAddr::V4(one)));
        prop_assert_eq!(rule.holds(IpAddr::V4(other)), one == other);
    }
}
