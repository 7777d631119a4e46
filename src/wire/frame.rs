//! The outer shape of every frame: one byte of type, a length, and as many bytes of payload.
//!
//! Whoever forwards a frame needs no more than this; whoever owns it decodes the payload.

mod kind;
mod whole;

use super::codec::{DecodeError, Reader, peek_varint, put};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::cmp::Ordering;
use whole::{MAX_IN_PLACE, Whole};

pub use kind::FrameType;

/// Longest body that travels inside a frame; a longer one has a stream of its own.
pub const MAX_INLINE_BODY: usize = 16 * 1024;
/// Longest payload of a frame between a client and a router.
pub const MAX_PAYLOAD: usize = 24 * 1024;
/// Longest payload of a frame on the backplane: one of the above and its wrapping.
pub const MAX_BACKPLANE_PAYLOAD: usize = MAX_PAYLOAD + 1024;
/// Longest code text of an error, in bytes.
pub const MAX_ERROR_TEXT: usize = 512;

const _: () = assert!(
    MAX_PAYLOAD >= MAX_INLINE_BODY + super::headers::MAX_HEADER_BLOCK + 64,
    "a full reply must fit a frame"
);
const _: () = assert!(
    MAX_PAYLOAD >= super::types::MAX_KEY + super::headers::MAX_HEADER_BLOCK + 128,
    "a request must fit a frame"
);

/// What the first bytes of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    kind: FrameType,
    /// The size of its type and length.
    header: usize,
    /// The size of all of it.
    pub total: usize,
}

impl Shape {
    /// Reads the type and the length that start `bytes`; `None` while they are cut short.
    ///
    /// # Errors
    /// An unknown type, or a payload above `limit`.
    pub fn peek(bytes: &[u8], limit: usize) -> Result<Option<Self>, DecodeError> {
        let Some((first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let kind = FrameType::from_byte(*first)?;
        let Some((length, size)) = peek_varint(rest) else {
            return Ok(None);
        };
        if length > limit as u64 {
            let limit = limit as u64;
            return Err(DecodeError::AboveLimit { what: "frame", found: length, limit });
        }
        let header = 1 + size;
        Ok(Some(Self { kind, header, total: header + length as usize }))
    }
}

/// One frame: its type, and its bytes with type and length still in front.
#[derive(Clone)]
pub struct Frame {
    kind: FrameType,
    /// The size of its type and length.
    header: u8,
    whole: Whole,
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.bytes() == other.bytes()
    }
}

impl Eq for Frame {}

impl Frame {
    /// Builds a frame from what `fill` writes.
    ///
    /// # Panics
    /// If the payload is above `limit`: every field has a limit, and they add up to less.
    pub fn build(kind: FrameType, limit: usize, fill: impl FnOnce(&mut BytesMut)) -> Self {
        let mut whole = BytesMut::with_capacity(64);
        let header = Self::append(&mut whole, kind, limit, 0, fill);
        Self::of_shape(kind, header, Whole::Shared(whole.freeze()))
    }

    /// Builds a frame whose payload is known to have `length` bytes, which `fill` writes: in place
    /// if they are few.
    ///
    /// # Panics
    /// If `fill` writes another number of bytes, or more than `limit`.
    pub(super) fn build_exact(
        kind: FrameType,
        limit: usize,
        length: usize,
        fill: impl FnOnce(&mut &mut [u8]),
    ) -> Self {
        const HEADER: usize = 2;
        if length > MAX_IN_PLACE - HEADER {
            return Self::build(kind, limit, |out| {
                let start = out.len();
                out.put_bytes(0, length);
                Self::fill_exact(&mut out[start..], fill);
            });
        }
        let mut bytes = [0; MAX_IN_PLACE];
        bytes[..HEADER].copy_from_slice(&[kind as u8, length as u8]);
        Self::fill_exact(&mut bytes[HEADER..HEADER + length], fill);
        Self::of_shape(kind, HEADER, Whole::InPlace { length: (HEADER + length) as u8, bytes })
    }

    fn fill_exact(mut out: &mut [u8], fill: impl FnOnce(&mut &mut [u8])) {
        fill(&mut out);
        assert!(out.is_empty(), "{} bytes are missing of a frame", out.len());
    }

    fn of_shape(kind: FrameType, header: usize, whole: Whole) -> Self {
        Self { kind, header: header as u8, whole }
    }

    /// Writes a frame behind what `out` already holds, but for the last `rest` bytes of its
    /// payload, which the caller adds; returns the size of its type and length.
    ///
    /// # Panics
    /// As [`Frame::build`].
    pub fn append(
        out: &mut BytesMut,
        kind: FrameType,
        limit: usize,
        rest: usize,
        fill: impl FnOnce(&mut BytesMut),
    ) -> usize {
        let start = out.len();
        // Most frames are shorter than 64 bytes, and their length takes one byte; the payload of a
        // longer one moves up a little when its length is known.
        out.extend_from_slice(&[kind as u8, 0]);
        let payload = out.len();
        fill(out);
        let here = out.len() - payload;
        let length = here + rest;
        assert!(length <= limit, "a {kind:?} frame of {length} bytes");
        let size = put::varint_size(length as u64);
        if size > 1 {
            out.put_bytes(0, size - 1);
            out.copy_within(payload..payload + here, start + 1 + size);
        }
        put::varint(&mut &mut out[start + 1..], length as u64);
        1 + size
    }

    /// What the frame is.
    pub fn kind(&self) -> FrameType {
        self.kind
    }

    /// All of it, as it goes over the wire.
    pub fn bytes(&self) -> &[u8] {
        self.whole.as_slice()
    }

