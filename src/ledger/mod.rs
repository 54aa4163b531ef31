//! The ledger: an append-only directory of verdicts that cannot be changed unnoticed.
//!
//! ```text
//!   00000001.jsonl    file_begun, verdict, verdict ...            each line names the hash of the line before,
//!   00000002.jsonl    file_begun, verdict ...                     over files too, and seals itself with a digest
//!   00000003.jsonl    file_begun, verdict, verdi                  torn: the next file's first line will say so
//!   lock              whoever holds it is the writer
//!   under-way         what a service runs and has no record yet
//! ```
//!
//! One writer ([`writer`]) adds whole lines and never takes one away: what a power cut tears stays where it is, and the next
//! file begins by naming it. Readers ([`query`], [`verify`]) need no lock: a line counts once its newline is there. Owns
//! the format ([`mod@line`]), its reading and writing, and what is told beside it ([`sinks`], [`metrics`]). Must not decide
//! what a verdict says. docs/ledger.md is the format for others.

pub mod claim;
pub mod config;
pub mod error;
pub mod event;
pub mod files;
pub mod fit;
pub mod follow;
pub mod line;
pub mod metrics;
pub mod query;
pub mod resume;
pub mod room;
pub mod scan;
pub mod sinks;
pub mod sync;
pub mod under_way;
pub mod verify;
pub mod walk;
pub mod writer;
