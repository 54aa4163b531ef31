//! User namespaces that only translate owners: for idmapped mounts. mount_setattr(2), user_namespaces(7).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::confine::identity::errno_of;
use crate::confine::{Failed, Ids};
use crate::plan::Owner;
use crate::sys::process::{self, Fork, namespaces};

/// A user namespace in which `owner` on disk is `ids` in the jail, and every other id is itself.
pub struct Translation {
    namespace: OwnedFd,
    // Reaped with this and not at once: it has to be scheduled to die, and nobody needs to wait for that.
    holder: Pid,
}

impl Translation {
    /// Makes it, by a process that is in it and then dies.
    pub fn new(owner: Owner, ids: Ids) -> Result<Translation, Failed> {
        let failed = |error: &std::io::Error| Failed::at("idmap")(errno_of(error));
        let (reader, writer) = std::io::pipe().map_err(|error| failed(&error))?;
        match process::fork_into(namespaces::USER, None).map_err(Failed::at("idmap"))? {
            Fork::Child => hold(reader, writer),
            Fork::Parent(holder) => {
                let opened = write_maps(holder.as_raw(), owner, ids)
                    .and_then(|()| File::open(format!("/proc/{holder}/ns/user")).map(OwnedFd::from));
                // The namespace lives on in the descriptor; its holder has nothing left to do.
                let _ = kill(holder, Signal::SIGKILL);
                opened.map(|namespace| Translation { namespace, holder }).map_err(|error| {
                    let _ = process::wait_for(holder);
                    failed(&error)
                })
            }
        }
    }
}

impl AsFd for Translation {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

impl Drop for Translation {
    fn drop(&mut self) {
        // Killed above, so this ends.
        let _ = process::wait_for(self.holder);
    }
}

/// The namespace's only process: waits to be killed, or for its parent to go away.
fn hold(mut reader: std::io::PipeReader, writer: std::io::PipeWriter) -> ! {
    drop(writer);
    let _ = reader.read(&mut [0]);
    process::leave(0)
}

fn write_maps(pid: i32, owner: Owner, ids: Ids) -> std::io::Result<()> {
    for (file, on_disk, inside) in [("uid_map", owner.uid, ids.uid), ("gid_map", owner.gid, ids.gid)] {
        File::options().write(true).open(format!("/proc/{pid}/{file}"))?.write_all(map(on_disk, inside).as_bytes())?;
    }
    Ok(())
}

/// The map's lines: `on disk`, `seen as`, `how many`. Written at once, as the kernel demands.
fn map(on_disk: u32, inside: u32) -> String {
    let mut lines = format!("{on_disk} {inside} 1\n");
    // Identity for all others, without `on_disk` on the left and `inside` on the right. u32::MAX is no id.
    let (low, high) = (on_disk.min(inside), on_disk.max(inside));
    for (first, end) in [(0, low), (low.saturating_add(1), high), (high.saturating_add(1), u32::MAX)] {
        if first < end {
            lines.push_str(&format!("{first} {first} {}\n", end - first));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_map_translates_one_id_and_leaves_the_others() {
        assert_eq!(super::map(1000, 5000), "1000 5000 1\n0 0 1000\n1001 1001 3999\n5001 5001 4294962294\n");
    }

    #[test]
    fn root_on_disk_needs_no_lower_range() {
        assert_eq!(super::map(0, 7), "0 7 1\n1 1 6\n8 8 4294967287\n");
    }
}
