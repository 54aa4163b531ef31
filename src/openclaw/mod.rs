//! OpenClaw: what it asks us before it installs something, and what is unsafe in how it is set up.
//!
//! ```text
//!   request on stdin --install--> skill::folder: walked by descriptor, every bound kept --> rules --> one answer, in time
//!
//!   environment --doctor::place--> where OpenClaw keeps things --> its configuration as it reads it --> checks --> findings
//!                                                                                                      '--> fixes, if asked for
//! ```
//!
//! Owns the formats of OpenClaw that are needed for this. What is looked for is data: `policies/openclaw/`. Must not run anything,
//! not even git: what it reads was written by strangers. Must not change anything but in `doctor::fix`.

pub mod doctor;
pub mod install;
pub mod skill;
