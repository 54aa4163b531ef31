//! The hostile program: this test binary itself, copied into a workspace and executed inside the jail.
//!
//! `attack OPERATION...`: each argument is one operation, its words divided by spaces, `%XX` for odd bytes. Each is tried
//! by a system call of its own, and a line says what came back: the operation, a tab, `ok` or the name of the errno, and
//! for operations that ask for something the answer. It holds no judgement; the cases do.

use std::ffi::{CString, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, ExitCode};

use nix::errno::Errno;

/// What an attempt came to.
type Answer = Result<String, Errno>;

/// Tries every operation, in order.
pub fn main(operations: impl Iterator<Item = OsString>) -> ExitCode {
    for operation in operations {
        let words: Vec<CString> =
            operation.as_bytes().split(|byte| *byte == b' ').map(|word| text(&decode(word))).collect();
        let answer = match attempt(&words) {
            Ok(said) if said.is_empty() => "ok".to_owned(),
            Ok(said) => format!("ok {said}"),
            Err(errno) => format!("{errno:?}"),
        };
        println!("{}\t{answer}", operation.to_string_lossy());
    }
    ExitCode::SUCCESS
}

fn attempt(words: &[CString]) -> Answer {
    let name = words[0].to_str().expect("operations are ASCII");
    let path = |number: usize| words[number].as_ptr() as i64;
    let number = |number: usize| integer(words.get(number));
    let here = i64::from(libc::AT_FDCWD);
    let mut bits = 0i64;
    let open = |flags: i32| call(libc::SYS_openat, &[here, path(1), i64::from(flags | libc::O_CLOEXEC), 0o644]);
    match name {
        "read" => read(open(libc::O_RDONLY | libc::O_NONBLOCK)?),
        "write" => write(open(libc::O_WRONLY | libc::O_NONBLOCK)?),
        "append" => write(open(libc::O_WRONLY | libc::O_APPEND)?),
        "open-trunc" => open(libc::O_WRONLY | libc::O_TRUNC).map(none),
        "create" => write(open(libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL)?),
        "create-with-mode" => {
            let flags = i64::from(libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY);
            call(libc::SYS_openat, &[here, path(1), flags, number(2)]).map(none)
        }
        "openat2-with-mode" => {
            let how = [(libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY) as u64, number(2) as u64, 0];
            call(libc::SYS_openat2, &[here, path(1), how.as_ptr() as i64, size_of_val(&how) as i64]).map(none)
        }
        "open-create" => write(open(libc::O_WRONLY | libc::O_CREAT)?),
        "tmpfile-link" => link_unnamed(&words[1], &words[2]),
        "write-by-descriptor" => write_by_descriptor(open(libc::O_PATH)?),
        "ftruncate-path" => call(libc::SYS_ftruncate, &[open(libc::O_PATH)?, 0]).map(none),
        "openat2" => openat2(&words[1], number(2) as u64, number(3) as u64),
        "list" => list(&words[1]),
        "stat" => std::fs::metadata(os(&words[1])).map(|_| String::new()).map_err(errno),
        "mkdir" => call(libc::SYS_mkdirat, &[here, path(1), 0o755]).map(none),
        "rmdir" => call(libc::SYS_unlinkat, &[here, path(1), libc::AT_REMOVEDIR.into()]).map(none),
        "unlink" => call(libc::SYS_unlinkat, &[here, path(1), 0]).map(none),
        "truncate" => call(libc::SYS_truncate, &[path(1), 0]).map(none),
        "symlink" => call(libc::SYS_symlinkat, &[path(1), here, path(2)]).map(none),
        "link" => call(libc::SYS_linkat, &[here, path(1), here, path(2), 0]).map(none),
        "link-follow" => {
            call(libc::SYS_linkat, &[here, path(1), here, path(2), libc::AT_SYMLINK_FOLLOW.into()]).map(none)
        }
        "renameat" => call(libc::SYS_renameat, &[here, path(1), here, path(2)]).map(none),
        "renameat2" => call(libc::SYS_renameat2, &[here, path(1), here, path(2), 0]).map(none),
        "exchange" => {
            call(libc::SYS_renameat2, &[here, path(1), here, path(2), libc::RENAME_EXCHANGE.into()]).map(none)
        }
        "noreplace" => {
            call(libc::SYS_renameat2, &[here, path(1), here, path(2), libc::RENAME_NOREPLACE.into()]).map(none)
        }
        "whiteout" => {
            call(libc::SYS_renameat2, &[here, path(1), here, path(2), libc::RENAME_WHITEOUT.into()]).map(none)
        }
        "mknod" => call(libc::SYS_mknodat, &[here, path(1), number(2), number(3)]).map(none),
        "chmod" => call(libc::SYS_fchmodat, &[here, path(1), number(2)]).map(none),
        "chown" => call(libc::SYS_fchownat, &[here, path(1), number(2), number(3), 0]).map(none),
        #[cfg(target_arch = "x86_64")]
        "rename" => call(libc::SYS_rename, &[path(1), path(2)]).map(none),
        #[cfg(target_arch = "x86_64")]
        "creat" => call(libc::SYS_creat, &[path(1), 0o644]).map(none),
        #[cfg(target_arch = "x86_64")]
        "old-mkdir" => call(libc::SYS_mkdir, &[path(1), 0o755]).map(none),
        #[cfg(target_arch = "x86_64")]
        "interrupt-0x80" => interrupt(number(1), number(2)),
        "call" => {
            let arguments: Vec<i64> = (2..words.len()).map(number).collect();
            call(number(1), &arguments).map(|_| String::new())
        }
        "call-with-path" => call(number(1), &[path(2), number(3), number(4)]).map(none),
        "exec" => execute(&words[1..]),
        "exec-copy" => execute_copy(&words[1..]),
        "xattr" => {
            let (name, value) = (c"user.evil", b"x");
            call(libc::SYS_setxattr, &[path(1), name.as_ptr() as i64, value.as_ptr() as i64, 1, 0]).map(none)
        }
        "inode-flags" => call(libc::SYS_ioctl, &[open(libc::O_RDONLY)?, 0x8008_6601, (&raw mut bits) as i64]).map(none),
        "set-inode-flags" => {
            bits = number(2);
            call(libc::SYS_ioctl, &[open(libc::O_RDONLY)?, 0x4008_6602, (&raw mut bits) as i64]).map(none)
        }
        "landlock" => super::attack_landlock::attempt(number(1) as u32, &words[2], &words[3]),
        "utime" => call(libc::SYS_utimensat, &[here, path(1), 0, 0]).map(none),
        "bad-pointers" => Ok(bad_pointers()),
        "environment" => {
            Ok(std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect::<Vec<_>>().join(","))
        }
        _ => super::attack_processes::attempt(name, words)
            .or_else(|| super::attack_names::attempt(name, words))
            .or_else(|| super::attack_settings::attempt(name, words))
            .unwrap_or_else(|| super::attack_sockets::attempt(name, words)),
    }
}

