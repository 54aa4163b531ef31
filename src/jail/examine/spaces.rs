//! Namespaces, tried from inside: the child that runs these is the first process of new mount and pid namespaces (and of a
//! user namespace in that tier), as a jail's init is.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat};
use nix::sys::stat::{Mode, fstat};

use super::super::idmap::Translation;
use super::super::probe;
use super::Setting;
use crate::confine::identity::errno_of;
use crate::confine::mounts::{self as view, Opener};
use crate::confine::redirect::Led;
use crate::confine::{Failed, Ids, gateway, network as loopback};
use crate::plan::compile::FIRST_THROW_AWAY_UID;
use crate::plan::{Entry, HostPath, Missing, Owner, Rights};
use crate::policy::egress::Rules;
use crate::sys::mounts::{self, Depth};
use crate::sys::process::{self, namespaces};
use crate::sys::terminal;

fn broken(step: &'static str, what: &str) -> Failed {
    Failed { step, errno: Errno::EPROTO, what: Some(what.to_owned()) }
}

/// Entering already mapped an id; a restricted host fails at that, or at the first mount.
pub fn user(_: &Setting<'_>) -> Result<String, Failed> {
    let proc = mounts::open_filesystem(c"proc").and_then(|proc| proc.mount(0));
    proc.map_err(Failed::at("mount_proc"))?;
    Ok("made, mapped, and proc mounted in it".into())
}

/// Builds a small root by the functions that build a jail's, enters it, and looks around.
pub fn private_root(setting: &Setting<'_>) -> Result<String, Failed> {
    let usr = HostPath {
        source: "/usr".into(),
        rights: Rights { execute: true, ..Rights::READ },
        owner: None,
        missing: Missing::Skip,
        why: String::new(),
        from: String::new(),
    };
    let tmp = Entry::Private { size: 1 << 20, execute: false, mode: 0o1777 };
    enter([("/usr", Entry::Host(usr)), ("/proc", Entry::Proc), ("/tmp", tmp)], setting)?;
    let create = |path: &str| open(path, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC, Mode::S_IRUSR).map(drop);
    if Path::new("/etc/passwd").exists() {
        return Err(broken("private_root", "a path that was not shown is there"));
    }
    create("/tmp/file").map_err(Failed::on("private_root", "/tmp"))?;
    match (create("/file"), create("/usr/clawjail-doctor")) {
        (Err(Errno::EROFS), Err(Errno::EROFS)) => Ok("tmpfs, read-only trees, proc, by the new mount API".into()),
        _ => Err(broken("private_root", "what is read-only could be written")),
    }
}

/// Opens a terminal of a devpts of its own.
pub fn private_terminals(setting: &Setting<'_>) -> Result<String, Failed> {
    enter([("/dev/pts", Entry::Terminals)], setting)?;
    let failed = Failed::at("private_terminals");
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = open("/dev/pts/ptmx", flags, Mode::empty()).map_err(&failed)?;
    terminal::unlock(master.as_fd()).map_err(&failed)?;
    terminal::open_peer(master.as_fd()).map_err(&failed)?;
    Ok("a devpts of its own".into())
}

fn enter<const N: usize>(entries: [(&str, Entry); N], setting: &Setting<'_>) -> Result<(), Failed> {
    let entries: BTreeMap<PathBuf, Entry> =
        entries.into_iter().map(|(path, entry)| (PathBuf::from(path), entry)).collect();
    let root = view::begin()?;
    view::fill(&root, &entries, &BTreeMap::new(), setting.own, Opener { caller: setting.own, own: setting.own })?;
    view::enter(root)
}

