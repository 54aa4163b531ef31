//! What processes say to each other.
//!
//! Owns message types and their limits. Pure: `sys` moves the bytes, `jail` and `supervise` act on them.

pub mod privsep;
