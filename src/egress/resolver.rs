//! Asking the host's name servers for a name that was allowed.
//!
//! Owns the host's settings as they were when the gate began (`/etc/resolv.conf`, `/etc/hosts`), the questions, and a short
//! memory. Asks for addresses and nothing else, and never for a name that no rule allows.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Packet, PacketFlag, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::secure::Secure;
use crate::policy::egress::name::Name;
use crate::policy::egress::terms::{NameServer, Over};

/// How long one server may take, and how often all are asked.
const PATIENCE: Duration = Duration::from_millis(2500);
const ROUNDS: usize = 2;
/// The same where there are certificates to be shown first.
const SECURE: Duration = Duration::from_secs(5);
/// How long an answer is kept, whatever it says about that.
const KEPT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Names that are kept.
const MOST: usize = 4096;
/// Links of a chain of other names that are followed.
const LONGEST_CHAIN: usize = 16;

/// What a name came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its addresses, IPv4 and IPv6 in turn.
    pub addresses: Vec<IpAddr>,
    /// The names that it stands for, which a rule can deny.
    pub aliases: Vec<Name>,
}

/// Settings and memory.
pub struct Resolver {
    servers: Vec<NameServer>,
    secure: Option<Secure>,
    hosts: HashMap<Name, Vec<IpAddr>>,
    kept: RefCell<HashMap<Name, (Found, Instant)>>,
}

impl Resolver {
    /// With these settings, as the two files have them.
    pub fn new(resolv_conf: &str, hosts: &str) -> Resolver {
        let plain = |at| NameServer { at, over: Over::Plain };
        let servers = servers(resolv_conf).into_iter().map(plain).collect();
        Resolver { servers, secure: None, hosts: read_hosts(hosts), kept: RefCell::default() }
    }

    /// Asking these, if there are any, and not whom the host asks.
    pub fn asking(mut self, servers: &[NameServer]) -> io::Result<Resolver> {
        if !servers.is_empty() {
            self.servers = servers.to_vec();
        }
        if self.servers.iter().any(|server| server.over != Over::Plain) {
            self.secure = Some(Secure::prepare()?);
        }
        Ok(self)
    }

    /// Whether it knows `name` without asking anybody.
    pub fn knows(&self, name: &Name) -> bool {
        self.hosts.contains_key(name)
    }

    /// With these names known besides, and before all others.
    pub fn knowing(mut self, known: &BTreeMap<Name, Vec<IpAddr>>) -> Resolver {
        self.hosts.extend(known.iter().map(|(name, addresses)| (name.clone(), addresses.clone())));
        self
    }

    /// The addresses of `name`.
    pub async fn resolve(&self, name: &Name) -> io::Result<Found> {
        if let Some(addresses) = self.hosts.get(name) {
            return Ok(Found { addresses: addresses.clone(), aliases: Vec::new() });
        }
        if let Some((found, until)) = self.kept.borrow().get(name)
            && *until > Instant::now()
        {
            return Ok(found.clone());
        }
        let (v4, v6) = tokio::join!(self.ask(name, TYPE::A), self.ask(name, TYPE::AAAA));
        let (found, kept) = match (v4, v6) {
            (Ok(v4), Ok(v6)) => (merge(v4.0, v6.0), v4.1.min(v6.1)),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => one,
            (Err(error), Err(_)) => return Err(error),
        };
        self.keep(name, &found, kept);
        Ok(found)
    }

    fn keep(&self, name: &Name, found: &Found, kept: Duration) {
        let mut all = self.kept.borrow_mut();
        if all.len() >= MOST {
            let now = Instant::now();
            all.retain(|_, (_, until)| *until > now);
        }
        if all.len() < MOST {
            all.insert(name.clone(), (found.clone(), Instant::now() + kept.clamp(KEPT.0, KEPT.1)));
        }
    }

    async fn ask(&self, name: &Name, kind: TYPE) -> io::Result<(Found, Duration)> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no name server answered");
        for _ in 0..ROUNDS {
            for server in &self.servers {
                let (patience, secure) =
                    if server.over == Over::Plain { (PATIENCE, None) } else { (SECURE, self.secure.as_ref()) };
                let asked = async {
                    match secure {
                        Some(secure) => ask_securely(secure, server, name, kind).await,
                        None => ask_one(server.at, name, kind).await,
                    }
                };
                match timeout(patience, asked).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => last = error,
                    Err(_) => last = io::ErrorKind::TimedOut.into(),
                }
            }
        }
        Err(last)
    }
}

