//! What to do about a mechanism that does not work: the host's own settings say which of the known causes it is.

use nix::errno::Errno;

use crate::wire::privsep::Failure;

/// The remedy, if one is known.
pub fn remedy(mechanism: &str, failure: &Failure) -> Option<String> {
    let errno = Errno::from_raw(failure.errno);
    match mechanism {
        "privilege" => Some("start clawjail as root; without, the tier `user` asks for no privilege".into()),
        "user namespace" => Some(user_namespaces(errno)),
        "landlock" => Some("boot a kernel with Landlock (CONFIG_SECURITY_LANDLOCK, Linux 5.13 or newer) and `landlock` in the list of its `lsm=` boot parameter; in a container, its seccomp profile must allow the landlock calls".into()),
        "seccomp filter" => Some("boot a kernel with CONFIG_SECCOMP_FILTER; in a container, its seccomp profile must allow seccomp(2)".into()),
        "seccomp notification" => Some("boot Linux 5.14 or newer; in a container, its seccomp profile must allow seccomp(2) with SECCOMP_FILTER_FLAG_NEW_LISTENER, and nobody else may listen already".into()),
        "control groups" => Some(control_groups()),
        "owner translation" if errno == Errno::ENOSPC => Some(user_namespaces(errno)),
        "owner translation" => Some("put the workspace on a filesystem that can be idmapped (ext4, xfs, btrfs; tmpfs from Linux 6.3; no overlayfs, which is what a container's root is)".into()),
        "private root" | "private terminals" | "pid namespace" if errno == Errno::EPERM => Some(mounts()),
        "private root" if errno == Errno::ENOSYS => Some("boot Linux 5.12 or newer: it has mount_setattr(2)".into()),
        "network namespace" | "ipc namespace" | "uts namespace" | "cgroup namespace" if errno == Errno::ENOSPC => {
            Some("raise the limit: `sysctl -w user.max_net_namespaces=10000`, and the same for ipc, uts and cgroup".into())
        }
        "egress gate" => Some("for profiles with [egress] only: load the kernel modules nf_tables, nft_chain_nat and nft_redir (`modprobe nf_tables nft_chain_nat nft_redir`), or boot a kernel with CONFIG_NF_TABLES_INET and CONFIG_NFT_REDIR; as root, clawjail needs CAP_NET_ADMIN and CAP_NET_BIND_SERVICE".into()),
        "terminals" => Some("mount devpts at /dev/pts, with /dev/ptmx open to everybody".into()),
        _ => None,
    }
}

/// Restrictions of user namespaces, in the order in which distributions are likely to have them.
fn user_namespaces(errno: Errno) -> String {
    if setting("kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        return apparmor();
    }
    if setting("kernel/unprivileged_userns_clone") == Some(0) {
        return "allow them: `sysctl -w kernel.unprivileged_userns_clone=1`, and the same line in /etc/sysctl.d".into();
    }
    if setting("user/max_user_namespaces") == Some(0) || errno == Errno::ENOSPC {
        return "allow them: `sysctl -w user.max_user_namespaces=10000`, and the same line in /etc/sysctl.d".into();
    }
    if errno == Errno::EPERM || errno == Errno::EACCES {
        return "in a container, let its seccomp profile allow clone3 and unshare, and its /proc be mounted without anything over it (docker: `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`)".into();
    }
    "boot a kernel with CONFIG_USER_NS".into()
}

/// Ubuntu 24.04 lets only named programs have them; this names ours.
fn apparmor() -> String {
    let program = std::env::current_exe()
        .map_or_else(|_| "/usr/local/bin/clawjail".to_owned(), |path| path.display().to_string());
    format!(
        "AppArmor gives user namespaces to named programs alone. Write to /etc/apparmor.d/clawjail:\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         profile clawjail {program} flags=(unconfined) {{\n  userns,\n}}\n\
         and load it: `sudo apparmor_parser -r /etc/apparmor.d/clawjail`"
    )
}

fn control_groups() -> String {
    if nix::unistd::geteuid().is_root() {
        "mount cgroup v2 writable at /sys/fs/cgroup, with memory, pids and cpu in cgroup.controllers (in a container: `--cgroupns=private` and a writable /sys/fs/cgroup)".into()
    } else {
        "have systemd delegate a group: `systemd-run --user --scope -p Delegate=yes clawjail run ...`".into()
    }
}

fn mounts() -> String {
    "in a container, give it CAP_SYS_ADMIN and an AppArmor profile that allows mounts, and mount nothing over its /proc (docker: `--cap-add SYS_ADMIN --security-opt apparmor=unconfined --security-opt systempaths=unconfined`)".into()
}

fn setting(name: &str) -> Option<i64> {
    std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}
