//! What is to be seen: paths, other processes, descriptors.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use super::support::place::clawjail;
use super::trial::{Trial, Wish, denied, says, works};
use super::{Case, case};

const GONE: &str = "EACCES|ENOENT|EPERM|ESRCH";

/// The cases.
pub const CASES: &[Case] = &[
    case("A20", "paths that this host does not have take nothing away from the rest", missing_paths),
    case("A25", "no process of the host is to be seen, and none of init's", processes),
    case("A26", "no way of executing reaches a program that is not granted", executing),
    case("A27", "a working directory outside the workspace is refused", working_directories),
    case("A28", "a command has descriptors 0, 1 and 2 and no others", descriptors),
];

/// The shipped profile names many paths that no one host has all of.
fn missing_paths(trial: &mut Trial) {
    trial.place.write("plain", "text\n");
    trial.attack([
        denied("read /etc/shadow", GONE),
        denied("read /etc/sudoers", GONE),
        denied("list /root", GONE),
        denied("create /usr/evil", "EACCES|EROFS|EPERM"),
        denied("create /etc/evil", "EACCES|EROFS|EPERM"),
        denied("create /evil", "EACCES|EROFS|EPERM"),
        works("list /usr"),
        works("read /usr/bin/env"),
        works("write plain"),
    ]);
}

fn processes(trial: &mut Trial) {
    let token = format!("{}secret", trial.place.token);
    let mut sleeper = trial.place.host("sleep").arg("60").env("TOKEN", &token).spawn().expect("everyone has sleep");
    let pid = sleeper.id();
    let program = trial.arm();
    let mut operations = Vec::new();
    for process in ["1".to_owned(), pid.to_string(), std::process::id().to_string()] {
        for file in ["environ", "mem", "maps", "root/etc/shadow", "cwd/x", "fd/0", "exe", "cmdline", "task"] {
            operations.push((process.clone(), format!("read /proc/{process}/{file}")));
        }
        operations.push((process.clone(), format!("list /proc/{process}/fd")));
        operations.push((process.clone(), format!("write /proc/{process}/mem")));
    }
    let words = operations.iter().map(|(_, operation)| operation.as_str());
    let ran =
        trial.jail().environment("TOKEN", &token).run(std::iter::once(program.as_str()).chain(words).chain(["list ."]));
    let wishes: Vec<Wish> = operations
        .iter()
        // The first process of a jail shows its command line and threads, as every process does.
        .filter(|(process, operation)| {
            process != "1" || !(operation.ends_with("cmdline") || operation.ends_with("task"))
        })
        .map(|(_, operation)| denied(operation, GONE))
        .collect();
    trial.judge(&ran, &wishes);
    trial.judge(&ran, &[works("list .")]);
    let script = "cat /proc/*/environ /proc/*/task/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; true";
    let ran = trial.jail().environment("TOKEN", &token).bash(script);
    trial.deny("the caller's environment", ran.code == Some(0) && !ran.text().contains(&token), ran.whole());
    if trial.tier.has_namespaces() {
        let ran = trial.jail().bash("for p in /proc/[0-9]*; do echo ${p#/proc/}; done | sort -n | tail -1");
        let highest: i32 = ran.text().parse().unwrap_or(i32::MAX);
        trial.deny("the highest process number inside", highest < 64, ran.whole());
        trial.attack([says("read /proc/self/environ", ""), works("list /proc/self/fd")]);
    }
    let _ = sleeper.kill();
    let _ = sleeper.wait();
}

fn executing(trial: &mut Trial) {
    // A program that exists on the host and that nothing grants.
    let ungranted = trial.place.outside.join("tool");
    std::fs::copy("/bin/true", &ungranted).expect("own directory");
    std::fs::set_permissions(&ungranted, std::fs::Permissions::from_mode(0o755)).expect("own file");
    let tool = ungranted.display();
    trial.place.write_program("script", &format!("#!{tool}\n"));
    let loader = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    let mut wishes = vec![
        denied(format!("exec {tool}"), GONE),
        denied(format!("exec /proc/self/root{tool}"), GONE),
        denied("exec ../tool", GONE),
        denied("exec ./script", GONE),
        denied(format!("exec-copy {tool}"), GONE),
        works("exec /bin/true"),
    ];
    if let Some(loader) = loader {
        wishes.push(works(format!("exec {loader} --version")));
    }
    let ran = trial.attack_all(wishes);
    if loader.is_some() {
        // The loader itself runs, and cannot open what it is given.
        let ran = trial.jail().run([loader.unwrap_or_default(), &tool.to_string()]);
        trial.deny("the loader with an ungranted program", ran.code == Some(127), ran.whole());
    }
    trial.allow("it ran", ran.code == Some(0), ran.whole());
    // What runs from memory is as confined as what runs from a file.
    let inner = "exec-copy ./attack socket%201%201%200";
    trial.attack([says(inner, "socket 1 1 0 EPERM")]);
}

fn working_directories(trial: &mut Trial) {
    trial.place.mkdir("sub/deep");
    trial.place.link("/etc", "etc");
    trial.place.link("..", "up");
    trial.place.link("sub", "linked");
    trial.place.write("file", "text\n");
    let outside = trial.place.outside.display().to_string();
    let beside = format!("{}x", trial.place.workspace.display());
    std::fs::create_dir(&beside).expect("own directory");
    let bad = [
        "..",
        "/etc",
        "/",
        "etc",
        "up",
        "sub/../..",
        "sub/../../workspace/..",
        &outside,
        &beside,
        "file",
        "missing",
        "sub\u{301}",
        "/proc/self/cwd/..",
    ];
    for cwd in bad {
        let ran = trial.jail().option("--cwd").option(cwd).run(["pwd"]);
        trial.refused(&format!("--cwd `{cwd}`"), &ran);
    }
    for (cwd, path) in [("sub", "sub"), ("sub/deep/..", "sub"), (".", "")] {
        let ran = trial.jail().option("--cwd").option(cwd).run(["pwd"]);
        let wanted = trial.place.inside().join(path).display().to_string();
        trial.allow(&format!("--cwd `{cwd}`"), ran.text() == wanted.trim_end_matches('/'), ran.whole());
    }
}

fn descriptors(trial: &mut Trial) {
    let program = trial.arm();
    let directory: OwnedFd = std::fs::File::open("/").expect("everyone can open it").into();
    let number = directory.as_raw_fd();
    let jail = trial.jail();
    let mut command = jail.command([program.as_str(), "descriptors"]);
    // SAFETY: between fork and exec only calls that are safe there: duplicating a descriptor.
    unsafe {
        command.pre_exec(move || {
            for target in 100..200 {
                nix::libc::dup2(number, target);
            }
            Ok(())
        });
    }
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let ran = jail.finish(command.spawn().expect("the binary can be executed"));
    trial.judge(&ran, &[says("descriptors", "0,1,2")]);
    trial.deny("further descriptors", ran.text().ends_with("ok 0,1,2"), ran.whole());
    for option in ["--tty", "--no-tty"] {
        let ran = trial.jail().option(option).run([program.as_str(), "descriptors"]);
        trial.deny(option, ran.text().ends_with("ok 0,1,2"), ran.whole());
    }
    trial.allow("the binary is where it was", clawjail().exists(), "it is gone");
}
