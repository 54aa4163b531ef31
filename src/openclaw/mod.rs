//! OpenClaw: what it asks us before it installs something.
//!
//! ```text
//!   request on stdin --install--> skill::folder: walked by descriptor, every bound kept --> rules --> one answer, in time
//! ```
//!
//! Owns the formats of OpenClaw that are needed for this. What is looked for is data: `policies/openclaw/`. Must not run anything,
//! not even git: what it reads was written by strangers.

pub mod install;
pub mod skill;
