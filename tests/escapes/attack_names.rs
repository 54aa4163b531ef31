//! What the hostile program does to the broker while it asks: everything that can change under a question.

use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::attack::{call, integer};

/// Tries one operation; `None` if it is none of these.
pub fn attempt(name: &str, words: &[CString]) -> Option<Result<String, Errno>> {
    let number = |at: usize| integer(words.get(at));
    Some(match name {
        "swap-directory" => swap_directory(&words[1], &words[2], &words[3], number(4)),
        "exec-storm" => exec_storm(&words[1], &words[2], number(3)),
        "kill-storm" => kill_storm(&words[1], number(2)),
        "name-flood" => Ok(name_flood(&words[1], number(2))),
        "flood-forever" => flood_forever(&words[1], number(2)),
        "deep" => deep(number(1)),
        "reopen" => reopen(&words[1]),
        "map-and-write" => map_and_write(&words[1]),
        _ => return None,
    })
}

const CREATE: i32 = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC;

fn open(directory: i64, path: &CString, flags: i32) -> Result<i64, Errno> {
    call(libc::SYS_openat, &[directory, path.as_ptr() as i64, flags.into(), 0o644])
}

fn here() -> i64 {
    libc::AT_FDCWD.into()
}

/// Makes `name` in a descriptor that another thread turns from one directory to the other all the time.
fn swap_directory(one: &CString, other: &CString, name: &CString, times: i64) -> Result<String, Errno> {
    let [one, other] = [open(here(), one, libc::O_DIRECTORY)?, open(here(), other, libc::O_DIRECTORY)?];
    let slot = call(libc::SYS_dup, &[one])?;
    let done = AtomicBool::new(false);
    let mut made = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = call(libc::SYS_dup3, &[other, slot, 0]);
                let _ = call(libc::SYS_dup3, &[one, slot, 0]);
            }
        });
        for _ in 0..times {
            if let Ok(file) = open(slot, name, CREATE) {
                made += 1;
                let _ = call(libc::SYS_close, &[file]);
                let _ = call(libc::SYS_unlinkat, &[one, name.as_ptr() as i64, 0]);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    Ok(format!("made={made}"))
}

/// What a child does until it is killed or becomes another program: makes two names in turn, and removes them.
fn make_in_turn(one: &CString, other: &CString) -> ! {
    loop {
        for name in [one, other] {
            if let Ok(file) = open(here(), name, CREATE) {
                let _ = call(libc::SYS_close, &[file]);
                let _ = call(libc::SYS_unlinkat, &[here(), name.as_ptr() as i64, 0]);
            }
        }
    }
}

fn pause(microseconds: i64) {
    std::thread::sleep(std::time::Duration::from_micros(u64::try_from(microseconds).unwrap_or(0)));
}

/// Children that become another program while one of their threads is being asked about.
fn exec_storm(one: &CString, other: &CString, times: i64) -> Result<String, Errno> {
    let mut ended = 0;
    for round in 0..times {
        // SAFETY: this program has one thread here; the child starts more only after it is a process of its own.
        match unsafe { fork() }? {
            ForkResult::Child => {
                for (one, other) in [(one.clone(), other.clone()), (other.clone(), one.clone())] {
                    std::thread::spawn(move || make_in_turn(&one, &other));
                }
                pause(round * 37 % 700);
                let arguments = [c"true".as_ptr(), std::ptr::null()];
                let _ = call(libc::SYS_execve, &[c"/bin/true".as_ptr() as i64, arguments.as_ptr() as i64, 0]);
                std::process::exit(9)
            }
            ForkResult::Parent { child } => {
                ended += i64::from(waitpid(child, None)? == WaitStatus::Exited(child, 0));
            }
        }
    }
    Ok(format!("{ended} of {times}"))
}

/// Children that are killed at any point of a question.
fn kill_storm(name: &CString, times: i64) -> Result<String, Errno> {
    let mut killed = 0;
    for round in 0..times {
        // SAFETY: this program has one thread.
        match unsafe { fork() }? {
            ForkResult::Child => make_in_turn(name, name),
            ForkResult::Parent { child } => {
                pause(round * 13 % 300);
                kill(child, Signal::SIGKILL)?;
                killed += i64::from(matches!(waitpid(child, None)?, WaitStatus::Signaled(_, Signal::SIGKILL, _)));
                let _ = call(libc::SYS_unlinkat, &[here(), name.as_ptr() as i64, 0]);
            }
        }
    }
    Ok(format!("{killed} of {times}"))
}

/// As many different names below `directory` as asked for; says how many were made.
fn name_flood(directory: &CString, times: i64) -> String {
    let made = (0..times).filter(|number| {
        let name = CString::new([directory.as_bytes(), format!("/{number}").as_bytes()].concat());
        open(here(), &name.expect("no NUL"), CREATE).is_ok()
    });
    made.count().to_string()
}

/// Directories in directories, deeper than any path can name.
fn deep(levels: i64) -> Result<String, Errno> {
    let name = CString::new([b'd'; 200]).expect("no NUL");
    for _ in 0..levels {
        call(libc::SYS_mkdirat, &[here(), name.as_ptr() as i64, 0o700])?;
        call(libc::SYS_chdir, &[name.as_ptr() as i64])?;
        open(here(), &CString::from(c"file"), CREATE)?;
    }
    Ok(String::new())
}

/// So many processes that do nothing but ask, until somebody ends them.
fn flood_forever(name: &CString, processes: i64) -> Result<String, Errno> {
    for _ in 1..processes {
        // SAFETY: this program has one thread.
        if let ForkResult::Child = unsafe { fork() }? {
            break;
        }
    }
    make_in_turn(name, name)
}

/// Opens for reading, or for nothing at all, and again for writing by way of that descriptor.
fn reopen(path: &CString) -> Result<String, Errno> {
    let mut last = Errno::EIO;
    for first in [libc::O_RDONLY | libc::O_NONBLOCK, libc::O_PATH] {
        let file = open(here(), path, first)?;
        let again = CString::new(format!("/proc/self/fd/{file}")).expect("no NUL");
        for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_WRONLY | libc::O_TRUNC, libc::O_WRONLY | libc::O_APPEND] {
            last = match open(here(), &again, flags) {
                Ok(_) => return Ok(format!("{first:o} {flags:o}")),
                Err(errno) => errno,
            };
        }
    }
    Err(last)
}

/// Writes into a shared mapping of what was opened for reading.
fn map_and_write(path: &CString) -> Result<String, Errno> {
    let file = open(here(), path, libc::O_RDONLY)?;
    let shared = i64::from(libc::MAP_SHARED);
    let both = i64::from(libc::PROT_READ | libc::PROT_WRITE);
    if let Err(errno) = call(libc::SYS_mmap, &[0, 4096, both, shared, file, 0]) {
        let page = call(libc::SYS_mmap, &[0, 4096, libc::PROT_READ.into(), shared, file, 0])?;
        call(libc::SYS_mprotect, &[page, 4096, both])?;
        return Err(errno);
    }
    Ok(String::new())
}
