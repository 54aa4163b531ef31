//! Which address stands for which name in a jail.
//!
//! Owns the map. An address is given out once a name was allowed, means that name for as long as the jail lives, and means
//! nothing outside. What is in the range and was not given out means nothing at all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::egress::name::Name;

/// 198.18.0.0/15: set aside by RFC 2544 for networks that reach nobody.
const V4: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// The number of the first address that is given out; below are the jail's own.
const FIRST: u32 = 256;
/// How many names one jail may ask for.
const MOST: u32 = 65_536;
/// The upper half of the IPv6 range, of RFC 4193: its jail's own address is `confine::gateway::OWN_V6`.
const V6: u64 = 0xfd00_c1a0_0000_0000;

/// The addresses of one jail.
#[derive(Default)]
pub struct Names {
    by_name: HashMap<Name, u32>,
    by_number: Vec<Name>,
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
    pub fn give(&mut self, name: &Name) -> Option<(Ipv4Addr, Ipv6Addr)> {
        let number = match self.by_name.get(name) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.by_number.len()).ok().filter(|number| *number < MOST)?;
                self.by_number.push(name.clone());
                self.by_name.insert(name.clone(), number);
                number
            }
        };
        let number = number + FIRST;
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
        let index = number.checked_sub(u128::from(FIRST)).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.by_number.get(index)).map_or(Meaning::Nothing, Meaning::Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_means_the_name_that_it_was_given_for_and_no_other() {
        let mut names = Names::default();
        let [one, other] = ["one.example", "other.example"].map(|text| Name::parse(text).expect("a name"));
        let (v4, v6) = names.give(&one).expect("room");
        let (other_v4, _) = names.give(&other).expect("room");
        assert_eq!(names.give(&one), Some((v4, v6)));
        assert_ne!(v4, other_v4);
        assert_eq!(names.meaning(v4.into()), Meaning::Name(&one));
        assert_eq!(names.meaning(v6.into()), Meaning::Name(&one));
        assert_eq!(names.meaning(other_v4.into()), Meaning::Name(&other));
    }

    #[test]
    fn what_was_not_given_out_means_nothing_and_what_is_not_ours_means_itself() {
        let names = Names::default();
        for ours in ["198.18.0.0", "198.18.0.1", "198.18.1.0", "198.19.255.255", "fd00:c1a0::1", "fd00:c1a0::1:0"] {
            assert_eq!(names.meaning(ours.parse().expect("an address")), Meaning::Nothing, "{ours}");
        }
        for other in ["198.20.0.0", "9.9.9.9", "fd00:c1a1::1", "::1"] {
            let address: IpAddr = other.parse().expect("an address");
            assert_eq!(names.meaning(address), Meaning::Address(address));
        }
    }
}
