//! Policies: named sets that profiles include as `@name`.
//!
//! Owns the types of a set and the library that finds one by name. A set never grants anything by itself: only a
//! profile that names it does. Must not know profiles, the kernel or the host.

pub mod document;
pub mod egress;
pub mod environment;
pub mod flaw;
pub mod git;
pub mod library;
pub mod names;
pub mod paths;
pub mod syscalls;