/// Names that cannot be read: every call that takes one, at addresses that hold none. Says what came back.
fn bad_pointers() -> String {
    // A page whose neighbour is not mapped, filled to its last byte without an end.
    let page = call(libc::SYS_mmap, &[0, 8192, 3, 0x22, -1, 0]).expect("memory");
    call(libc::SYS_munmap, &[page + 4096, 4096]).expect("own memory");
    // SAFETY: the page was just mapped, and nothing else is in it.
    unsafe { std::ptr::write_bytes(page as *mut u8, b'a', 4096) };
    let long = text(&[b'a'; 70_000]);
    let here = i64::from(libc::AT_FDCWD);
    let mut answers = std::collections::BTreeSet::new();
    for address in [0, 1, -1, i64::MIN, page, page + 4095, page + 4096, long.as_ptr() as i64] {
        let create = i64::from(libc::O_CREAT | libc::O_WRONLY);
        for result in [
            call(libc::SYS_openat, &[here, address, create, 0o644]),
            call(libc::SYS_mkdirat, &[here, address, 0o755]),
            call(libc::SYS_mknodat, &[here, address, libc::S_IFREG.into(), 0]),
            call(libc::SYS_symlinkat, &[address, here, address]),
            call(libc::SYS_linkat, &[here, address, here, address, 0]),
            call(libc::SYS_renameat2, &[here, address, here, address, 0]),
            call(libc::SYS_renameat2, &[here, address, here, address, -1]),
            call(libc::SYS_unlinkat, &[here, address, 0]),
            call(libc::SYS_fchmodat, &[here, address, 0o644]),
            call(libc::SYS_openat, &[-7, page, create, 0o644]),
        ] {
            answers.insert(result.map_or_else(|errno| format!("{errno:?}"), |_| "ok".into()));
        }
    }
    answers.into_iter().collect::<Vec<_>>().join(",")
}

/// One raw system call.
pub fn call(number: i64, arguments: &[i64]) -> Result<i64, Errno> {
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: a hostile program may pass anything; what it passes here are texts that outlive the call, and numbers.
    let result =
        unsafe { libc::syscall(number, argument(0), argument(1), argument(2), argument(3), argument(4), argument(5)) };
    Errno::result(result)
}

