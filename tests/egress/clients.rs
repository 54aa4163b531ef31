//! Clients of package registries and of repositories, under the names that they are set to on this machine: the registries are local, and
//! stand for the real ones by `hosts` entries of the profile. No name of a registry is written here.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::in_each_tier;
use super::support::jail::{Jail, Ran};
use super::support::place::{Place, clawjail};
use super::world::{World, has, run, say_skipped};

/// Where the registries are.
const ADDRESS: &str = "93.184.216.35";
/// The host of the repository, which no client is set to.
const CODE: &str = "code.example";

/// Clients, each with its registries as `clawjail policy from-client` finds them.
struct Clients {
    sets: Vec<(&'static str, Vec<String>)>,
}

/// Makes sets from the clients' own settings, registries under these names, and profiles for them.
fn clients(world: &World) -> &'static Clients {
    static CLIENTS: OnceLock<Clients> = OnceLock::new();
    CLIENTS.get_or_init(|| {
        let sets: Vec<(&str, Vec<String>)> =
            ["npm", "pip", "cargo", "apt"].into_iter().filter_map(|client| Some((client, set(world, client)?))).collect();
        let host = |client: &str, place: fn(&[String]) -> Option<&String>| {
            let hosts = sets.iter().find(|(name, _)| *name == client).map(|(_, hosts)| hosts.as_slice());
            hosts.and_then(place).cloned().unwrap_or_else(|| format!("no-{client}.example"))
        };
        let named = [
            ("npm", host("npm", |hosts| hosts.first())),
            ("pip", host("pip", |hosts| hosts.iter().find(|host| !host.starts_with("files.")))),
            ("pip-files", host("pip", |hosts| hosts.iter().max_by_key(|host| host.starts_with("files.")))),
            ("cargo", host("cargo", |hosts| hosts.first())),
            ("apt", host("apt", |hosts| hosts.first())),
            ("git", CODE.to_owned()),
        ];
        make(world, &named);
        let hosts: Vec<String> = named.iter().map(|(_, host)| format!("\"{host}\" = \"{ADDRESS}\"")).collect();
        let allow: Vec<String> = sets.iter().map(|(client, _)| format!("\"@{client}\"")).collect();
        let sysroot = sysroot(world).map(|path| format!(", \"{}\"", path.display())).unwrap_or_default();
        let profile = |allow: &str| {
            format!(
                "summary = \"Test.\"\nextends = \"untrusted\"\n[filesystem]\nread = [\"@system\", \"@tls-roots\"{sysroot}]\n\
                 execute = [\"@system\", \"@workspace\"{sysroot}]\n[egress]\nallow = [{allow}]\nhosts = {{ {} }}\n\
                 [limits]\nmemory = \"2G\"\nprocesses = 512\nopen_files = 4096\n",
                hosts.join(", ")
            )
        };
        world.profile("packages", &profile(&format!("{}, \"{CODE}\"", allow.join(", "))));
        world.profile("no-packages", &profile("\"good.example\""));
        Clients { sets }
    })
}

/// Puts the set of a client into this world's policies; gives its hosts.
fn set(world: &World, client: &str) -> Option<Vec<String>> {
    let output =
        Command::new(clawjail()).args(["policy", "from-client", client]).output().expect("the binary is there");
    if !output.status.success() {
        say_skipped(&format!("{client}: it is set to no registry here"));
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    world.policy(client, &text);
    let rules =
        text.lines().filter_map(|line| line.strip_prefix('"')?.split_once(':').map(|(host, _)| host.to_owned()));
    Some(rules.collect())
}

fn make(world: &World, named: &[(&str, String)]) {
    let www = world.path("www");
    fs::create_dir(&www).expect("own directory");
    fs::write(www.join("registries.py"), include_str!("registries.py")).expect("own file");
    let words = named.iter().map(|(client, host)| format!("{client}={host}"));
    run(Command::new("/usr/bin/python3").arg(www.join("registries.py")).arg(&www).args(words).stdout(Stdio::null()));
    let names: Vec<String> = named.iter().map(|(_, host)| format!("DNS:{host}")).collect();
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-subj", "/CN=registries", "-addext", &format!("subjectAltName={}", names.join(","))])
        .arg("-keyout")
        .arg(www.join("key.pem"))
        .arg("-out")
        .arg(www.join("cert.pem"))
        .stderr(Stdio::null()));
}

