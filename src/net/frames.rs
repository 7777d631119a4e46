//! Frames off a QUIC stream.

use crate::wire::frame::Shape;
use crate::wire::{DecodeError, Frame};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// How many pieces are read from a stream at a time, at the most: about what one system call may
/// have brought.
const PIECES: usize = 64;

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFrameError {
    /// The stream or its connection broke.
    #[error("the stream broke: {0}")]
    Stream(#[from] quinn::ReadError),
    /// The peer's bytes are not frames.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    CutShort,
}

/// Reads frames off one stream: as slices of what came, but for those that came in pieces.
pub(crate) struct FrameReader {
    stream: quinn::RecvStream,
    /// What came last and has not been read: the piece at hand, and those behind it.
    chunk: Bytes,
    more: VecDeque<Bytes>,
    /// The beginning of a frame that came in pieces.
    partial: BytesMut,
    limit: usize,
}

impl FrameReader {
    /// Accepts payloads of at most `limit` bytes.
    pub(crate) fn new(stream: quinn::RecvStream, limit: usize) -> Self {
        Self { stream, chunk: Bytes::new(), more: VecDeque::new(), partial: BytesMut::new(), limit }
    }

    /// The next frame, or `None` at the end of the stream. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, ReadFrameError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(Some(frame));
            }
            if !self.fill().await? {
                return if self.is_cut_short() { Err(ReadFrameError::CutShort) } else { Ok(None) };
            }
        }
    }

    /// Waits for more bytes, and takes all that are there; `false` at the end of the stream.
    /// Cancel-safe. All frames that were [`buffered`](Self::buffered) must have been taken.
    pub(crate) async fn fill(&mut self) -> Result<bool, quinn::ReadError> {
        debug_assert!(self.chunk.is_empty(), "frames are taken before more is read");
        let mut pieces = [const { Bytes::new() }; PIECES];
        let Some(count) = self.stream.read_chunks(&mut pieces).await? else {
            return Ok(false);
        };
        self.more.extend(pieces.into_iter().take(count));
        Ok(true)
    }

    /// The next frame that has already been read, if one has.
    pub(crate) fn buffered(&mut self) -> Result<Option<Frame>, DecodeError> {
        loop {
            if self.chunk.is_empty() {
                let Some(next) = self.more.pop_front() else {
                    return Ok(None);
                };
                self.chunk = next;
            }
            let found = if self.partial.is_empty() {
                let whole = Frame::slice_from(&mut self.chunk, self.limit)?;
                if whole.is_none() {
                    self.partial.extend_from_slice(&self.chunk);
                    self.chunk.clear();
                }
                whole
            } else {
                self.complete()?
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Adds to the frame that came in pieces what it still lacks, as far as it is at hand.
    fn complete(&mut self) -> Result<Option<Frame>, DecodeError> {
        while !self.chunk.is_empty() {
            // Until the length is known, byte by byte: it is soon.
            let shape = Shape::peek(&self.partial, self.limit)?;
            let total = shape.map_or(self.partial.len() + 1, |shape| shape.total);
            let missing = total.saturating_sub(self.partial.len()).min(self.chunk.len());
            self.partial.extend_from_slice(&self.chunk.split_to(missing));
            if let Some(frame) = Frame::split_from(&mut self.partial, self.limit)? {
                if frame.is_shared() {
                    // It keeps its bytes for long: the next one starts a buffer of its own.
                    self.partial = BytesMut::new();
                }
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Whether the peer has finished the stream inside a frame.
    pub(crate) fn is_cut_short(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Gives up the stream and what was read of it beyond the last frame.
    pub(crate) fn into_rest(self) -> (quinn::RecvStream, Vec<Bytes>) {
        let pieces = [self.partial.freeze(), self.chunk].into_iter().chain(self.more);
        (self.stream, pieces.filter(|piece| !piece.is_empty()).collect())
    }
}
