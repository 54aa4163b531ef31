//! What the hostile program does to processes, and what it sees of its own.

use std::ffi::CString;

use nix::errno::Errno;

use super::attack::{call, errno, integer};

/// Tries one operation; `None` if it is none of these.
pub fn attempt(name: &str, words: &[CString]) -> Option<Result<String, Errno>> {
    let number = |at: usize| integer(words.get(at));
    Some(match name {
        "kill" => call(libc::SYS_kill, &[number(1), number(2)]).map(|_| String::new()),
        "kill-child" => kill_child(),
        "ptrace" => call(libc::SYS_ptrace, &[libc::PTRACE_ATTACH.into(), number(1), 0, 0]).map(|_| String::new()),
        "ptrace-seize" => call(libc::SYS_ptrace, &[0x4206, number(1), 0, 0]).map(|_| String::new()),
        "read-memory" => move_memory(libc::SYS_process_vm_readv, number(1)),
        "write-memory" => move_memory(libc::SYS_process_vm_writev, number(1)),
        "pidfd" => steal_descriptor(number(1)),
        "descriptors" => Ok(descriptors()),
        "state" => Ok(state()),
        "capabilities" => capabilities(),
        "identity" => identity(),
        "bounding-set" => Ok(bounding_set()),
        "ioctl" => call(libc::SYS_ioctl, &[number(1), number(2), b"x".as_ptr() as i64]).map(|_| String::new()),
        "allocate" => Ok(allocate(number(1))),
        "memory-file" => fill_memory_file(number(1)),
        "threads" => Ok(threads(number(1))),
        "zombies" => zombies(number(1)),
        "race" => race(&words[1], &words[2], number(3)),
        _ => return None,
    })
}

fn kill_child() -> Result<String, Errno> {
    let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().map_err(errno)?;
    call(libc::SYS_kill, &[child.id().into(), libc::SIGKILL.into()])?;
    child.wait().map_err(errno)?;
    Ok(String::new())
}

fn move_memory(number: i64, pid: i64) -> Result<String, Errno> {
    let mut bytes = [0u8; 8];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 8 };
    let remote = libc::iovec { iov_base: 0x40_0000 as *mut libc::c_void, iov_len: 8 };
    call(number, &[pid, &raw const local as i64, 1, &raw const remote as i64, 1, 0]).map(|_| String::new())
}

fn steal_descriptor(pid: i64) -> Result<String, Errno> {
    let process = call(libc::SYS_pidfd_open, &[pid, 0])?;
    call(libc::SYS_pidfd_getfd, &[process, 0, 0]).map(|_| String::new())
}

/// The numbers of all open descriptors, without asking /proc.
fn descriptors() -> String {
    let open = (0..4096).filter(|number| call(libc::SYS_fcntl, &[*number, libc::F_GETFD.into()]).is_ok());
    open.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

/// What a process inherits besides its environment: signals ignored and blocked, mask, priority.
fn state() -> String {
    let mut ignored = Vec::new();
    for signal in (1..=64).filter(|signal| ![9, 19, 32, 33].contains(signal)) {
        // SAFETY: all zero is a valid action, which the call overwrites; nothing is set.
        let action = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut action);
            action
        };
        // This program's own runtime ignores SIGPIPE.
        if action.sa_sigaction == libc::SIG_IGN && signal != libc::SIGPIPE {
            ignored.push(signal.to_string());
        }
    }
    let blocked = nix::sys::signal::SigSet::thread_get_mask().map(|set| set.iter().count()).unwrap_or(99);
    let mask = call(libc::SYS_umask, &[0o22]).unwrap_or(-1);
    let policy = call(libc::SYS_sched_getscheduler, &[0]).unwrap_or(-1);
    format!("ignored=[{}] blocked={blocked} umask={mask:03o} policy={policy}", ignored.join(","))
}

/// Everything that prctl(2) and capget(2) say about powers.
fn capabilities() -> Result<String, Errno> {
    let ask = |what: i32, argument: i64| call(libc::SYS_prctl, &[what.into(), argument, 0, 0, 0]);
    let ambient = (0..41).filter(|number| call(libc::SYS_prctl, &[47, 1, *number, 0, 0]) == Ok(1)).count();
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut held = [0u32; 6];
    call(libc::SYS_capget, &[header.as_ptr() as i64, held.as_mut_ptr() as i64])?;
    let held: u32 = held.iter().map(|bits| bits.count_ones()).sum();
    let no_new_privs = ask(libc::PR_GET_NO_NEW_PRIVS, 0)?;
    let seccomp = ask(libc::PR_GET_SECCOMP, 0)?;
    Ok(format!("ambient={ambient} held={held} no_new_privs={no_new_privs} seccomp={seccomp}"))
}

