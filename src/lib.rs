//! clawjail: theory of operation (being written).
pub mod host;
pub mod policy;
pub mod profile;
