//! The mount API by descriptor: `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`, `open_tree(2)`, `move_mount(2)`,
//! `mount_setattr(2)`.
//!
//! Descriptors instead of paths, so that nothing can be swapped between a check and a mount.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::answer;

/// `MOUNT_ATTR_RDONLY`: no writes through this mount.
pub const READ_ONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`: set-user-id bits and file capabilities mean nothing here.
pub const NO_SUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`: device nodes cannot be opened here.
pub const NO_DEV: u64 = 0x4;
/// `MOUNT_ATTR_NOEXEC`: nothing here can be executed.
pub const NO_EXEC: u64 = 0x8;
/// `MOUNT_ATTR_IDMAP`: owners are translated through a user namespace.
const IDMAP: u64 = 0x10_0000;

const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const OPEN_TREE_CLOEXEC: libc::c_uint = libc::O_CLOEXEC as libc::c_uint;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;

/// Arguments of `mount_setattr(2)`, as the kernel lays them out.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// How far a change of attributes reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// This mount only.
    One,
    /// This mount and every mount below it.
    Recursive,
}

/// A filesystem that is being configured.
pub struct Context(OwnedFd);

/// Begins a new filesystem of type `kind`. fsopen(2).
pub fn open_filesystem(kind: &CStr) -> Result<Context, Errno> {
    // SAFETY: `kind` is NUL-terminated and outlives the call; the kernel copies it.
    let fd = answer(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    Ok(Context(owned(fd)))
}

impl Context {
    /// Sets `key=value`. fsconfig(2).
    pub fn set(&self, key: &CStr, value: &CStr) -> Result<(), Errno> {
        self.configure(FSCONFIG_SET_STRING, Some(key), Some(value))
    }

    /// Creates the filesystem and gives its root as a detached mount with `attributes`. fsconfig(2), fsmount(2).
    pub fn mount(self, attributes: u64) -> Result<OwnedFd, Errno> {
        self.configure(FSCONFIG_CMD_CREATE, None, None)?;
        // SAFETY: only integers are passed; the context descriptor is open for the call.
        let fd = answer(unsafe { libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })?;
        Ok(owned(fd))
    }

    fn configure(&self, command: libc::c_uint, key: Option<&CStr>, value: Option<&CStr>) -> Result<(), Errno> {
        let key = key.map_or(std::ptr::null(), CStr::as_ptr);
        let value = value.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: both strings are NUL-terminated or null and outlive the call; the kernel copies them.
        answer(unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, key, value, 0) }).map(drop)
    }
}

/// Clones the mount that `source` lies on, with what is mounted below it, as a detached tree. open_tree(2).
pub fn clone_tree(source: BorrowedFd<'_>, depth: Depth) -> Result<OwnedFd, Errno> {
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as libc::c_uint | recursive(depth);
    // SAFETY: the path is an empty NUL-terminated literal; `source` is open for the call.
    let fd = answer(unsafe { libc::syscall(libc::SYS_open_tree, source.as_raw_fd(), c"".as_ptr(), flags) })?;
    Ok(owned(fd))
}

/// Attaches the detached `tree` on what `target` points to. move_mount(2).
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let (from, to, empty) = (tree.as_raw_fd(), target.as_raw_fd(), c"".as_ptr());
    // SAFETY: both paths are one empty NUL-terminated literal; both descriptors are open for the call.
    answer(unsafe { libc::syscall(libc::SYS_move_mount, from, empty, to, empty, flags) }).map(drop)
}

/// Adds `attributes` to `tree`. mount_setattr(2).
pub fn add_attributes(tree: BorrowedFd<'_>, attributes: u64, depth: Depth) -> Result<(), Errno> {
    set(tree, &Attributes { set: attributes, clear: 0, propagation: 0, userns: 0 }, depth)
}

/// Adds `attributes` to the whole detached `tree` and translates its owners through the user namespace `map`.
/// mount_setattr(2), `MOUNT_ATTR_IDMAP`.
pub fn translate_owners(tree: BorrowedFd<'_>, attributes: u64, map: BorrowedFd<'_>) -> Result<(), Errno> {
    let userns = u64::try_from(map.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    set(tree, &Attributes { set: attributes | IDMAP, clear: 0, propagation: 0, userns }, Depth::Recursive)
}

/// The id of the mount that `descriptor` lies on. statx(2), `STATX_MNT_ID` (Linux 5.8).
pub fn mount_id(descriptor: BorrowedFd<'_>) -> Result<u64, Errno> {
    let found = statx(descriptor, libc::STATX_MNT_ID)?;
    if found.stx_mask & libc::STATX_MNT_ID == 0 { Err(Errno::EOPNOTSUPP) } else { Ok(found.stx_mnt_id) }
}

/// Whether something is mounted right there: `descriptor` is the root of the mount that it lies on. statx(2),
/// `STATX_ATTR_MOUNT_ROOT` (Linux 5.8).
pub fn is_mount_root(descriptor: BorrowedFd<'_>) -> Result<bool, Errno> {
    const MOUNT_ROOT: u64 = libc::STATX_ATTR_MOUNT_ROOT as u64;
    let found = statx(descriptor, 0)?;
    if found.stx_attributes_mask & MOUNT_ROOT == 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(found.stx_attributes & MOUNT_ROOT != 0)
}

fn statx(descriptor: BorrowedFd<'_>, wanted: libc::c_uint) -> Result<libc::statx, Errno> {
    // SAFETY: statx is plain data for which all zeroes is a valid value.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let (fd, path, flags) = (descriptor.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: the path is an empty NUL-terminated literal; `found` is a live local that the kernel fills.
    let result = unsafe { libc::statx(fd, path, flags, wanted, &raw mut found) };
    answer(libc::c_long::from(result))?;
    Ok(found)
}

/// Makes every mount of this namespace private, so that nothing propagates in either direction. mount_setattr(2).
pub fn make_all_private() -> Result<(), Errno> {
    let root = nix::fcntl::open(
        c"/",
        nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    let propagation = libc::MS_PRIVATE;
    set(root.as_fd(), &Attributes { set: 0, clear: 0, propagation, userns: 0 }, Depth::Recursive)
}

fn set(tree: BorrowedFd<'_>, attributes: &Attributes, depth: Depth) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH as libc::c_uint | recursive(depth);
    let (fd, size) = (tree.as_raw_fd(), size_of::<Attributes>());
    // SAFETY: `attributes` is a live repr(C) structure of the size given; the kernel only reads it.
    answer(unsafe {
        libc::syscall(libc::SYS_mount_setattr, fd, c"".as_ptr(), flags, attributes as *const Attributes, size)
    })
    .map(drop)
}

fn recursive(depth: Depth) -> libc::c_uint {
    match depth {
        Depth::One => 0,
        Depth::Recursive => libc::AT_RECURSIVE as libc::c_uint,
    }
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it. It fits an int by contract.
    unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }
}
