//! What a jail's programs are told about names.
//!
//! Owns the answer to one message, over UDP and TCP alike. Nothing is asked of anybody outside: an allowed name gets an
//! address that means it here, a denied one does not exist, and no other kind of question has an answer.

use std::net::{Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

use crate::policy::egress::name::Name;

/// What a question for a name comes to.
pub enum Looked {
    /// These addresses stand for it.
    Up(Ipv4Addr, Option<Ipv6Addr>),
    /// It is denied.
    Denied,
    /// There is no room for another name.
    Full,
}

/// Seconds for which a program may keep an answer: the address means the same for ever.
const KEPT: u32 = 60;

/// The answer to `message`; `None` when it is nothing that can be answered. `look_up` judges a name.
pub fn answer(message: &[u8], mut look_up: impl FnMut(&Name) -> Looked) -> Option<Vec<u8>> {
    let (id, flags) = message.first_chunk::<4>().map(|[a, b, c, _]| (u16::from_be_bytes([*a, *b]), *c))?;
    if flags & 0x80 != 0 {
        // A response, which answered might be answered again for ever.
        return None;
    }
    let Ok(query) = Packet::parse(message) else { return reply(id, RCODE::FormatError, None, &[]) };
    let desired = query.has_flags(PacketFlag::RECURSION_DESIRED);
    let (OPCODE::StandardQuery, [question]) = (query.opcode(), query.questions.as_slice()) else {
        return reply(id, RCODE::NotImplemented, None, &[]);
    };
    let internet = matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY);
    let asked = Some((question, desired));
    let Some(name) = Name::parse(&question.qname.to_string()).ok().filter(|_| internet) else {
        return reply(id, RCODE::NameError, asked, &[]);
    };
    let looked = if name.as_str() == "localhost" { localhost() } else { look_up(&name) };
    let (v4, v6) = match looked {
        Looked::Up(v4, v6) => (v4, v6),
        Looked::Denied => return reply(id, RCODE::NameError, asked, &[]),
        Looked::Full => return reply(id, RCODE::ServerFailure, asked, &[]),
    };
    let data = match question.qtype {
        QTYPE::TYPE(TYPE::A) => Some(RData::A(v4.into())),
        QTYPE::TYPE(TYPE::AAAA) => v6.map(|v6| RData::AAAA(v6.into())),
        // The name is there, and has nothing of that kind: no hint of other ports, keys or protocols either.
        _ => None,
    };
    reply(id, RCODE::NoError, asked, data.as_slice())
}

fn localhost() -> Looked {
    Looked::Up(Ipv4Addr::LOCALHOST, Some(Ipv6Addr::LOCALHOST))
}

fn reply(id: u16, code: RCODE, asked: Option<(&Question<'_>, bool)>, data: &[RData<'_>]) -> Option<Vec<u8>> {
    let mut reply = Packet::new_reply(id);
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    *reply.rcode_mut() = code;
    if let Some((question, desired)) = asked {
        if desired {
            reply.set_flags(PacketFlag::RECURSION_DESIRED);
        }
        let record = |data: &RData<'_>| {
            ResourceRecord::new(question.qname.clone().into_owned(), CLASS::IN, KEPT, data.clone().into_owned())
        };
        reply.answers = data.iter().map(record).collect();
        reply.questions = vec![question.clone().into_owned()];
    }
    reply.build_bytes_vec_compressed().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        let name = simple_dns::Name::new(name).expect("a name");
        packet.questions.push(Question::new(name, kind.into(), CLASS::IN.into(), false));
        packet.build_bytes_vec().expect("a message")
    }

    fn look_up(name: &Name) -> Looked {
        match name.as_str() {
            "good.example" => Looked::Up(Ipv4Addr::new(198, 18, 1, 0), Some(Ipv6Addr::from_bits(0xfd << 120))),
            _ => Looked::Denied,
        }
    }

    fn asked(name: &str, kind: TYPE) -> (RCODE, usize) {
        let reply = answer(&query(name, kind), look_up).expect("an answer");
        let reply = Packet::parse(&reply).expect("a message");
        assert_eq!(reply.id(), 7);
        (reply.rcode(), reply.answers.len())
    }

    #[test]
    fn an_allowed_name_has_addresses_and_nothing_else() {
        assert_eq!(asked("good.example", TYPE::A), (RCODE::NoError, 1));
        assert_eq!(asked("GOOD.Example", TYPE::AAAA), (RCODE::NoError, 1));
        for kind in [TYPE::TXT, TYPE::MX, TYPE::SRV, TYPE::NS, TYPE::NULL, TYPE::HTTPS, TYPE::SVCB] {
            assert_eq!(asked("good.example", kind), (RCODE::NoError, 0), "{kind:?}");
        }
    }

    #[test]
    fn a_denied_name_does_not_exist_whatever_is_asked() {
        for kind in [TYPE::A, TYPE::AAAA, TYPE::TXT, TYPE::PTR] {
            assert_eq!(asked("evil.example", kind), (RCODE::NameError, 0), "{kind:?}");
            assert_eq!(asked("secret.good.example", kind), (RCODE::NameError, 0), "{kind:?}");
        }
    }

    #[test]
    fn a_label_with_a_dot_in_it_is_not_two_labels() {
        assert_eq!(asked(r"good\.example", TYPE::A), (RCODE::NameError, 0));
    }

    #[test]
    fn a_response_is_not_answered() {
        let mut message = query("good.example", TYPE::A);
        message[2] |= 0x80;
        assert!(answer(&message, look_up).is_none());
    }

    proptest! {
        #[test]
        fn no_message_upsets_it(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = answer(&bytes, look_up);
        }

        #[test]
        fn no_damaged_question_upsets_it(at in 0usize..30, byte in any::<u8>(), cut in 0usize..40) {
            let mut message = query("good.example", TYPE::A);
            let last = message.len() - 1;
            message[at.min(last)] = byte;
            message.truncate(cut.max(1));
            let _ = answer(&message, look_up);
        }
    }
}
