//! The kernel's rules in a jail with a gate: what is led to it, what passes, and what is denied at once. nftables.
//!
//! Owns the tables as messages. Must not know names: those that UDP reaches have a range of addresses for themselves.
//!
//! ```text
//!   filter  to the jail itself, marked by the gate, port 53 over UDP, datagrams that a rule may allow: passes
//!           any other TCP: marked as led, passes              all else: told to the gate, denied at once
//!   lead    what is marked as led: to the gate's socket; whole (tproxy), or else with another address (redir)
//! ```
//!
//! What a kernel needs for these is looked up by name, one by one, which is most of what they cost: so there are few of them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::known::{LED, MARK, NAMES, OWN_V4, OWN_V6, PORT};
use super::netlink::{Attributes, Batch, NEW, Netlink};
use crate::policy::egress::Datagrams;

/// The upper half of the addresses that stand for names, which those have that UDP reaches; `egress::names`.
const WITH_UDP_V4: [u8; 2] = [198, 19];
const WITH_UDP_V6: [u8; 14] = [0xfd, 0, 0xc1, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

// Of linux/netfilter/nf_tables.h; libc has some of these for one of its C libraries alone.
const TABLE: &str = "clawjail";
const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const PRE_ROUTING: u32 = 0;
const LOCAL_OUT: u32 = 3;
const APPEND: u16 = libc::NLM_F_CREATE as u16 | libc::NLM_F_APPEND as u16;

/// A register of the kernel's rule machine; 0 is the verdict.
const REGISTER: u32 = 1;
const VERDICT: u32 = 0;
const DROP: i32 = 0;
const ACCEPT: i32 = 1;

/// What a rule looks at.
#[derive(Clone, Copy)]
enum Look<'a> {
    Meta(u32),
    Network {
        offset: u32,
        length: u32,
    },
    /// The bits of the network's head that the mask has.
    Within {
        offset: u32,
        mask: &'a [u8],
    },
    Transport {
        offset: u32,
        length: u32,
    },
}

const MARK_KEY: u32 = 3;
const MARKED: Look<'static> = Look::Meta(MARK_KEY);
const FAMILY: Look<'static> = Look::Meta(15);
const PROTOCOL: Look<'static> = Look::Meta(16);
const DESTINATION_PORT: Look<'static> = Look::Transport { offset: 2, length: 2 };
const FIRST_OF_V4: Look<'static> = Look::Network { offset: 16, length: 1 };
const DESTINATION_V4: Look<'static> = Look::Network { offset: 16, length: 4 };
const DESTINATION_V6: Look<'static> = Look::Network { offset: 24, length: 16 };

const V4: u8 = 2;
const V6: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// How connections come to the gate's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Led {
    /// As they are: the gate's end has the address that was meant.
    Whole,
    /// With another address; the kernel remembers for the gate which one they had.
    Translated,
}

impl Led {
    /// All of them. Not every kernel has nft_tproxy; those without remember of each connection how they translated it.
    pub const BEST_FIRST: [Led; 2] = [Led::Whole, Led::Translated];
}

/// What was loaded.
pub struct Installed {
    /// How connections come.
    pub led: Led,
    /// What tells which packets are denied, where the kernel can tell.
    pub log: Option<OwnedFd>,
}

/// Loads both chains at once: either all of it holds, or nothing does and the jail is not made. What a kernel does not have is known
/// by trying `ways`, one after the other; without nft_log or nft_limit what is denied is denied all the same, and nobody is told of
/// it.
pub fn install(datagrams: &BTreeSet<(Datagrams, u16)>, ways: &[Led]) -> Result<Installed, Errno> {
    let mut log = open_log().ok();
    let told = if log.is_some() { Told::Gate } else { Told::Nobody };
    let each = |told| ways.iter().map(move |led| (*led, told));
    let mut last = Errno::ENOENT;
    for (led, told) in each(told).chain(each(Told::Nobody)) {
        match load(datagrams, led, told) {
            Ok(()) => return Ok(Installed { led, log: log.take().filter(|_| told == Told::Gate) }),
            Err(errno @ (Errno::ENOENT | Errno::EOPNOTSUPP)) => last = errno,
            Err(errno) => return Err(errno),
        }
    }
    Err(last)
}

/// Who is told what is denied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Gate,
    Nobody,
}

