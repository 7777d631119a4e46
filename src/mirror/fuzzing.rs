//! What fuzzing calls, as in [`crate::wire::fuzzing`]: a delta is the one thing of a peer's that is
//! decoded in this layer.

use super::delta::{decode, encode};
use crate::wire::fuzzing::Target;

/// Every target of this layer, by the name of its file in `fuzz/fuzz_targets` and its directory in
/// `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 1] = [("delta", delta)];

/// Decodes a delta: two bytes say what length is announced, two how long the old version is (the
/// low byte first), then come the old version and the delta. What follows the old version is taken
/// for a new version as well, whose own delta must give it back.
pub fn delta(bytes: &[u8]) {
    let Some((lengths, rest)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let [announced, old_length] = [[lengths[0], lengths[1]], [lengths[2], lengths[3]]];
    let [announced, old_length] = [announced, old_length].map(u16::from_le_bytes);
    let Some((old, rest)) = rest.split_at_checked(old_length.into()) else {
        return;
    };
    if let Ok(new) = decode(old, rest, announced.into()) {
        assert_eq!(new.len(), usize::from(announced));
        assert_eq!(decode(old, rest, announced.into()), Ok(new), "decoded differently again");
        assert!(decode(old, rest, usize::from(announced) + 1).is_err(), "two lengths are right");
    }
    if let Some(delta) = encode(old, rest) {
        assert!(delta.len() * 3 <= rest.len() * 2, "a delta that does not pay");
        assert_eq!(decode(old, &delta, rest.len()).as_deref(), Ok(rest));
    }
}
