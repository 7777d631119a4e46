//! Bodies that come on a stream of their own.

use crate::net::frames::FrameReader;
use crate::wire::frame::MAX_PAYLOAD;
use crate::wire::lane::BodyStart;
use crate::wire::types::Fingerprinter;
use crate::wire::{Fingerprint, FrameType, Tag};
use bytes::Bytes;
use quinn::RecvStream;

/// Bytes of the tag behind a body that no mirror holds.
const TAG_SIZE: usize = 16;

/// What FULL said of a body that comes on a stream.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// The version; of an unmirrored body it comes behind the bytes.
    pub(super) tag: Tag,
    pub(super) headers: Bytes,
    pub(super) length: u64,
    pub(super) is_unmirrored: bool,
    /// Whether the bytes are to be checked, not only counted.
    pub(super) is_checked: bool,
}

/// A body's stream, behind its first frame.
pub(super) struct BodyStream {
    stream: RecvStream,
    rest: Vec<Bytes>,
}

/// What came of a body.
pub(super) struct Body {
    pub(super) tag: Tag,
    /// Where the bytes were checked.
    pub(super) found: Option<Fingerprint>,
}

/// Reads the frame that starts a body's stream; `None` if the stream broke, an error if something
/// else than a body starts there.
pub(super) async fn start(
    stream: RecvStream,
) -> Result<Option<(BodyStart, BodyStream)>, &'static str> {
    let mut frames = FrameReader::new(stream, MAX_PAYLOAD);
    let frame = match frames.next().await {
        Ok(Some(frame)) if frame.kind() == FrameType::Body => frame,
        Ok(Some(_)) => return Err("a stream of the peer's does not start with BODY"),
        Ok(None) | Err(_) => return Ok(None),
    };
    let start = BodyStart::decode(frame.payload()).map_err(|_| "a BODY frame is malformed")?;
    let (stream, rest) = frames.into_rest();
    Ok(Some((start, BodyStream { stream, rest })))
}

impl BodyStream {
    /// Reads it to its end; `None` if it broke, or is longer or shorter than was said.
    pub(super) async fn receive(self, head: &Head) -> Option<Body> {
        let Self { mut stream, rest } = self;
        let mut reading = Reading {
            pass: head.is_checked.then(|| Fingerprinter::new(&head.headers)),
            left: head.length,
            tail: Vec::new(),
        };
        let tail_size = if head.is_unmirrored { TAG_SIZE } else { 0 };
        for piece in &rest {
            reading.take(piece, tail_size)?;
        }
        while let Some(chunk) = stream.read_chunk(usize::MAX, true).await.ok()? {
            reading.take(&chunk.bytes, tail_size)?;
        }
        let is_whole = reading.left == 0 && reading.tail.len() == tail_size;
        let tag = match reading.tail[..].try_into() {
            Ok(tag) if head.is_unmirrored => Tag(tag),
            _ => head.tag,
        };
        is_whole.then(|| Body { tag, found: reading.pass.map(Fingerprinter::finish) })
    }
}

/// A body as far as it has come.
struct Reading {
    pass: Option<Fingerprinter>,
    left: u64,
    tail: Vec<u8>,
}

impl Reading {
    /// Takes the next bytes; `None` if there are too many.
    fn take(&mut self, bytes: &[u8], tail_size: usize) -> Option<()> {
        let count = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let (body, tail) = bytes.split_at(count);
        if let Some(pass) = &mut self.pass {
            pass.update(body);
        }
        self.left -= count as u64;
        self.tail.extend_from_slice(tail);
        (self.tail.len() <= tail_size).then_some(())
    }
}
