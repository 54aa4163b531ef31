//! What exists in the jail, and the Landlock rights over it.
//!
//! Pure. In tiers with namespaces the view is a root of its own; in the bare tier nothing is mounted and the rules alone
//! speak, about host paths: the view then only keeps the reason of each grant.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::beside;
use super::paths::{Paths, lies_at_or_below};
use super::request::Request;
use super::{Entry, HostPath, Missing, Owner, Rights, TrustForm, View};
use crate::host::HostFacts;
use crate::profile::{Grant, Profile, WorkspaceAccess};

/// Stands in a bare tier's plan for the private directory that the launcher makes.
pub const BARE_HOME: &str = "{private}/home";
/// The same for its temporary directory.
pub const BARE_TMP: &str = "{private}/tmp";
/// A file that exists in every view and that nothing grants: the probe reads it to see Landlock say no.
pub const MARKER: &str = "/.clawjail";

type Rules = BTreeMap<PathBuf, Rights>;

/// Devices that carry no state of the host.
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

/// Files of the jail's own /proc that tell about the host's hardware, boot or keys.
const MASKED: [&str; 7] = [
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/modules",
];

/// Names that programs expect, and what they lead to.
const LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/var/tmp", "../tmp"),
];

/// Files of our own that say the same in every jail.
const FILES: [(&str, &str); 4] = [
    ("/etc/hosts", "127.0.0.1 localhost clawjail\n::1 localhost ip6-localhost\n"),
    ("/etc/hostname", "clawjail\n"),
    ("/etc/resolv.conf", "# answered by the gate, where the profile has [egress]\nnameserver 127.0.0.1\n"),
    (
        MARKER,
        "This is the inside of a clawjail. Nothing grants this file: if you can read it, confinement is broken.\n",
    ),
];

/// Where the jail's programs find whom to trust, if its gate ends TLS.
const TRUST: [(&str, TrustForm); 2] = [(TRUST_PEM, TrustForm::Pem), (TRUST_JKS, TrustForm::Jks)];
/// The directory of both.
pub const TRUST_PLACE: &str = "/etc/clawjail";
const TRUST_PEM: &str = "/etc/clawjail/trust.pem";
const TRUST_JKS: &str = "/etc/clawjail/trust.jks";

/// Where hosts keep whom they trust in one file, which programs read that ask no variable: Debian and most others, older ones, SUSE,
/// Alpine, Fedora. A link among them leads to what is shown in its place, too.
const BUNDLES: [&str; 6] = [
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/ssl/certs/ca-certificates.crt",
];

/// The same where there is no view.
pub const BARE_TRUST: &str = "{private}/trust";

/// What tells programs about that, as `variables_of_trust` says it: each family of them listens to another.
const TRUST_VARIABLES: [(&str, &str); 9] = [
    ("CARGO_HTTP_CAINFO", TRUST_PEM),
    ("CURL_CA_BUNDLE", TRUST_PEM),
    ("GIT_SSL_CAINFO", TRUST_PEM),
    ("JAVA_TOOL_OPTIONS", "-Djavax.net.ssl.trustStore=/etc/clawjail/trust.jks -Djavax.net.ssl.trustStoreType=JKS"),
    ("NODE_EXTRA_CA_CERTS", TRUST_PEM),
    ("PIP_CERT", TRUST_PEM),
    ("REQUESTS_CA_BUNDLE", TRUST_PEM),
    ("SSL_CERT_FILE", TRUST_PEM),
    // Where a host's npmrc names a file, npm believes that one alone.
    ("npm_config_cafile", TRUST_PEM),
];

/// How programs are told that it is in `place`.
pub fn variables_of_trust(place: &str) -> [(String, String); TRUST_VARIABLES.len()] {
    TRUST_VARIABLES.map(|(name, value)| (name.to_owned(), value.replace(TRUST_PLACE, place)))
}

