//! Round trips, and deltas that are wrong in one way each.

use super::*;

/// Text that does not repeat itself much: numbers from a small generator.
fn text(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut text = Vec::with_capacity(length + 24);
    while text.len() < length {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.extend_from_slice(format!("{} ", state >> 16).as_bytes());
    }
    text.truncate(length);
    text
}

#[test]
fn a_small_change_makes_a_small_delta() {
    for size in [1_000, 100_000, 3_000_000] {
        let old = text(size, 1);
        let mut new = old.clone();
        new.splice(size / 2..size / 2 + 10, *b"a few other bytes");
        let delta = encode(&old, &new).unwrap();
        assert!(delta.len() < 100 + size / 1_000, "{} bytes for {size}", delta.len());
        assert_eq!(decode(&old, &delta, new.len()).unwrap(), new);
    }
}