/// Sees itself as the first process, in a proc that knows no others.
pub fn processes(_: &Setting<'_>) -> Result<String, Failed> {
    let failed = Failed::at("pid_namespace");
    let proc = mounts::open_filesystem(c"proc").and_then(|proc| proc.mount(0)).map_err(Failed::at("mount_proc"))?;
    if nix::unistd::getpid().as_raw() != 1 {
        return Err(broken("pid_namespace", "the first process is not pid 1"));
    }
    openat(&proc, "1/stat", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(&failed)?;
    match openat(&proc, "2", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(Errno::ENOENT) => Ok("the child is pid 1 and sees nobody else".into()),
        _ => Err(broken("pid_namespace", "another process is seen")),
    }
}

/// Talks to itself over a loopback that reaches nowhere.
pub fn network(_: &Setting<'_>) -> Result<String, Failed> {
    process::unshare(namespaces::NETWORK).map_err(Failed::at("unshare"))?;
    loopback::bring_up_loopback()?;
    let talk = || -> std::io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        TcpStream::connect(listener.local_addr()?)?;
        listener.accept().map(drop)
    };
    talk().map_err(|error| Failed::at("loopback")(errno_of(&error)))?;
    // 192.0.2.1 is reserved for documentation, RFC 5737.
    match std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| socket.connect(("192.0.2.1", 9))) {
        Err(_) => Ok("loopback works, and there is no way out".into()),
        Ok(()) => Err(broken("network_namespace", "there is a route out")),
    }
}

/// Leads a connection to anywhere to a socket of ours, and no datagram out: what each jail with a gate tries, too.
pub fn gate(_: &Setting<'_>) -> Result<String, Failed> {
    process::unshare(namespaces::NETWORK).map_err(Failed::at("unshare"))?;
    loopback::bring_up_loopback()?;
    let sockets = gateway::open(&Rules::default(), &Led::BEST_FIRST)?;
    if let Some(broken) = probe::try_past_gate(&sockets).into_iter().find(|finding| !finding.held) {
        let what = format!("tried to {}", broken.tried);
        return Err(Failed { step: "egress_gate", errno: Errno::from_raw(broken.errno), what: Some(what) });
    }
    Ok(match sockets.led {
        Led::Whole => "nftables leads connections to it, and no datagram out".into(),
        Led::Translated => {
            "nftables leads connections to it by translating them, for want of nft_tproxy, and no datagram out".into()
        }
    })
}

/// System V and POSIX queues of its own.
pub fn ipc(_: &Setting<'_>) -> Result<String, Failed> {
    process::unshare(namespaces::IPC).map_err(Failed::at("unshare"))?;
    Ok("entered".into())
}

/// A host name of its own.
pub fn host_name(_: &Setting<'_>) -> Result<String, Failed> {
    process::unshare(namespaces::UTS).map_err(Failed::at("unshare"))?;
    nix::unistd::sethostname("clawjail").map_err(Failed::at("sethostname"))?;
    Ok("entered, and renamed".into())
}

/// A view of control groups that begins at its own.
pub fn groups(_: &Setting<'_>) -> Result<String, Failed> {
    process::unshare(namespaces::CGROUP).map_err(Failed::at("unshare"))?;
    Ok("entered".into())
}

/// Mounts the current directory so that its owner is another uid, and reads that uid back.
pub fn owner_translation(_: &Setting<'_>) -> Result<String, Failed> {
    let failed = Failed::at("owner_translation");
    let here =
        openat(AT_FDCWD, ".", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).map_err(&failed)?;
    let facts = fstat(&here).map_err(&failed)?;
    let tree = mounts::clone_tree(here.as_fd(), Depth::Recursive).map_err(Failed::at("clone_tree"))?;
    let ids = Ids { uid: FIRST_THROW_AWAY_UID, gid: FIRST_THROW_AWAY_UID };
    let map = Translation::new(Owner { uid: facts.st_uid, gid: facts.st_gid }, ids)?;
    mounts::translate_owners(tree.as_fd(), 0, map.as_fd()).map_err(Failed::at("translate_owners"))?;
    match fstat(&tree).map_err(&failed)?.st_uid {
        uid if uid == ids.uid => Ok("the filesystem of the current directory can be idmapped".into()),
        uid => Err(broken("owner_translation", &format!("the owner reads as {uid}"))),
    }
}