/// Files of the host's /proc that the bare tier may read: machine facts, no processes.
const MACHINE_FACTS: [&str; 8] = [
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/uptime",
    "/proc/version",
    "/proc/sys/kernel/random/uuid",
];

/// Lists the view and the rights over it.
pub fn build(profile: &Profile, request: &Request, host: &HostFacts, paths: &Paths) -> (View, Rules) {
    let mut rules = Rules::new();
    let mut entries = BTreeMap::new();
    for (path, grant) in granted(profile, request, paths) {
        add(&mut rules, &path, grant.rights);
        entries.insert(path, Entry::Host(grant));
    }
    if !host.tier.has_namespaces() {
        add_bare_places(&mut rules);
        if profile.egress.rules.end_tls() {
            add(&mut rules, BARE_TRUST, Rights::READ);
        }
        drop_covered(&mut entries);
        return (View { entries }, rules);
    }
    drop_covered(&mut entries);
    entries.extend(fixed());
    add_system_rules(&mut rules);
    add_private(profile, paths, &mut entries, &mut rules);
    add_accounts(paths, &mut entries);
    if profile.egress.rules.end_tls() {
        for (path, form) in TRUST {
            entries.insert(path.into(), Entry::Trust { form, content: Vec::new() });
        }
        for bundle in BUNDLES {
            let told = match entries.contains_key(Path::new(bundle)) {
                // Granted by itself, so nothing else is mounted there.
                true => Entry::Link { target: TRUST_PEM.into() },
                false => Entry::Over { same_as: TRUST_PEM.into() },
            };
            entries.insert(bundle.into(), told);
        }
    }
    // Whatever stands in the view's /etc was named by the profile or written by us: one rule for all of it.
    add(&mut rules, "/etc", Rights::READ);
    drop_implied(&mut rules);
    (View { entries }, rules)
}

fn granted(profile: &Profile, request: &Request, paths: &Paths) -> BTreeMap<PathBuf, HostPath> {
    let mut all: BTreeMap<PathBuf, HostPath> = BTreeMap::new();
    let files = &profile.filesystem;
    all.extend(beside::entries(profile, request));
    if let (Some(at), Some(entry)) = (&paths.workspace, workspace(profile, request)) {
        all.insert(at.clone(), entry);
    }
    let execute = Rights { execute: true, ..Rights::READ };
    for (list, rights) in [(&files.read, Rights::READ), (&files.write, Rights::WRITE), (&files.execute, execute)] {
        for grant in list {
            let Some(path) = paths.expand(&grant.path) else { continue };
            let entry = all.entry(path.clone()).or_insert_with(|| host_path(grant, &path, request));
            entry.rights = entry.rights.union(rights);
        }
    }
    all
}

fn workspace(profile: &Profile, request: &Request) -> Option<HostPath> {
    let rights = match profile.workspace.access {
        WorkspaceAccess::None => return None,
        WorkspaceAccess::Ro => Rights::READ,
        WorkspaceAccess::Rw => Rights::WRITE,
    };
    Some(HostPath {
        source: request.workspace.path.clone(),
        rights,
        owner: Some(request.workspace.owner),
        missing: Missing::Fail,
        why: "the caller's workspace".into(),
        from: "request".into(),
    })
}

fn host_path(grant: &Grant, path: &Path, request: &Request) -> HostPath {
    let callers_own = grant.path.starts_with("~/");
    HostPath {
        source: path.to_path_buf(),
        rights: Rights::default(),
        owner: callers_own.then_some(Owner { uid: request.caller.uid, gid: request.caller.gid }),
        missing: if lies_at_or_below(path, &request.workspace.path) { Missing::Unlinked } else { Missing::Skip },
        why: grant.why.clone(),
        from: grant.from.clone(),
    }
}