fn identity() -> Result<String, Errno> {
    let (users, groups) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
    let others = nix::unistd::getgroups()?.len();
    Ok(format!(
        "{}/{}/{} {}/{}/{} {others}",
        users.real, users.effective, users.saved, groups.real, groups.effective, groups.saved
    ))
}

fn bounding_set() -> String {
    let held = |number: &i64| call(libc::SYS_prctl, &[libc::PR_CAPBSET_READ.into(), *number, 0, 0, 0]) == Ok(1);
    (0..64).filter(held).count().to_string()
}

/// Touches memory until there is none, and says how many MiB there were.
fn allocate(most: i64) -> String {
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    // Copied, for that is quick also in a program that is not optimised.
    let pattern = vec![1u8; 1 << 20];
    for count in 0..most {
        let mut chunk: Vec<u8> = Vec::new();
        if chunk.try_reserve_exact(1 << 20).is_err() {
            return format!("refused-after-{count}");
        }
        chunk.extend_from_slice(&pattern);
        chunks.push(chunk);
    }
    format!("all-{}", chunks.len())
}

/// Many files, so that the limit of one is not what ends it.
fn fill_memory_file(most: i64) -> Result<String, Errno> {
    let chunk = vec![1u8; 1 << 20];
    let mut file = 0;
    for count in 0..most {
        if count % 64 == 0 {
            file = call(libc::SYS_memfd_create, &[c"fill".as_ptr() as i64, 0])?;
        }
        if call(libc::SYS_write, &[file, chunk.as_ptr() as i64, chunk.len() as i64]).is_err() {
            return Ok(format!("refused-after-{count}"));
        }
    }
    Ok(format!("all-{most}"))
}

/// Makes processes until there are no more, and says how many there were.
fn threads(most: i64) -> String {
    let mut children = Vec::new();
    for _ in 0..most {
        match std::process::Command::new("/bin/sleep").arg("60").spawn() {
            Ok(child) => children.push(child),
            Err(_) => break,
        }
    }
    let count = children.len();
    for child in &mut children {
        let _ = child.kill();
        let _ = child.wait();
    }
    if count as i64 == most { format!("all-{count}") } else { format!("refused-after-{count}") }
}

/// Orphans that end at once: how many of them the jail's first process leaves as zombies.
fn zombies(count: i64) -> Result<String, Errno> {
    for _ in 0..count {
        let status = std::process::Command::new("/bin/sh").args(["-c", "(sleep 0.01 &)"]).status().map_err(errno)?;
        if !status.success() {
            return Err(Errno::EIO);
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let mut zombies = 0;
    for entry in std::fs::read_dir("/proc").map_err(errno)?.flatten() {
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        zombies += usize::from(status.contains("State:\tZ"));
    }
    Ok(zombies.to_string())
}

/// Creates a file at a path that another thread flips between two names all the time; says how often each was denied.
fn race(one: &CString, other: &CString, times: i64) -> Result<String, Errno> {
    use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
    let (one, other) = (one.as_bytes_with_nul(), other.as_bytes_with_nul());
    assert_eq!(one.len(), other.len(), "names of one length are flipped byte by byte");
    let path: Vec<AtomicU8> = one.iter().map(|byte| AtomicU8::new(*byte)).collect();
    let done = AtomicBool::new(false);
    let (mut made, mut denied) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for name in [other, one] {
                    path.iter().zip(name).for_each(|(place, byte)| place.store(*byte, Ordering::Relaxed));
                }
            }
        });
        let begun = std::time::Instant::now();
        for _ in 0..times {
            // A slow machine races less often, not longer.
            if begun.elapsed().as_secs() > 20 {
                break;
            }
            let flags = i64::from(libc::O_CREAT | libc::O_WRONLY);
            match call(libc::SYS_openat, &[libc::AT_FDCWD.into(), path.as_ptr() as i64, flags, 0o644]) {
                Ok(file) => {
                    made += 1;
                    let _ = call(libc::SYS_close, &[file]);
                }
                Err(_) => denied += 1,
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    Ok(format!("made={made} denied={denied}"))
}