fn load(datagrams: &BTreeSet<(Datagrams, u16)>, led: Led, told: Told) -> Result<(), Errno> {
    let netfilter = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    let mut batch = Batch::default().tell(BATCH_BEGIN, &Attributes::after(&[0, 0, 0, 10]));
    batch = batch.have(NEW_TABLE, NEW, &inet().text(1, TABLE));
    batch = chain(batch, "filter", "filter", (LOCAL_OUT, -150), DROP);
    batch = to_itself(batch, "filter", ACCEPT);
    batch = rule(batch, "filter", &[(PROTOCOL, &[TCP])], &and_mark_it(verdict(ACCEPT)));
    batch = rule(batch, "filter", &[(MARKED, &MARK.to_ne_bytes())], &verdict(ACCEPT));
    let names = NAMES.to_be_bytes();
    batch = rule(batch, "filter", &[(PROTOCOL, &[UDP]), (DESTINATION_PORT, &names)], &verdict(ACCEPT));
    for (to, port) in datagrams {
        batch = let_through(batch, *to, *port);
    }
    if told == Told::Gate {
        batch = rule(batch, "filter", &[], &to_the_log());
    }
    batch = match led {
        Led::Whole => chain(batch, "lead", "filter", (PRE_ROUTING, -150), ACCEPT),
        Led::Translated => chain(batch, "lead", "nat", (LOCAL_OUT, -100), ACCEPT),
    };
    let lead = rule_of("lead", &[(MARKED, &LED.to_ne_bytes())], &to_the_gate(led));
    // Errors are told of any, that it worked of the last alone.
    batch = batch.ask(NEW_RULE, APPEND, &lead);
    netfilter.send(&batch.tell(BATCH_END, &Attributes::after(&[0, 0, 0, 10])))
}

/// The head of a message about tables for both families.
fn inet() -> Attributes {
    Attributes::after(&[1, 0, 0, 0])
}

fn chain(batch: Batch, name: &str, kind: &str, (hook, priority): (u32, i32), policy: i32) -> Batch {
    let hook = Attributes::new().number(1, hook).bytes(2, &priority.to_be_bytes());
    let chain = inet().text(1, TABLE).text(3, name).nested(4, hook).bytes(5, &policy.to_be_bytes()).text(7, kind);
    batch.have(NEW_CHAIN, NEW, &chain)
}

