//! Ports, addresses and marks by which the parts of a jail's network know each other.

/// The gate's port. Below 1024, so that nothing in the jail can ever take it. Whoever connects to it by the jail's own addresses
/// means nobody.
pub const PORT: u16 = 1;
/// The port of name servers.
pub const NAMES: u16 = 53;

/// The jail's address beside its loopback: programs look up names of a family only where they have an address of it.
pub const OWN_V4: [u8; 4] = [198, 18, 0, 1];
/// The same for IPv6.
pub const OWN_V6: [u8; 16] = [0xfd, 0, 0xc1, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// What marks the gate's own word to those who send datagrams, for the filter.
pub const MARK: u32 = 0x636a;
/// What marks packets of connections that are led to the gate, between the two chains.
pub const LED: u32 = 0x636b;
