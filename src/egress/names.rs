//! Which address stands for which name in a jail.
//!
//! Owns the map. An address is given out once a name was allowed, means that name for as long as the jail lives, and means
//! nothing outside. What is in the range and was not given out means nothing at all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::egress::name::Name;

/// 198.18.0.0/15: set aside by RFC 2544 for networks that reach nobody.
const V4: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// The numbers of the addresses that are given out; below are the jail's own. Names that UDP reaches have the upper half for
/// themselves, so that the kernel can tell whose datagrams go no further; `confine::gateway`.
const PLAIN: std::ops::Range<u32> = 256..UDP_FIRST;
const WITH_UDP: std::ops::Range<u32> = UDP_FIRST..0x2_0000;
const UDP_FIRST: u32 = 0x1_0000;
/// The upper half of the IPv6 range, of RFC 4193: its jail's own address is `confine::known::OWN_V6`.
const V6: u64 = 0xfd00_c1a0_0000_0000;

/// The addresses of one jail.
#[derive(Default)]
pub struct Names {
    by_name: HashMap<Name, u32>,
    plain: Vec<Name>,
    with_udp: Vec<Name>,
}

/// How a name can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Over TCP.
    Tcp,
    /// Over UDP, too.
    Udp,
}

/// What a destination means.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// This name.
    Name(&'a Name),
    /// Itself.
    Address(IpAddr),
    /// Nothing: it is one of ours, and was not given out.
    Nothing,
}

impl Names {
    /// The addresses that stand for `name`; `None` when there were too many names already.
    pub fn give(&mut self, name: &Name, over: Over) -> Option<(Ipv4Addr, Ipv6Addr)> {
        let number = match self.by_name.get(name) {
            Some(number) => *number,
            None => {
                let (given, mut range) = match over {
                    Over::Tcp => (&mut self.plain, PLAIN),
                    Over::Udp => (&mut self.with_udp, WITH_UDP),
                };
                let number = range.nth(given.len())?;
                given.push(name.clone());
                self.by_name.insert(name.clone(), number);
                number
            }
        };
        let v6 = (u128::from(V6) << 64) | u128::from(number);
        Some((Ipv4Addr::from_bits(V4 | number), Ipv6Addr::from_bits(v6)))
    }

    /// What a jail means by connecting to `address`.
    pub fn meaning(&self, address: IpAddr) -> Meaning<'_> {
        let number = match address {
            IpAddr::V4(v4) if v4.to_bits() & 0xfffe_0000 == V4 => u128::from(v4.to_bits() & 0x1_ffff),
            IpAddr::V6(v6) if v6.to_bits() >> 64 == u128::from(V6) => v6.to_bits() & u128::from(u64::MAX),
            other => return Meaning::Address(other),
        };
        let (given, first) =
            if number < u128::from(UDP_FIRST) { (&self.plain, PLAIN.start) } else { (&self.with_udp, UDP_FIRST) };
        let index = number.checked_sub(u128::from(first)).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| given.get(index)).map_or(Meaning::Nothing, Meaning::Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_means_the_name_that_it_was_given_for_and_no_other() {
        let mut names = Names::default();
        let [one, other] = ["one.example", "other.example"].map(|text| Name::parse(text).expect("a name"));
        let (v4, v6) = names.give(&one, Over::Tcp).expect("room");
        let (other_v4, other_v6) = names.give(&other, Over::Udp).expect("room");
        assert_eq!(names.give(&one, Over::Tcp), Some((v4, v6)));
        assert_ne!(v4, other_v4);
        // What the kernel's rules go by.
        assert!(v4.octets().starts_with(&[198, 18]) && other_v4.octets().starts_with(&[198, 19]));
        assert_eq!((v6.segments()[6], other_v6.segments()[6]), (0, 1));
        assert_eq!(names.meaning(v4.into()), Meaning::Name(&one));
        assert_eq!(names.meaning(v6.into()), Meaning::Name(&one));
        assert_eq!(names.meaning(other_v4.into()), Meaning::Name(&other));
    }

    #[test]
    fn there_is_room_for_so_many_names_and_not_for_one_more() {
        let mut names = Names::default();
        let name = |number: usize| Name::parse(&format!("h{number}.example")).expect("a name");
        for number in 0..PLAIN.len() {
            assert!(names.give(&name(number), Over::Tcp).is_some(), "{number}");
        }
        assert_eq!(names.give(&name(PLAIN.len()), Over::Tcp), None);
        assert!(names.give(&name(PLAIN.len()), Over::Udp).is_some() && names.give(&name(0), Over::Tcp).is_some());
    }

    #[test]
    fn what_was_not_given_out_means_nothing_and_what_is_not_ours_means_itself() {
        let names = Names::default();
        for ours in [
            "198.18.0.0",
            "198.18.0.1",
            "198.18.1.0",
            "198.19.0.0",
            "198.19.255.255",
            "fd00:c1a0::1",
            "fd00:c1a0::1:0",
            "fd00:c1a0::2:0",
        ] {
            assert_eq!(names.meaning(ours.parse().expect("an address")), Meaning::Nothing, "{ours}");
        }
        for other in ["198.20.0.0", "9.9.9.9", "fd00:c1a1::1", "::1"] {
            let address: IpAddr = other.parse().expect("an address");
            assert_eq!(names.meaning(address), Meaning::Address(address));
        }
    }
}
