//! Frames that leave together.
//!
//! Most frames are a few dozen bytes: they are written one behind the other into one buffer, so that
//! a hundred of them cost one piece. What is large stays where it is and goes out as a slice.

use super::frame::{Frame, FrameType};
use bytes::{Bytes, BytesMut};

/// From so many bytes on, a slice costs less than a copy.
pub const MIN_SHARED: usize = 1024;

/// Bytes on their way to one stream, in order.
#[derive(Debug, Default)]
pub struct Gather {
    /// Complete pieces.
    pieces: Vec<Bytes>,
    /// Bytes of the pieces.
    piece_bytes: usize,
    /// What was written behind them.
    small: BytesMut,
}

impl Gather {
    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.piece_bytes + self.small.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds bytes: copies few, keeps a slice of many.
    pub fn push(&mut self, bytes: &Bytes) {
        if bytes.len() < MIN_SHARED {
            self.small.extend_from_slice(bytes);
        } else {
            self.share(bytes.clone());
        }
    }

    /// Adds bytes without copying them.
    pub fn share(&mut self, bytes: Bytes) {
        self.complete();
        self.piece_bytes += bytes.len();
        self.pieces.push(bytes);
    }

    /// Adds a frame, but for the last `rest` bytes of its payload, which the caller adds.
    pub fn frame(
        &mut self,
        kind: FrameType,
        limit: usize,
        rest: usize,
        fill: impl FnOnce(&mut BytesMut),
    ) {
        Frame::append(&mut self.small, kind, limit, rest, fill);
    }

    /// Moves all that waits into `pieces`.
    pub fn take(&mut self, pieces: &mut Vec<Bytes>) {
        self.complete();
        self.piece_bytes = 0;
        pieces.append(&mut self.pieces);
    }

    /// Forgets all that waits.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn complete(&mut self) {
        if !self.small.is_empty() {
            let piece = self.small.split().freeze();
            self.piece_bytes += piece.len();
            self.pieces.push(piece);
        }
    }
}
