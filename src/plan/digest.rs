//! The name of a plan: the SHA-256 of its canonical JSON.

use std::io::BufWriter;

use sha2::{Digest, Sha256};

use super::Plan;

/// Bytes that are digested at once.
const PIECE: usize = 4096;

/// The digest, in lower-case hexadecimal. Equal plans have equal digests: every map in a plan is sorted.
#[expect(
    clippy::expect_used,
    reason = "maps with names for keys, numbers and text: serde_json refuses none of it, and a digest takes any bytes"
)]
pub fn digest(plan: &Plan) -> String {
    // Piece by piece: as one text it would be the largest thing that a launcher ever holds. And not each bracket by itself.
    let mut digest = BufWriter::with_capacity(PIECE, Sha256::new());
    serde_json::to_writer(&mut digest, plan).expect("a plan holds nothing that JSON cannot");
    let digest = digest.into_inner().expect("a digest takes whatever it is given");
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