async fn ask_one(server: SocketAddr, name: &Name, kind: TYPE) -> io::Result<(Found, Duration)> {
    let (id, message) = question(name, kind)?;
    let socket = datagram(server)?;
    socket.send(&message).await?;
    let mut buffer = vec![0; 4096];
    loop {
        // Only the server's own address gets through to a connected socket; what is not about this question is waited out.
        let length = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..length).unwrap_or_default();
        match read(answer, id, name, kind) {
            Read::Answer(found, kept) => return Ok((found, kept)),
            Read::Failed(what) => return Err(io::Error::other(what)),
            Read::Cut => return ask_over_tcp(server, &message, id, name, kind).await,
            Read::Other => {}
        }
    }
}

async fn ask_securely(secure: &Secure, server: &NameServer, name: &Name, kind: TYPE) -> io::Result<(Found, Duration)> {
    let (id, message) = question(name, kind)?;
    let answer = secure.ask(server, &message).await?;
    whole(&answer, id, name, kind)
}

async fn ask_over_tcp(
    server: SocketAddr,
    message: &[u8],
    id: u16,
    name: &Name,
    kind: TYPE,
) -> io::Result<(Found, Duration)> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    whole(&answer, id, name, kind)
}

/// What came over something that keeps messages whole.
fn whole(answer: &[u8], id: u16, name: &Name, kind: TYPE) -> io::Result<(Found, Duration)> {
    match read(answer, id, name, kind) {
        Read::Answer(found, kept) => Ok((found, kept)),
        Read::Failed(what) => Err(io::Error::other(what)),
        Read::Cut | Read::Other => Err(io::Error::other("the name server's answer makes no sense")),
    }
}

/// A socket that hears `server` alone, from a port that the kernel picks.
fn datagram(server: SocketAddr) -> io::Result<UdpSocket> {
    let family = if server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(family, SockType::Datagram, flags, None)?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(server))?;
    UdpSocket::from_std(std::net::UdpSocket::from(socket))
}

fn question(name: &Name, kind: TYPE) -> io::Result<(u16, Vec<u8>)> {
    // Each state is keyed by the system's random numbers, which is all that this takes from it.
    let [high, low, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
    let id = u16::from_be_bytes([high, low]);
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let asked = simple_dns::Name::new(name.as_str()).map_err(io::Error::other)?;
    packet.questions.push(Question::new(asked, kind.into(), CLASS::IN.into(), false));
    Ok((id, packet.build_bytes_vec().map_err(io::Error::other)?))
}

/// What came back.
enum Read {
    Answer(Found, Duration),
    Failed(String),
    /// It did not fit; the same has to be asked over TCP.
    Cut,
    /// It is not about what was asked.
    Other,
}

/// What a message says about the addresses of `name`, which was asked for by `id`; `None` when it says nothing about that.
pub fn understand(message: &[u8], id: u16, name: &Name) -> Option<Found> {
    let of = |kind| match read(message, id, name, kind) {
        Read::Answer(found, _) => Some(found),
        Read::Failed(_) | Read::Cut | Read::Other => None,
    };
    Some(merge(of(TYPE::A)?, of(TYPE::AAAA)?))
}

fn read(message: &[u8], id: u16, name: &Name, kind: TYPE) -> Read {
    let Ok(packet) = Packet::parse(message) else { return Read::Other };
    let about = |question: &Question<'_>| read_name(&question.qname).as_ref() == Some(name);
    let ours = packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && matches!(packet.questions.as_slice(), [question] if about(question));
    if !ours {
        return Read::Other;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Read::Cut;
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Read::Failed("there is no such name".to_owned()),
        other => return Read::Failed(format!("the name server says {other:?}")),
    }
    let (found, ttl) = follow(&packet, name, kind);
    Read::Answer(found, Duration::from_secs(ttl.into()))
}

/// The addresses at the end of the chain that begins at `name`.
fn follow(packet: &Packet<'_>, name: &Name, kind: TYPE) -> (Found, u32) {
    let (mut found, mut at, mut ttl) = (Found::default(), name.clone(), u32::MAX);
    for _ in 0..LONGEST_CHAIN {
        let own = packet.answers.iter().filter(|record| read_name(&record.name).as_ref() == Some(&at));
        let mut next = None;
        for record in own {
            match (&record.rdata, kind) {
                (RData::A(a), TYPE::A) => found.addresses.push(Ipv4Addr::from_bits(a.address).into()),
                (RData::AAAA(aaaa), TYPE::AAAA) => found.addresses.push(Ipv6Addr::from_bits(aaaa.address).into()),
                (RData::CNAME(alias), _) => next = read_name(&alias.0),
                _ => continue,
            }
            ttl = ttl.min(record.ttl);
        }
        match next {
            Some(alias) if found.addresses.is_empty() => {
                found.aliases.push(alias.clone());
                at = alias;
            }
            _ => break,
        }
    }
    (found, if ttl == u32::MAX { 0 } else { ttl })
}

fn read_name(name: &simple_dns::Name<'_>) -> Option<Name> {
    Name::parse(&name.to_string()).ok()
}

/// Both families in turn, so that a second try is of the other one.
fn merge(v4: Found, v6: Found) -> Found {
    let (mut one, mut other) = (v6.addresses.into_iter(), v4.addresses.into_iter());
    let mut addresses = Vec::new();
    loop {
        let (first, second) = (one.next(), other.next());
        if first.is_none() && second.is_none() {
            break;
        }
        addresses.extend(first.into_iter().chain(second));
    }
    let mut aliases = v4.aliases;
    aliases.extend(v6.aliases);
    aliases.sort();
    aliases.dedup();
    Found { addresses, aliases }
}

/// The name servers of a resolv.conf(5); without any, the host's own.
fn servers(text: &str) -> Vec<SocketAddr> {
    let words = text.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default());
    let addresses = words.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    let servers: Vec<SocketAddr> =
        addresses.filter_map(|text| text.parse().ok()).map(|address: IpAddr| (address, 53).into()).take(3).collect();
    if servers.is_empty() { vec![(Ipv4Addr::LOCALHOST, 53).into()] } else { servers }
}

