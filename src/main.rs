//! clawjail.
fn main() {}