/// What the jail sends to itself: its loopback and its own address.
fn to_itself(mut batch: Batch, chain: &str, code: i32) -> Batch {
    let mut loopback = [0; 16];
    if let Some(last) = loopback.last_mut() {
        *last = 1;
    }
    let own: [(u8, Look<'_>, &[u8]); 4] = [
        (V4, FIRST_OF_V4, &[127]),
        (V4, DESTINATION_V4, &OWN_V4),
        (V6, DESTINATION_V6, &loopback),
        (V6, DESTINATION_V6, &OWN_V6),
    ];
    for (family, look, value) in own {
        batch = rule(batch, chain, &[(FAMILY, &[family]), (look, value)], &verdict(code));
    }
    batch
}

/// Datagrams that a rule may allow.
fn let_through(batch: Batch, to: Datagrams, port: u16) -> Batch {
    let port = port.to_be_bytes();
    let pass = |batch: Batch, family: u8, look: Look, value: &[u8]| {
        let when = [(FAMILY, &[family][..]), (look, value), (PROTOCOL, &[UDP]), (DESTINATION_PORT, &port)];
        rule(batch, "filter", &when, &verdict(ACCEPT))
    };
    match to {
        Datagrams::ToNames => {
            let v4 = Look::Network { offset: 16, length: 2 };
            let batch = pass(batch, V4, v4, &WITH_UDP_V4);
            pass(batch, V6, Look::Network { offset: 24, length: 14 }, &WITH_UDP_V6)
        }
        Datagrams::ToNetwork(network) => {
            let (base, mask) = network.bounds();
            match base {
                IpAddr::V4(v4) => {
                    let [.., a, b, c, d] = mask.to_be_bytes();
                    pass(batch, V4, Look::Within { offset: 16, mask: &[a, b, c, d] }, &v4.octets())
                }
                IpAddr::V6(v6) => pass(batch, V6, Look::Within { offset: 24, mask: &mask.to_be_bytes() }, &v6.octets()),
            }
        }
    }
}

/// The gate's group of the log, of which its socket is the only reader.
const GROUP: u16 = 1;
/// Denials that are told in a second: the gate has more to do.
const TOLD: u64 = 200;
/// What is told of each: as much as the heads of the network's and the transport's packets.
const SNAPSHOT: u32 = 64;
/// Of linux/netfilter/nfnetlink_log.h.
const LOG_CONFIG: u16 = 4 << 8 | 1;

/// A socket that hears what the filter denied.
fn open_log() -> Result<OwnedFd, Errno> {
    let log = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    let [high, low] = GROUP.to_be_bytes();
    const BIND: u8 = 1;
    const PACKETS: u8 = 2;
    let [a, b, c, d] = SNAPSHOT.to_be_bytes();
    // Each at once: the kernel would gather a hundred first.
    let group = Attributes::after(&[0, 0, high, low]);
    let how = group.bytes(1, &[BIND]).bytes(2, &[a, b, c, d, PACKETS, 0]).number(5, 1);
    log.send(&Batch::default().ask(LOG_CONFIG, 0, &how))?;
    log.into_listener()
}

/// Not more often than is of use to anybody; then the packet goes on to the chain's own word.
fn to_the_log() -> Attributes {
    let rate = Attributes::new().bytes(1, &TOLD.to_be_bytes()).bytes(2, &1_u64.to_be_bytes()).number(3, 20);
    let log = Attributes::new().bytes(1, &GROUP.to_be_bytes()).number(3, SNAPSHOT);
    Attributes::new().nested(1, expression("limit", rate)).nested(1, expression("log", log))
}

/// A rule that does `then` with what has every value in `when`.
fn rule(batch: Batch, chain: &str, when: &[(Look<'_>, &[u8])], then: &Attributes) -> Batch {
    batch.have(NEW_RULE, APPEND, &rule_of(chain, when, then))
}

fn rule_of(chain: &str, when: &[(Look<'_>, &[u8])], then: &Attributes) -> Attributes {
    let mut expressions = Attributes::new();
    for (look, value) in when {
        let equal = Attributes::new().number(1, REGISTER).number(2, 0).nested(3, Attributes::new().bytes(1, value));
        expressions = expressions.nested(1, look.load());
        if let Look::Within { mask, .. } = look {
            expressions = expressions.nested(1, expression("bitwise", and(mask)));
        }
        expressions = expressions.nested(1, expression("cmp", equal));
    }
    inet().text(1, TABLE).text(2, chain).nested(4, expressions.and(then))
}

impl Look<'_> {
    fn load(self) -> Attributes {
        let payload = |base, offset, length| {
            expression(
                "payload",
                Attributes::new().number(1, REGISTER).number(2, base).number(3, offset).number(4, length),
            )
        };
        match self {
            Look::Meta(key) => expression("meta", Attributes::new().number(1, REGISTER).number(2, key)),
            Look::Network { offset, length } => payload(1, offset, length),
            Look::Within { offset, mask } => payload(1, offset, u32::try_from(mask.len()).unwrap_or(u32::MAX)),
            Look::Transport { offset, length } => payload(2, offset, length),
        }
    }
}

/// The register, and `mask`.
fn and(mask: &[u8]) -> Attributes {
    let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
    let registers = Attributes::new().number(1, REGISTER).number(2, REGISTER).number(3, length);
    let nothing = vec![0; mask.len()];
    registers.nested(4, Attributes::new().bytes(1, mask)).nested(5, Attributes::new().bytes(1, &nothing))
}

fn expression(name: &str, data: Attributes) -> Attributes {
    Attributes::new().text(1, name).nested(2, data)
}

fn verdict(code: i32) -> Attributes {
    let code = Attributes::new().nested(2, Attributes::new().bytes(1, &code.to_be_bytes()));
    Attributes::new().nested(1, expression("immediate", Attributes::new().number(1, VERDICT).nested(2, code)))
}

/// Marks a connection's packets, so that what leads them need not ask again where they go.
fn and_mark_it(then: Attributes) -> Attributes {
    let mark = Attributes::new().nested(2, Attributes::new().bytes(1, &LED.to_ne_bytes()));
    let load = expression("immediate", Attributes::new().number(1, REGISTER).and(&mark));
    let set = expression("meta", Attributes::new().number(2, MARK_KEY).number(3, REGISTER));
    Attributes::new().nested(1, load).nested(1, set).and(&then)
}

fn to_the_gate(led: Led) -> Attributes {
    let port = Attributes::new().bytes(1, &PORT.to_be_bytes());
    let load = expression("immediate", Attributes::new().number(1, REGISTER).nested(2, port));
    let lead = match led {
        // Of whichever family it is.
        Led::Whole => expression("tproxy", Attributes::new().number(1, 0).number(3, REGISTER)),
        Led::Translated => expression("redir", Attributes::new().number(1, REGISTER)),
    };
    Attributes::new().nested(1, load).nested(1, lead)
}