/// The toolchain where every user can read it: root's own is most often in a directory that is root's alone.
fn sysroot(world: &World) -> Option<PathBuf> {
    static COPY: OnceLock<Option<PathBuf>> = OnceLock::new();
    COPY.get_or_init(|| {
        let (from, to) = (own_sysroot()?, world.path("toolchain"));
        fs::create_dir(&to).expect("own directory");
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--link"]).args(["bin", "lib"].map(|part| from.join(part))).arg(&to);
        // Links, where that is one file system; else it is a gigabyte, and not worth it.
        copy.stderr(Stdio::null()).status().is_ok_and(|status| status.success()).then_some(to)
    })
    .clone()
}

/// Where a toolchain of Rust is, if there is one.
fn own_sysroot() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    path.join("bin/cargo").exists().then_some(path)
}

fn try_both(world: &World, place: &Place, script: &str) -> (Ran, Ran) {
    place.write("ca.pem", fs::read(world.path("www/cert.pem")).expect("it was made"));
    let go = |profile: &str| {
        let jail = Jail::new(place).profile(profile).patient(80);
        jail.finish(world.start(
            place,
            &jail,
            &["bash", "-c", &format!("export HOME=$PWD/home; mkdir -p home; {script}")],
        ))
    };
    (go("packages"), go("no-packages"))
}

/// Whether the verdict says that one of these could not be looked up, and nothing of it reached the registries.
fn is_denied(ran: &Ran, hosts: &[String]) -> bool {
    let denials = ran.verdict["denials"].to_string();
    hosts.iter().any(|host| denials.contains(&format!("\"what\":\"{host}\"")))
}

fn registry_of<'a>(clients: &'a Clients, client: &str) -> Option<&'a [String]> {
    clients.sets.iter().find(|(name, _)| *name == client).map(|(_, hosts)| hosts.as_slice())
}

#[test]
fn npm_installs_from_the_registry_that_it_is_set_to_and_from_no_other() {
    in_each_tier(|world, place| {
        let Some(hosts) = registry_of(clients(world), "npm").filter(|_| has("npm")) else { return };
        let script = format!(
            "export npm_config_cafile=ca.pem npm_config_registry=https://{}/ npm_config_fetch_retries=0 npm_config_update_notifier=false; \
             npm install --no-audit --no-fund --loglevel=error clawjail-demo >&2; node -p 'require(\"clawjail-demo\")' 2>/dev/null || echo none; rm -rf node_modules home package.json package-lock.json",
            hosts[0]
        );
        let (allowed, denied) = try_both(world, place, &script);
        assert_eq!(
            (allowed.text().as_str(), denied.text().as_str()),
            ("by npm", "none"),
            "{}\n{}",
            allowed.whole(),
            denied.whole()
        );
        assert!(is_denied(&denied, hosts) && !is_denied(&allowed, hosts), "{}", denied.verdict["denials"]);
    });
}

#[test]
fn pip_downloads_from_the_index_that_it_is_set_to_and_from_no_other() {
    in_each_tier(|world, place| {
        let Some(hosts) = registry_of(clients(world), "pip").filter(|_| has("pip3")) else { return };
        let index = hosts.iter().find(|host| !host.starts_with("files.")).expect("an index");
        let script = format!(
            "export PIP_CERT=ca.pem PIP_INDEX_URL=https://{index}/simple/ PIP_RETRIES=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1; \
             /usr/bin/python3 -m pip install --no-deps --target there clawjail-demo >&2; \
             PYTHONPATH=there /usr/bin/python3 -c 'import clawjail_demo; print(clawjail_demo.said)' 2>/dev/null || echo none; rm -rf there"
        );
        let (allowed, denied) = try_both(world, place, &script);
        assert_eq!(
            (allowed.text().as_str(), denied.text().as_str()),
            ("by pip", "none"),
            "{}\n{}",
            allowed.whole(),
            denied.whole()
        );
        assert!(is_denied(&denied, hosts) && !is_denied(&allowed, hosts), "{}", denied.verdict["denials"]);
    });
}