/// A system call the way that programs of 32 bits make it.
#[cfg(target_arch = "x86_64")]
fn interrupt(number: i64, first: i64) -> Answer {
    let result: i64;
    // SAFETY: saves the register that the compiler keeps for itself; the call gets numbers only.
    unsafe {
        std::arch::asm!("push rbx", "mov rbx, {first}", "int 0x80", "pop rbx",
            first = in(reg) first, inlateout("rax") number => result, in("rcx") 0i64, in("rdx") 0i64, in("rsi") 0i64, in("rdi") 0i64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    let result = i64::from(result as i32);
    if result < 0 { Err(Errno::from_raw(-(result as i32))) } else { Ok(String::new()) }
}

fn read(descriptor: i64) -> Answer {
    let mut byte = [0u8; 1];
    match call(libc::SYS_read, &[descriptor, byte.as_mut_ptr() as i64, 1]) {
        Ok(_) | Err(Errno::EISDIR) => Ok(String::new()),
        Err(errno) => Err(errno),
    }
}

fn write(descriptor: i64) -> Answer {
    let text = b"evil\n";
    call(libc::SYS_write, &[descriptor, text.as_ptr() as i64, text.len() as i64]).map(none)
}

fn write_by_descriptor(descriptor: i64) -> Answer {
    let again = text(format!("/proc/self/fd/{descriptor}").as_bytes());
    write(call(libc::SYS_openat, &[libc::AT_FDCWD.into(), again.as_ptr() as i64, libc::O_WRONLY.into(), 0])?)
}

fn link_unnamed(directory: &CString, name: &CString) -> Answer {
    let here = i64::from(libc::AT_FDCWD);
    let file =
        call(libc::SYS_openat, &[here, directory.as_ptr() as i64, (libc::O_TMPFILE | libc::O_WRONLY).into(), 0o644])?;
    let again = text(format!("/proc/self/fd/{file}").as_bytes());
    let follow = i64::from(libc::AT_SYMLINK_FOLLOW);
    call(libc::SYS_linkat, &[here, again.as_ptr() as i64, here, name.as_ptr() as i64, follow]).map(none)
}

fn openat2(path: &CString, flags: u64, resolve: u64) -> Answer {
    let how = [flags, 0u64, resolve];
    let arguments = [libc::AT_FDCWD.into(), path.as_ptr() as i64, how.as_ptr() as i64, size_of_val(&how) as i64];
    call(libc::SYS_openat2, &arguments).map(none)
}

fn list(path: &CString) -> Answer {
    let entries = std::fs::read_dir(os(path)).map_err(errno)?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names.join(","))
}

fn execute(words: &[CString]) -> Answer {
    let output = Command::new(os(&words[0])).args(words[1..].iter().map(os)).output().map_err(errno)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().replace(['\n', '\t'], " "))
}

/// Executes a program from memory, where it has no path.
fn execute_copy(words: &[CString]) -> Answer {
    let mut program = Vec::new();
    std::fs::File::open(os(&words[0])).and_then(|mut file| file.read_to_end(&mut program)).map_err(errno)?;
    let name = c"copy";
    let memory = call(libc::SYS_memfd_create, &[name.as_ptr() as i64, 0])?;
    let path = format!("/proc/self/fd/{memory}");
    // SAFETY: the number is a descriptor that was just made and is used by nothing else.
    let mut file: std::fs::File = unsafe { std::os::fd::FromRawFd::from_raw_fd(memory as i32) };
    file.write_all(&program).map_err(errno)?;
    drop(program);
    let mut arguments: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
    arguments.push(std::ptr::null());
    let environment = [std::ptr::null::<libc::c_char>()];
    let _ = path;
    let (reader, writer) = nix::unistd::pipe()?;
    // SAFETY: this program has one thread.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => {
            let _ = nix::unistd::dup2_stdout(&writer);
            let by_descriptor = [
                memory,
                c"".as_ptr() as i64,
                arguments.as_ptr() as i64,
                environment.as_ptr() as i64,
                libc::AT_EMPTY_PATH.into(),
            ];
            let failed = call(libc::SYS_execveat, &by_descriptor).err().map_or(0, |errno| errno as i32);
            std::process::exit(failed)
        }
        nix::unistd::ForkResult::Parent { child } => {
            drop(writer);
            let mut said = String::new();
            let _ = std::fs::File::from(reader).read_to_string(&mut said);
            match nix::sys::wait::waitpid(child, None)? {
                nix::sys::wait::WaitStatus::Exited(_, 0) => Ok(said.trim_end().replace(['\n', '\t'], " ")),
                nix::sys::wait::WaitStatus::Exited(_, code) => Err(Errno::from_raw(code)),
                _ => Err(Errno::EINTR),
            }
        }
    }
}

/// The errno in an error of the standard library.
pub fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// A number, decimal or `0x` hexadecimal or `0o` octal; 0 if there is none.
pub fn integer(word: Option<&CString>) -> i64 {
    let Some(word) = word.and_then(|word| word.to_str().ok()) else { return 0 };
    if let Some(digits) = word.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).expect("a hexadecimal number") as i64;
    }
    if let Some(digits) = word.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8).expect("an octal number");
    }
    word.parse().expect("a number")
}

fn none(_: i64) -> String {
    String::new()
}

pub fn os(word: &CString) -> OsString {
    OsString::from_vec(word.as_bytes().to_vec())
}

fn text(bytes: &[u8]) -> CString {
    CString::new(bytes).expect("an operation holds no NUL")
}

fn decode(word: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = word;
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded
}
