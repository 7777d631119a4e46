//! Where a frame's bytes are.

use bytes::Bytes;

/// Frames of at most so many bytes stand in place.
pub(super) const MAX_IN_PLACE: usize = 46;

const _: () = assert!(MAX_IN_PLACE < 64, "the length of a frame in place takes one byte");

/// A frame's bytes: few are copied, for a copy costs less than to share them; many are shared.
#[derive(Clone)]
pub(super) enum Whole {
    InPlace { length: u8, bytes: [u8; MAX_IN_PLACE] },
    Shared(Bytes),
}

impl Whole {
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::InPlace { length, bytes } => &bytes[..usize::from(*length)],
            Self::Shared(bytes) => bytes,
        }
    }

    /// Copies the first `length` bytes, if they are few enough.
    pub(super) fn copy(bytes: &[u8], length: usize) -> Option<Self> {
        if length > MAX_IN_PLACE {
            return None;
        }
        // A copy of a size that is known beforehand takes two instructions; what it takes too much
        // belongs to the next frame, and is never looked at.
        let bytes = match bytes.first_chunk() {
            Some(first) => *first,
            None => {
                let mut copy = [0; MAX_IN_PLACE];
                copy[..length].copy_from_slice(&bytes[..length]);
                copy
            }
        };
        Some(Self::InPlace { length: length as u8, bytes })
    }
}
