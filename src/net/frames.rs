//! Frames off a QUIC stream.

use crate::wire::{DecodeError, Frame};
use bytes::BytesMut;

/// How much is read from a stream at a time, at the most.
const READ_SIZE: usize = 64 * 1024;

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

/// Reads frames off one stream.
pub(crate) struct FrameReader {
    stream: quinn::RecvStream,
    buffer: BytesMut,
    limit: usize,
}

impl FrameReader {
    /// Accepts payloads of at most `limit` bytes.
    pub(crate) fn new(stream: quinn::RecvStream, limit: usize) -> Self {
        Self { stream, buffer: BytesMut::new(), limit }
    }

    /// The next frame, or `None` at the end of the stream. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, ReadFrameError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(Some(frame));
            }
            match self.stream.read_chunk(READ_SIZE, true).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk.bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(ReadFrameError::CutShort),
            }
        }
    }

    /// The next frame that has already been read, if one has.
    pub(crate) fn buffered(&mut self) -> Result<Option<Frame>, DecodeError> {
        Frame::split_from(&mut self.buffer, self.limit)
    }

    /// Gives up the stream and what was read of it beyond the last frame.
    pub(crate) fn into_rest(self) -> (quinn::RecvStream, BytesMut) {
        (self.stream, self.buffer)
    }
}