#[test]
fn cargo_fetches_from_the_registry_that_it_is_set_to_and_from_no_other() {
    in_each_tier(|world, place| {
        let Some(hosts) = registry_of(clients(world), "cargo") else { return };
        let Some(sysroot) = sysroot(world) else {
            return say_skipped("cargo: its toolchain is not on the file system of the tests");
        };
        place.write(
            "Cargo.toml",
            "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nclawjail-demo = \"1\"\n",
        );
        place.write("src/lib.rs", "");
        let script = format!(
            "export CARGO_HTTP_CAINFO=$PWD/ca.pem CARGO_HOME=$PWD/cargo CARGO_NET_RETRY=0 PATH={}/bin:$PATH; rm -rf Cargo.lock cargo; \
             cargo fetch >&2; ls cargo/registry/src/*/ 2>/dev/null || echo none",
            sysroot.display()
        );
        let (allowed, denied) = try_both(world, place, &script);
        assert_eq!(
            (allowed.text().as_str(), denied.text().as_str()),
            ("clawjail-demo-1.0.0", "none"),
            "{}\n{}",
            allowed.whole(),
            denied.whole()
        );
        assert!(is_denied(&denied, hosts) && !is_denied(&allowed, hosts), "{}", denied.verdict["denials"]);
    });
}

#[test]
fn apt_downloads_from_the_source_that_it_is_set_to_and_from_no_other() {
    in_each_tier(|world, place| {
        let Some(hosts) = registry_of(clients(world), "apt").filter(|_| has("apt-get")) else { return };
        let script = format!(
            "mkdir -p state/lists/partial cache/archives/partial; : > status; echo 'deb [trusted=yes] http://{}/clawjail ./' > sources; \
             a() {{ apt-get -q -o Dir::Etc::SourceList=$PWD/sources -o Dir::Etc::SourceParts=- -o Dir::State=$PWD/state -o Dir::State::status=$PWD/status \
             -o Dir::Cache=$PWD/cache -o APT::Sandbox::User= -o Acquire::Retries=0 -o Acquire::Languages=none \"$@\" >&2; }}; \
             a update; a download clawjail-demo; ls *.deb 2>/dev/null || echo none; rm -rf *.deb state cache",
            hosts[0]
        );
        let (allowed, denied) = try_both(world, place, &script);
        let text = allowed.text();
        assert_eq!(
            (text.starts_with("clawjail-demo_1.0.0"), denied.text().as_str()),
            (true, "none"),
            "{}\n{}",
            allowed.whole(),
            denied.whole()
        );
        assert!(is_denied(&denied, hosts) && !is_denied(&allowed, hosts), "{}", denied.verdict["denials"]);
    });
}

#[test]
fn git_clones_over_https_from_what_is_allowed_and_from_nowhere_else() {
    in_each_tier(|world, place| {
        clients(world);
        let script = format!(
            "export GIT_SSL_CAINFO=ca.pem; git clone --quiet https://{CODE}/demo.git; cat demo/README 2>/dev/null || echo none; rm -rf demo"
        );
        let (allowed, denied) = try_both(world, place, &script);
        assert_eq!(
            (allowed.text().as_str(), denied.text().as_str()),
            ("by git", "none"),
            "{}\n{}",
            allowed.whole(),
            denied.whole()
        );
        assert!(is_denied(&denied, &[CODE.to_owned()]), "{}", denied.verdict["denials"]);
    });
}

#[test]
fn programs_that_ignore_proxy_variables_are_held_to_the_same() {
    in_each_tier(|world, place| {
        let Some(hosts) = registry_of(clients(world), "npm").filter(|_| has("node")) else { return };
        let url = format!("https://{}/clawjail-demo", hosts[0]);
        let script = format!(
            "export https_proxy=http://127.0.0.1:9 HTTPS_PROXY=http://127.0.0.1:9 NODE_EXTRA_CA_CERTS=ca.pem; \
             /usr/bin/python3 -c 'import http.client, ssl, sys; c = http.client.HTTPSConnection(\"{}\", context=ssl.create_default_context(cafile=\"ca.pem\")); \
             c.request(\"GET\", \"/clawjail-demo\"); print(c.getresponse().status)' 2>/dev/null || echo none; \
             node -e 'fetch(\"{url}\").then(answer => console.log(answer.status), () => console.log(\"none\"))'",
            hosts[0]
        );
        let (allowed, denied) = try_both(world, place, &script);
        assert_eq!(
            (allowed.text().as_str(), denied.text().as_str()),
            ("200\n200", "none\nnone"),
            "{}\n{}",
            allowed.whole(),
            denied.whole()
        );
        assert!(is_denied(&denied, hosts), "{}", denied.verdict["denials"]);
    });
}
