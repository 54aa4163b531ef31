//! The names that a rule may give to an argument, and their values.
//!
//! Owns the table. Must not decide anything with it. Values are those of the kernel's interface, the same on every
//! architecture that we run on; libc's names are used where it has them.

use libc::c_int;

/// The value of one name, or of every name with that beginning when it ends in `*` (`CLONE_NEW*`), or-ed together.
pub fn value_of(name: &str) -> Option<u64> {
    match name.strip_suffix('*') {
        Some("") => None,
        Some(beginning) => CONSTANTS
            .iter()
            .filter(|(name, _)| name.starts_with(beginning))
            .map(|(_, value)| *value)
            .reduce(|all, one| all | one),
        None => CONSTANTS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value),
    }
}

/// Every name, for "did you mean".
pub fn names() -> impl Iterator<Item = &'static str> {
    CONSTANTS.iter().map(|(name, _)| *name)
}

/// An `int` of libc, as the 32 bits that the kernel reads.
const fn int(value: c_int) -> u64 {
    value as u32 as u64
}

/// The low four bits of a socket type; above them are `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
const SOCK_TYPE_MASK: u64 = 0xf;

/// Name and value, grouped by call.
const CONSTANTS: &[(&str, u64)] = &[
    // socket, socketpair
    ("AF_UNIX", int(libc::AF_UNIX)),
    ("AF_INET", int(libc::AF_INET)),
    ("AF_INET6", int(libc::AF_INET6)),
    ("AF_NETLINK", int(libc::AF_NETLINK)),
    ("SOCK_TYPE_MASK", SOCK_TYPE_MASK),
    ("SOCK_STREAM", int(libc::SOCK_STREAM)),
    ("SOCK_DGRAM", int(libc::SOCK_DGRAM)),
    ("SOCK_RAW", int(libc::SOCK_RAW)),
    ("SOCK_SEQPACKET", int(libc::SOCK_SEQPACKET)),
    ("IPPROTO_IP", int(libc::IPPROTO_IP)),
    ("IPPROTO_TCP", int(libc::IPPROTO_TCP)),
    ("IPPROTO_UDP", int(libc::IPPROTO_UDP)),
    ("NETLINK_ROUTE", int(libc::NETLINK_ROUTE)),
    // clone; CLONE_NEWTIME is left out, because that bit of clone's flags is part of the exit signal
    ("CLONE_NEWNS", int(libc::CLONE_NEWNS)),
    ("CLONE_NEWCGROUP", int(libc::CLONE_NEWCGROUP)),
    ("CLONE_NEWUTS", int(libc::CLONE_NEWUTS)),
    ("CLONE_NEWIPC", int(libc::CLONE_NEWIPC)),
    ("CLONE_NEWUSER", int(libc::CLONE_NEWUSER)),
    ("CLONE_NEWPID", int(libc::CLONE_NEWPID)),
    ("CLONE_NEWNET", int(libc::CLONE_NEWNET)),
    ("CLONE_THREAD", int(libc::CLONE_THREAD)),
    // open, mknod
    ("O_CREAT", int(libc::O_CREAT)),
    ("O_TMPFILE", int(libc::O_TMPFILE)),
    ("O_ACCMODE", int(libc::O_ACCMODE)),
    ("O_WRONLY", int(libc::O_WRONLY)),
    ("O_RDWR", int(libc::O_RDWR)),
    ("O_TRUNC", int(libc::O_TRUNC)),
    ("AT_REMOVEDIR", int(libc::AT_REMOVEDIR)),
    ("S_IFMT", libc::S_IFMT as u64),
    ("S_IFREG", libc::S_IFREG as u64),
    ("S_IFIFO", libc::S_IFIFO as u64),
    ("S_IFSOCK", libc::S_IFSOCK as u64),
    ("S_IFCHR", libc::S_IFCHR as u64),
    ("S_IFBLK", libc::S_IFBLK as u64),
    // personality
    ("PER_LINUX", 0),
    ("PER_QUERY", 0xffff_ffff),
    // priorities
    ("PRIO_PROCESS", int(libc::PRIO_PROCESS as c_int)),
    ("IOPRIO_WHO_PROCESS", 1),
    // seccomp
    ("SECCOMP_SET_MODE_STRICT", libc::SECCOMP_SET_MODE_STRICT as u64),
    ("SECCOMP_SET_MODE_FILTER", libc::SECCOMP_SET_MODE_FILTER as u64),
    ("SECCOMP_GET_ACTION_AVAIL", libc::SECCOMP_GET_ACTION_AVAIL as u64),
    ("SECCOMP_FILTER_FLAG_NEW_LISTENER", 1 << 3),
    // ioctl; libc types these numbers differently with each C library
    ("TIOCSTI", 0x5412),
    ("TIOCLINUX", 0x541c),
    ("TIOCCONS", 0x541d),
    ("TIOCSETD", 0x5423),
    ("TIOCVHANGUP", 0x5437),
    ("TIOCSSERIAL", 0x541f),
    ("KDSKBENT", 0x4b47),
    ("KDSKBSENT", 0x4b49),
    ("KDSKBDIACR", 0x4b4b),
    ("KDSETKEYCODE", 0x4b4d),
    ("KDSKBDIACRUC", 0x4bfb),
    ("FS_IOC_SETFLAGS", 0x4008_6602),
    // prctl
    ("PR_SET_PDEATHSIG", int(libc::PR_SET_PDEATHSIG)),
    ("PR_GET_PDEATHSIG", int(libc::PR_GET_PDEATHSIG)),
    ("PR_GET_DUMPABLE", int(libc::PR_GET_DUMPABLE)),
    ("PR_SET_DUMPABLE", int(libc::PR_SET_DUMPABLE)),
    ("PR_GET_KEEPCAPS", int(libc::PR_GET_KEEPCAPS)),
    ("PR_SET_KEEPCAPS", int(libc::PR_SET_KEEPCAPS)),
    ("PR_SET_NAME", int(libc::PR_SET_NAME)),
    ("PR_GET_NAME", int(libc::PR_GET_NAME)),
    ("PR_GET_SECCOMP", int(libc::PR_GET_SECCOMP)),
    ("PR_SET_SECCOMP", int(libc::PR_SET_SECCOMP)),
    ("PR_CAPBSET_READ", int(libc::PR_CAPBSET_READ)),
    ("PR_GET_SECUREBITS", int(libc::PR_GET_SECUREBITS)),
    ("PR_SET_TIMERSLACK", int(libc::PR_SET_TIMERSLACK)),
    ("PR_GET_TIMERSLACK", int(libc::PR_GET_TIMERSLACK)),
    ("PR_SET_CHILD_SUBREAPER", int(libc::PR_SET_CHILD_SUBREAPER)),
    ("PR_GET_CHILD_SUBREAPER", int(libc::PR_GET_CHILD_SUBREAPER)),
    ("PR_SET_NO_NEW_PRIVS", int(libc::PR_SET_NO_NEW_PRIVS)),
    ("PR_GET_NO_NEW_PRIVS", int(libc::PR_GET_NO_NEW_PRIVS)),
    ("PR_SET_THP_DISABLE", int(libc::PR_SET_THP_DISABLE)),
    ("PR_GET_THP_DISABLE", int(libc::PR_GET_THP_DISABLE)),
    ("PR_CAP_AMBIENT", int(libc::PR_CAP_AMBIENT)),
    ("PR_CAP_AMBIENT_IS_SET", int(libc::PR_CAP_AMBIENT_IS_SET)),
    ("PR_SVE_SET_VL", 50),
    ("PR_SVE_GET_VL", 51),
    ("PR_GET_SPECULATION_CTRL", int(libc::PR_GET_SPECULATION_CTRL)),
    ("PR_SET_SPECULATION_CTRL", int(libc::PR_SET_SPECULATION_CTRL)),
    ("PR_PAC_RESET_KEYS", 54),
    ("PR_SET_TAGGED_ADDR_CTRL", 55),
    ("PR_GET_TAGGED_ADDR_CTRL", 56),
    ("PR_SET_MDWE", 65),
    ("PR_GET_MDWE", 66),
    ("PR_SET_VMA", 0x5356_4d41),
    ("PR_SET_PTRACER", 0x5961_6d61),
    ("PR_GET_AUXV", 0x4155_5856),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_every_name_with_that_beginning() {
        let namespaces = value_of("CLONE_NEW*").expect("in the table");
        assert_eq!(namespaces, 0x7e02_0000);
        assert_eq!(value_of("CLONE_NOTHING*"), None);
        assert_eq!(value_of("*"), None);
    }

    #[test]
    fn no_name_is_given_twice() {
        let mut all: Vec<&str> = names().collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