    /// Writes all of it behind what `out` holds.
    pub(super) fn append_to(&self, out: &mut BytesMut) {
        match &self.whole {
            // As above: a little more is copied, and taken back.
            Whole::InPlace { length, bytes } => {
                let end = out.len() + usize::from(*length);
                out.extend_from_slice(bytes);
                out.truncate(end);
            }
            Whole::Shared(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// The same, to be kept.
    pub fn to_bytes(&self) -> Bytes {
        match &self.whole {
            Whole::InPlace { .. } => Bytes::copy_from_slice(self.bytes()),
            Whole::Shared(bytes) => bytes.clone(),
        }
    }

    /// Whether it keeps a buffer that others use too.
    pub fn is_shared(&self) -> bool {
        self.shared().is_some()
    }

    /// All of it, if it is worth sharing.
    pub(super) fn shared(&self) -> Option<&Bytes> {
        match &self.whole {
            Whole::InPlace { .. } => None,
            Whole::Shared(bytes) => Some(bytes),
        }
    }

    /// A reader over the payload.
    pub fn payload(&self) -> Reader<'_> {
        let header = usize::from(self.header);
        match &self.whole {
            Whole::InPlace { .. } => Reader::copying(&self.bytes()[header..]),
            Whole::Shared(bytes) => Reader::starting_at(bytes, header),
        }
    }

    /// The request id that starts the payload of every lane frame.
    pub fn request_id(&self) -> Result<u64, DecodeError> {
        self.payload().varint("request id", super::codec::MAX_VARINT)
    }

    /// Takes the frame that starts `buffer`; `None` while it is not yet complete.
    ///
    /// # Errors
    /// An unknown type, or a payload above `limit`. The stream cannot be read any further.
    pub fn split_from(buffer: &mut BytesMut, limit: usize) -> Result<Option<Self>, DecodeError> {
        let shape = Shape::peek(buffer, limit)?;
        let Some(Shape { kind, header, total }) = shape.filter(|it| it.total <= buffer.len())
        else {
            return Ok(None);
        };
        let whole = match Whole::copy(buffer, total) {
            Some(copy) => {
                buffer.advance(total);
                copy
            }
            None => Whole::Shared(buffer.split_to(total).freeze()),
        };
        Ok(Some(Self::of_shape(kind, header, whole)))
    }

    /// Takes the frame that starts `bytes`, as a slice of them unless it is small; otherwise as
    /// [`Frame::split_from`].
    pub fn slice_from(bytes: &mut Bytes, limit: usize) -> Result<Option<Self>, DecodeError> {
        let shape = Shape::peek(bytes, limit)?;
        let Some(Shape { kind, header, total }) = shape.filter(|it| it.total <= bytes.len()) else {
            return Ok(None);
        };
        let whole = match Whole::copy(bytes, total) {
            Some(copy) => {
                bytes.advance(total);
                copy
            }
            None => Whole::Shared(bytes.split_to(total)),
        };
        Ok(Some(Self::of_shape(kind, header, whole)))
    }

    /// Reads a frame that is all of `bytes`.
    pub fn parse(bytes: Bytes, limit: usize) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(&bytes), limit)
    }

    /// Reads a frame that is all that `reader` has left, as one is inside another.
    pub fn read(reader: &mut Reader, limit: usize) -> Result<Self, DecodeError> {
        let cut_short = DecodeError::Truncated { what: "frame" };
        let rest = reader.as_slice();
        let shape = Shape::peek(rest, limit)?.ok_or_else(|| cut_short.clone())?;
        let (kind, header) = (shape.kind, shape.header);
        match rest.len().cmp(&shape.total) {
            Ordering::Less => Err(cut_short),
            Ordering::Equal => {
                let copy = Whole::copy(rest, rest.len());
                let whole = reader.rest_with(copy, Whole::Shared);
                Ok(Self::of_shape(kind, header, whole))
            }
            Ordering::Greater => {
                let count = rest.len() - shape.total;
                Err(DecodeError::Trailing { what: "frame", count })
            }
        }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}[{}]", self.kind, self.bytes().len() - usize::from(self.header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_survive_being_cut_anywhere(first: Vec<u8>, second: Vec<u8>, cut: usize) {
            let build = |bytes: &[u8]| Frame::build(FrameType::Get, MAX_PAYLOAD, |out| {
                out.extend_from_slice(bytes);
            });
            let (first, second) = (build(&first), build(&second));
            let stream = [first.bytes(), second.bytes()].concat();
            let (head, tail) = stream.split_at(cut % (stream.len() + 1));
            let mut buffer = BytesMut::new();
            let mut read = Vec::new();
            for piece in [head, tail] {
                buffer.extend_from_slice(piece);
                while let Some(frame) = Frame::split_from(&mut buffer, MAX_PAYLOAD).unwrap() {
                    read.push(frame);
                }
            }
            prop_assert_eq!(&read, &[first, second]);
            let mut whole = Bytes::from(stream);
            while let Some(frame) = Frame::slice_from(&mut whole, MAX_PAYLOAD).unwrap() {
                prop_assert_eq!(frame, read.remove(0));
            }
            prop_assert!(read.is_empty() && whole.is_empty());
        }

        #[test]
        fn splitting_anything_never_panics(bytes: Vec<u8>) {
            let _ = Frame::parse(Bytes::from(bytes.clone()), MAX_PAYLOAD);
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = Frame::split_from(&mut buffer, MAX_PAYLOAD) {
                prop_assert_eq!(Frame::parse(frame.to_bytes(), MAX_PAYLOAD), Ok(frame));
            }
        }
    }
}
