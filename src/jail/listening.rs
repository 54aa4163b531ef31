//! Where a socket listens, once it does. proc_net(5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How often a socket is looked for; the call that is about to be made can fail, or wait.
const MOST_TRIES: u8 = 20;

/// A socket that is about to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its inode.
    pub inode: u64,
    /// Whose it is.
    pub pid: u32,
    /// Since when, microseconds after its run began.
    pub after_us: u64,
    /// How often it was looked for.
    pub tries: u8,
}

/// Takes those out of `pending` that listen now, and forgets those that were looked for too often.
pub fn find(pending: &mut Vec<Pending>) -> Vec<(Pending, SocketAddr)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let mut found = Vec::new();
    pending.retain_mut(|one| {
        one.tries = one.tries.saturating_add(1);
        match tables.iter().find_map(|table| listener(table, one.inode)) {
            Some(address) => {
                found.push((*one, address));
                false
            }
            None => one.tries < MOST_TRIES,
        }
    });
    found
}

/// The address of the socket with `inode`, if it listens by this table.
fn listener(table: &str, inode: u64) -> Option<SocketAddr> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let listens = fields.get(3) == Some(&LISTEN) && fields.get(9)?.parse() == Ok(inode);
        if listens { address(fields.get(1)?) } else { None }
    })
}

/// `0100007F:1F90`: words in the machine's own order, then the port.
fn address(field: &str) -> Option<SocketAddr> {
    let (address, port) = field.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0\n   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 1000 0 4243 1 0\n   2: 0100007F:0001 0100007F:0002 01 0:0 00:0 0 1000 0 4244 1 0\n";

    #[test]
    fn a_listener_is_found_by_its_inode_and_nothing_that_is_connected_is() {
        assert_eq!(listener(TABLE, 4242), "127.0.0.1:8080".parse().ok());
        assert_eq!(listener(TABLE, 4243), "[::1]:80".parse().ok());
        assert_eq!((listener(TABLE, 4244), listener(TABLE, 1), listener("", 1)), (None, None, None));
    }
}
