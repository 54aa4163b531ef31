//! The name of a plan: the SHA-256 of its canonical JSON.

use sha2::{Digest, Sha256};

use super::Plan;

/// The digest, in lower-case hexadecimal. Equal plans have equal digests: every map in a plan is sorted.
#[expect(clippy::expect_used, reason = "maps with names for keys, numbers and text: serde_json refuses none of it")]
pub fn digest(plan: &Plan) -> String {
    let mut digest = Sha256::new();
    // Piece by piece: as one text it would be the largest thing that a launcher ever holds.
    serde_json::to_writer(&mut digest, plan).expect("a plan holds nothing that JSON cannot");
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