/// A path below another that grants as much needs no mount of its own.
pub fn drop_covered(entries: &mut BTreeMap<PathBuf, Entry>) {
    let all: Vec<(PathBuf, HostPath)> = entries
        .iter()
        .filter_map(|(path, entry)| match entry {
            Entry::Host(host) => Some((path.clone(), host.clone())),
            _ => None,
        })
        .collect();
    entries.retain(|path, entry| {
        let Entry::Host(inner) = entry else { return true };
        !all.iter().any(|(outer_path, outer)| {
            path.as_os_str() != outer_path.as_os_str()
                && lies_at_or_below(path, outer_path)
                && lies_at_or_below(&inner.source, &outer.source)
                && outer.rights == inner.rights
                && outer.owner == inner.owner
        })
    });
}

/// A rule below another that grants as much changes nothing.
fn drop_implied(rules: &mut Rules) {
    let all = rules.clone();
    rules.retain(|path, rights| {
        !all.iter().any(|(outer, held)| {
            path.as_os_str() != outer.as_os_str() && lies_at_or_below(path, outer) && held.covers(*rights)
        })
    });
}

/// What stands in every view, whatever the profile and the request say.
pub fn fixed() -> BTreeMap<PathBuf, Entry> {
    let mut entries = BTreeMap::from([
        (PathBuf::from("/proc"), Entry::Proc),
        ("/dev".into(), Entry::Directory),
        ("/dev/pts".into(), Entry::Terminals),
        ("/run".into(), Entry::Directory),
    ]);
    entries.extend(MASKED.map(|path| (path.into(), Entry::Masked)));
    entries.extend(DEVICES.map(|name| (Path::new("/dev").join(name), Entry::Device)));
    entries.extend(LINKS.map(|(path, target)| (path.into(), Entry::Link { target: target.into() })));
    entries.extend(FILES.map(|(path, content)| (path.into(), Entry::File { content: content.into() })));
    entries
}

fn add_system_rules(rules: &mut Rules) {
    add(rules, "/", Rights::LIST);
    add(rules, "/proc", Rights::READ);
    for name in DEVICES {
        add(rules, Path::new("/dev").join(name), Rights::DEVICE);
    }
    add(rules, "/dev/pts", Rights::DEVICE);
}

fn add_private(profile: &Profile, paths: &Paths, entries: &mut BTreeMap<PathBuf, Entry>, rules: &mut Rules) {
    let tmp = profile.filesystem.tmp;
    let places = [
        (PathBuf::from("/tmp"), tmp.size.0, tmp.execute, 0o1777),
        (PathBuf::from("/dev/shm"), tmp.size.0, false, 0o1777),
        (paths.home.clone(), profile.limits.disk.0, tmp.execute, 0o700),
    ];
    for (path, size, execute, mode) in places {
        add(rules, &path, Rights { execute, ..Rights::WRITE });
        entries.insert(path, Entry::Private { size, execute, mode });
    }
}

/// Who the command is, as programs ask for it.
fn add_accounts(paths: &Paths, entries: &mut BTreeMap<PathBuf, Entry>) {
    let home = paths.home.display();
    let passwd = format!(
        "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:{{uid}}:{{gid}}:agent:{home}:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
    );
    entries.insert("/etc/passwd".into(), Entry::File { content: passwd });
    let group = "root:x:0:\nagent:x:{gid}:\ntty:x:5:\nnogroup:x:65534:\n".to_owned();
    entries.insert("/etc/group".into(), Entry::File { content: group });
}

fn add_bare_places(rules: &mut Rules) {
    let private = Rights { execute: true, ..Rights::WRITE };
    add(rules, BARE_HOME, private);
    add(rules, BARE_TMP, private);
    for name in DEVICES {
        add(rules, Path::new("/dev").join(name), Rights::DEVICE);
    }
    for path in MACHINE_FACTS {
        add(rules, path, Rights::READ);
    }
}

fn add(rules: &mut Rules, path: impl AsRef<Path>, rights: Rights) {
    let held = rules.entry(path.as_ref().to_path_buf()).or_default();
    *held = held.union(rights);
}
