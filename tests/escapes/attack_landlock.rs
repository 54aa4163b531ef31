//! Every right of Landlock, tried in a process that confined itself by the real code as for an older kernel.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use clawjail::confine::landlock;
use clawjail::host::{Controllers, HostFacts, Tier};
use clawjail::plan::compile::{TierPolicies, compile};
use clawjail::plan::refused::Refused;
use clawjail::plan::request::{Caller, Request, WorkspaceDirectory};
use clawjail::plan::{Owner, Plan};
use clawjail::policy::library::Library;
use clawjail::profile::load::Sources;
use clawjail::profile::promise::{Demand, Promise};
use clawjail::profile::resolve::resolve;
use clawjail::sys::process;
use nix::errno::Errno;

use super::attack::{call, errno};

/// The plan of the default profile for a host that has this ABI; with every promise lowered, or none.
pub fn plan(tier: Tier, abi: u32, workspace: &Path, lowered: bool) -> Result<Plan, Refused> {
    let mut profile = resolve("untrusted", &Sources::default(), &Library::built_in()).expect("a shipped profile");
    if lowered {
        profile.require = Promise::ALL.into_iter().map(|promise| (promise, Demand::Partial)).collect();
    }
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let request = Request {
        caller: Caller { uid, gid, name: "caller".into(), home: "/nonexistent".into() },
        workspace: WorkspaceDirectory { path: workspace.into(), owner: Owner { uid, gid }, hooks: None },
        mounts: Vec::new(),
        cwd: None,
        timeout_ms: None,
    };
    let controllers = Controllers::None { why: "a test".into() };
    let host = HostFacts {
        tier,
        landlock_abi: abi,
        // With a broker init needs the whole tree; this is about what is denied without.
        seccomp_notify: !lowered,
        controllers,
        idmapped_mounts: clawjail::host::IdmappedMounts::Work,
        cpus: 2,
    };
    let tiers = TierPolicies::find(tier, &Library::built_in()).expect("the sets that we ship");
    compile(&profile, &request, &host, &tiers)
}

type Tries = BTreeMap<&'static str, Result<(), Errno>>;

/// `landlock ABI TREE OTHER`: confines itself to TREE, tries everything on OTHER, which it may not touch, and says each
/// result, then whether TREE still works.
pub fn attempt(abi: u32, tree: &CString, other: &CString) -> Result<String, Errno> {
    let [tree, other] = [tree, other].map(|path| Path::new(path.to_str().expect("ASCII")).to_path_buf());
    let plan = plan(Tier::Bare, abi, &tree, true).expect("with every promise lowered nothing is refused");
    let name = SocketAddr::from_abstract_name(format!("clawjail-{}", std::process::id())).map_err(errno)?;
    let _outside = UnixListener::bind_addr(&name).map_err(errno)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(errno)?;
    let port = listener.local_addr().map_err(errno)?.port();
    // It ends when its input does.
    let neighbour = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().map_err(errno)?;
    let neighbours = nix::unistd::Pid::from_raw(neighbour.id() as i32);
    process::refuse_new_privileges()?;
    landlock::restrict(&plan, None).map_err(|failed| failed.errno)?;
    let mut tries = paths(&other, &tree);
    tries.insert("connect_tcp", TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(errno));
    tries.insert("bind_tcp", TcpListener::bind(("127.0.0.1", 0)).map(drop).map_err(errno));
    tries.insert("abstract", UnixStream::connect_addr(&name).map(drop).map_err(errno));
    tries.insert("signal", nix::sys::signal::kill(neighbours, None));
    let own = std::fs::write(tree.join("own"), "x").and_then(|()| std::fs::read(tree.join("own"))).map_err(errno);
    tries.insert("own", own.map(drop));
    let said = tries.into_iter().map(|(right, result)| match result {
        Ok(()) => format!("{right}=ok"),
        Err(errno) => format!("{right}={errno:?}"),
    });
    Ok(said.collect::<Vec<_>>().join(" "))
}

fn paths(other: &Path, tree: &Path) -> Tries {
    let place = |name: &str| CString::new(other.join(name).to_str().expect("ASCII")).expect("no NUL");
    let inside = CString::new(tree.join("new").to_str().expect("ASCII")).expect("no NUL");
    let here = i64::from(libc::AT_FDCWD);
    let one = |number: i64, name: &str, arguments: &[i64]| {
        let path = place(name);
        let arguments: Vec<i64> = [here, path.as_ptr() as i64].into_iter().chain(arguments.iter().copied()).collect();
        call(number, &arguments).map(drop)
    };
    let open = |name: &str, flags: i32| one(libc::SYS_openat, name, &[flags.into(), 0o644]);
    let node = |name: &str, kind: u32| one(libc::SYS_mknodat, name, &[i64::from(kind | 0o644), 0x103]);
    let two = |number: i64, from: &CString, to: &CString| {
        call(number, &[here, from.as_ptr() as i64, here, to.as_ptr() as i64, 0]).map(drop)
    };
    let file = place("file");
    BTreeMap::from([
        // First of all: the others change what is there where they get through.
        ("truncate", call(libc::SYS_truncate, &[file.as_ptr() as i64, 0]).map(drop)),
        ("read_file", open("file", libc::O_RDONLY)),
        ("write_file", open("file", libc::O_WRONLY)),
        ("read_dir", open("", libc::O_RDONLY | libc::O_DIRECTORY)),
        ("execute", Command::new(other.join("program")).status().map(drop).map_err(errno)),
        ("make_reg", open("made", libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY)),
        ("make_dir", one(libc::SYS_mkdirat, "directory", &[0o755])),
        ("make_fifo", node("fifo", libc::S_IFIFO)),
        ("make_sock", node("socket", libc::S_IFSOCK)),
        ("make_char", node("char", libc::S_IFCHR)),
        ("make_block", node("block", libc::S_IFBLK)),
        ("make_sym", call(libc::SYS_symlinkat, &[c"x".as_ptr() as i64, here, place("link").as_ptr() as i64]).map(drop)),
        ("link_out", two(libc::SYS_linkat, &file, &inside)),
        ("rename_out", two(libc::SYS_renameat2, &file, &inside)),
        ("remove_file", one(libc::SYS_unlinkat, "spare", &[0])),
        ("remove_dir", one(libc::SYS_unlinkat, "empty", &[libc::AT_REMOVEDIR.into()])),
    ])
}
