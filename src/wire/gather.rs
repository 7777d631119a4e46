//! Frames that leave together.
//!
//! Most frames are a few dozen bytes: they are written one behind the other into one buffer, so
//! that a hundred of them cost one piece. What is large stays where it is and goes out as a slice.

use super::frame::{Frame, FrameType};
use bytes::{Buf, Bytes, BytesMut};

/// From so many bytes on, a slice costs less than a copy.
pub const MIN_SHARED: usize = 1024;

/// Room for small frames that is kept for the next ones. A client that is quiet keeps no more.
const MAX_KEPT: usize = 16 * 1024;

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

    /// Adds a frame: copies a small one, keeps a slice of a large one.
    pub fn push(&mut self, frame: &Frame) {
        match frame.shared() {
            Some(bytes) if bytes.len() >= MIN_SHARED => self.share(bytes.clone()),
            _ => frame.append_to(&mut self.small),
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

    /// All that waits, if it is small frames and nothing else.
    pub fn as_small(&self) -> Option<&[u8]> {
        self.pieces.is_empty().then_some(&self.small)
    }

    /// Forgets the first bytes of small frames: they have left. Room for more stays, if it is
    /// little.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn skip_small(&mut self, count: usize) {
        if count < self.small.len() {
            self.small.advance(count);
        } else if self.small.capacity() > MAX_KEPT {
            self.small = BytesMut::new();
        } else {
            assert!(count == self.small.len(), "no more can leave than waits");
            self.small.clear();
        }
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
