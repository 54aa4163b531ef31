//! Addresses and networks, and which of them are no part of the public network.
//!
//! Owns the built-in table of special ranges (IANA's registries, and the services that clouds hide behind addresses). An
//! IPv4 address inside an IPv6 one is judged as what it is. Must not know rules.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

use serde::{Deserialize, Serialize};

/// A range of addresses that share their first bits. IPv4 inside IPv6 (`::ffff:0:0/96`) is IPv4 here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Network {
    base: IpAddr,
    length: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFlaw {
    /// It is not written as addresses are.
    Address,
    /// The number of bits is none.
    Length,
    /// Bits are set beyond those that count.
    HostBits,
}

impl fmt::Display for NetworkFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NetworkFlaw::Address => "it is no address",
            NetworkFlaw::Length => "what follows `/` is no number of bits of such an address",
            NetworkFlaw::HostBits => "bits are set beyond those that the number after `/` counts",
        })
    }
}

impl std::error::Error for NetworkFlaw {}

impl Network {
    /// One address.
    pub fn of(address: IpAddr) -> Network {
        let base = normal(address);
        Network { base, length: bits(base) }
    }

    /// Reads `address` or `address/length`.
    pub fn parse(text: &str) -> Result<Network, NetworkFlaw> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkFlaw::Address)?;
        let Some(length) = length else { return Ok(Network::of(address)) };
        let plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let plain = plain && (length == "0" || !length.starts_with('0'));
        let length: u8 = length.parse().ok().filter(|_| plain).ok_or(NetworkFlaw::Length)?;
        let base = normal(address);
        // What was written as IPv6 and is IPv4 counted 96 bits more.
        let length = length.checked_sub(bits(address) - bits(base)).ok_or(NetworkFlaw::Length)?;
        if length > bits(base) {
            return Err(NetworkFlaw::Length);
        }
        let network = Network { base, length };
        if number(base) & !network.mask() != 0 { Err(NetworkFlaw::HostBits) } else { Ok(network) }
    }

    /// Whether `address` is in it.
    pub fn holds(&self, address: IpAddr) -> bool {
        let address = normal(address);
        address.is_ipv4() == self.base.is_ipv4() && number(address) & self.mask() == number(self.base)
    }

    /// Whether all of it is in `outer`.
    pub fn lies_in(&self, outer: &Network) -> bool {
        self.length >= outer.length && outer.holds(self.base)
    }

    /// Its first address, and the bits that all of it shares.
    pub fn bounds(&self) -> (IpAddr, u128) {
        (self.base, self.mask())
    }

    /// Whether it is one address.
    pub fn is_one(&self) -> bool {
        self.length == bits(self.base)
    }

    fn mask(&self) -> u128 {
        let zeroes = u32::from(bits(self.base) - self.length);
        u128::MAX.checked_shl(zeroes).unwrap_or(0)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_one() { write!(f, "{}", self.base) } else { write!(f, "{}/{}", self.base, self.length) }
    }
}

/// An address in its one form: IPv4 that was put into IPv6 is IPv4 again.
pub fn normal(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(inner) => inner.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// What a rule must say to reach a special range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A network that lies in the range.
    ByNetwork,
    /// Each address by itself.
    ByAddress,
    /// Nothing opens it.
    Never,
}

/// A range that is denied unless it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special {
    /// Which.
    pub network: Network,
    /// What it is for, in a few words.
    pub what: &'static str,
    /// What opens it.
    pub opened: Opened,
}

const fn v4(octets: [u8; 4], length: u8, what: &'static str, opened: Opened) -> Special {
    let [a, b, c, d] = octets;
    Special { network: Network { base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), length }, what, opened }
}

const fn v6(high: u128, length: u8, what: &'static str, opened: Opened) -> Special {
    Special { network: Network { base: IpAddr::V6(Ipv6Addr::from_bits(high)), length }, what, opened }
}

use Opened::{ByAddress, ByNetwork, Never};

/// The first that holds an address counts.
const SPECIAL: &[Special] = &[
    // Whoever asks these gets the machine's credentials.
    v4([169, 254, 169, 254], 32, "cloud metadata", ByAddress),
    v4([169, 254, 170, 2], 32, "cloud metadata", ByAddress),
    v4([169, 254, 170, 23], 32, "cloud metadata", ByAddress),
    v4([100, 100, 100, 200], 32, "cloud metadata", ByAddress),
    v4([168, 63, 129, 16], 32, "cloud metadata", ByAddress),
    v4([192, 0, 0, 192], 32, "cloud metadata", ByAddress),
    v6(0xfd00_0ec2_0000_0000_0000_0000_0000_0254, 128, "cloud metadata", ByAddress),
    v6(0xfd20_00ce_0000_0000_0000_0000_0000_0254, 128, "cloud metadata", ByAddress),
    v4([0, 0, 0, 0], 8, "this host on this network", Never),
    v4([10, 0, 0, 0], 8, "private", ByNetwork),
    v4([100, 64, 0, 0], 10, "shared by a provider's customers", ByNetwork),
    v4([127, 0, 0, 0], 8, "loopback of the host", ByAddress),
    v4([169, 254, 0, 0], 16, "link-local", ByNetwork),
    v4([172, 16, 0, 0], 12, "private", ByNetwork),
    v4([192, 0, 0, 0], 24, "protocol assignments", ByNetwork),
    v4([192, 0, 2, 0], 24, "documentation", ByNetwork),
    v4([192, 88, 99, 0], 24, "6to4 relays", ByNetwork),
    v4([192, 168, 0, 0], 16, "private", ByNetwork),
    v4([198, 18, 0, 0], 15, "benchmarking, and the gate's own", Never),
    v4([198, 51, 100, 0], 24, "documentation", ByNetwork),
    v4([203, 0, 113, 0], 24, "documentation", ByNetwork),
    v4([224, 0, 0, 0], 4, "multicast", Never),
    v4([240, 0, 0, 0], 4, "reserved", Never),
    v6(0, 128, "unspecified", Never),
    v6(1, 128, "loopback of the host", ByAddress),
    v6(0xff00 << 112, 8, "multicast", Never),
    v6(0xfc00 << 112, 7, "private", ByNetwork),
    v6(0xfe80 << 112, 10, "link-local", ByNetwork),
    v6(0xfec0 << 112, 10, "site-local", ByNetwork),
    // These carry an IPv4 address to wherever a translator or a tunnel takes it.
    v6(0x0064_ff9b << 96, 96, "translated IPv4", ByNetwork),
    v6(0x0064_ff9b_0001 << 80, 48, "translated IPv4", ByNetwork),
    v6(0x2002 << 112, 16, "6to4 tunnels", ByNetwork),
    v6(0x2001 << 112, 23, "protocol assignments and tunnels", ByNetwork),
    v6(0x2001_0db8 << 96, 32, "documentation", ByNetwork),
    v6(0x3fff << 112, 20, "documentation", ByNetwork),
];

/// All that is public and IPv6.
const GLOBAL: Special = v6(0x2000 << 112, 3, "global unicast", ByNetwork);
/// What is left of IPv6.
const BEYOND: Special = v6(0, 0, "not global unicast", ByAddress);

/// The special range that holds `address`, if one does.
pub fn special(address: IpAddr) -> Option<&'static Special> {
    let found = SPECIAL.iter().find(|special| special.network.holds(address));
    found.or_else(|| (normal(address).is_ipv6() && !GLOBAL.network.holds(address)).then_some(&BEYOND))
}