/// The names of a hosts(5).
fn read_hosts(text: &str) -> HashMap<Name, Vec<IpAddr>> {
    let mut hosts: HashMap<Name, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        for name in words.filter_map(|word| Name::parse(word).ok()) {
            hosts.entry(name).or_default().push(address);
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::CNAME;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    fn reply(records: &[(&'static str, RData<'static>)]) -> Vec<u8> {
        let mut packet = Packet::new_reply(9);
        let asked = simple_dns::Name::new("a.example").expect("a name");
        packet.questions.push(Question::new(asked, TYPE::A.into(), CLASS::IN.into(), false));
        packet.answers = records
            .iter()
            .map(|(owner, data)| {
                ResourceRecord::new(simple_dns::Name::new(owner).expect("a name"), CLASS::IN, 30, data.clone())
            })
            .collect();
        packet.build_bytes_vec().expect("a message")
    }

    fn alias(to: &'static str) -> RData<'static> {
        RData::CNAME(CNAME(simple_dns::Name::new(to).expect("a name")))
    }

    #[test]
    fn addresses_count_at_the_end_of_the_chain_that_begins_at_the_name() {
        let message = reply(&[
            ("A.example", alias("b.example")),
            ("b.example", RData::A(Ipv4Addr::new(9, 9, 9, 9).into())),
            ("c.example", RData::A(Ipv4Addr::new(8, 8, 8, 8).into())),
        ]);
        let Read::Answer(found, kept) = read(&message, 9, &name("a.example"), TYPE::A) else { panic!("no answer") };
        assert_eq!(found.addresses, [IpAddr::from([9, 9, 9, 9])]);
        assert_eq!(found.aliases, [name("b.example")]);
        assert_eq!(kept, Duration::from_secs(30));
    }

    #[test]
    fn a_chain_in_a_circle_ends() {
        let message = reply(&[("a.example", alias("b.example")), ("b.example", alias("a.example"))]);
        let Read::Answer(found, _) = read(&message, 9, &name("a.example"), TYPE::A) else { panic!("no answer") };
        assert!(found.addresses.is_empty());
    }

    #[test]
    fn an_answer_to_another_question_is_not_taken() {
        let message = reply(&[("a.example", RData::A(Ipv4Addr::new(9, 9, 9, 9).into()))]);
        assert!(matches!(read(&message, 8, &name("a.example"), TYPE::A), Read::Other));
        assert!(matches!(read(&message, 9, &name("b.example"), TYPE::A), Read::Other));
    }

    #[test]
    fn the_hosts_settings_are_read_as_the_host_reads_them() {
        let servers = servers("# c\nsearch x\nnameserver 127.0.0.53\n nameserver  ::1 # c\nnameserver bad\n");
        assert_eq!(servers, ["127.0.0.53:53".parse().expect("an address"), "[::1]:53".parse().expect("an address")]);
        let hosts = read_hosts("10.0.0.1 A.example b # c\n::1 a.example\n#9.9.9.9 c\nbad d\n");
        assert_eq!(hosts.get(&name("a.example")).map(Vec::len), Some(2));
        assert_eq!(hosts.len(), 2);
    }

    proptest! {
        #[test]
        fn no_answer_upsets_it(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&bytes, 9, &name("a.example"), TYPE::A);
        }

        #[test]
        fn no_damaged_answer_upsets_it(at in 0usize..80, byte in any::<u8>()) {
            let mut message = reply(&[("a.example", alias("b.example")), ("b.example", alias("a.example"))]);
            let last = message.len() - 1;
            message[at.min(last)] = byte;
            let _ = read(&message, 9, &name("a.example"), TYPE::A);
        }
    }
}
