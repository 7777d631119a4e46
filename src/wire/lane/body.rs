//! How the bytes of a version travel.

use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use crate::wire::frame::{Frame, FrameType, MAX_INLINE_BODY, MAX_PAYLOAD};
use crate::wire::headers::MAX_HEADER_BLOCK;
use crate::wire::http::HttpAnswer;
use crate::wire::types::Tag;
use bytes::{BufMut, Bytes, BytesMut};

/// How the bytes of a full reply travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// In the frame.
    Inline(Bytes),
    /// On a stream of their own, which starts with a BODY frame.
    Stream {
        /// How many bytes.
        length: u64,
    },
    /// On a stream of their own, not mirrored; the stream ends with the 16 bytes of the tag, and
    /// the tag of the FULL frame is zero, because it is only known once all was read.
    Unmirrored {
        /// How many bytes, the tag at the end not counted.
        length: u64,
    },
}

/// The frame that starts a body's own stream; the bytes follow it to the stream's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyStart {
    /// The request whose body this is.
    pub request_id: u64,
    /// The place of the first byte in the version.
    pub offset: u64,
}

const BODY_INLINE: u8 = 0;
const BODY_STREAM: u8 = 1;
const BODY_UNMIRRORED: u8 = 2;

impl Body {
    /// How many bytes the version has.
    pub fn length(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Stream { length } | Self::Unmirrored { length } => *length,
        }
    }

    /// Writes all but the bytes themselves.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Inline(bytes) => {
                out.put_u8(BODY_INLINE);
                put::limited(out, bytes.len() as u64, MAX_INLINE_BODY as u64);
            }
            Self::Stream { length } => {
                out.put_u8(BODY_STREAM);
                put::varint(out, *length);
            }
            Self::Unmirrored { length } => {
                out.put_u8(BODY_UNMIRRORED);
                put::varint(out, *length);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match reader.byte("body kind")? {
            BODY_INLINE => Self::Inline(reader.bytes("body", MAX_INLINE_BODY)?),
            BODY_STREAM => Self::Stream { length: reader.varint("body length", MAX_VARINT)? },
            BODY_UNMIRRORED => {
                Self::Unmirrored { length: reader.varint("body length", MAX_VARINT)? }
            }
            found => {
                return Err(DecodeError::Unknown { what: "body kind", found: u64::from(found) });
            }
        })
    }

    /// The same, where no tag follows the bytes.
    pub(super) fn decode_mirrored(reader: &mut Reader) -> Result<Self, DecodeError> {
        match Self::decode(reader)? {
            Self::Unmirrored { .. } => {
                let found = u64::from(BODY_UNMIRRORED);
                Err(DecodeError::Unknown { what: "body kind", found })
            }
            body => Ok(body),
        }
    }
}

impl BodyStart {
    /// Writes the frame.
    pub fn encode(&self) -> Frame {
        Frame::build(FrameType::Body, MAX_PAYLOAD, |out| {
            put::varint(out, self.request_id);
            put::varint(out, self.offset);
        })
    }

    /// Reads the frame's payload.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let request_id = reader.varint("request id", MAX_VARINT)?;
        let offset = reader.varint("offset", MAX_VARINT)?;
        reader.finish("BODY")?;
        Ok(Self { request_id, offset })
    }
}

/// Whether a reply announces a body on a stream of its own. Looks no further than it must.
pub fn has_streamed_body(frame: &Frame) -> bool {
    if frame.kind() == FrameType::HttpReply {
        return HttpAnswer::peek_stream(frame).is_ok_and(|(has_stream, _)| has_stream);
    }
    let body_kind = || {
        let mut reader = frame.payload();
        reader.varint("request id", MAX_VARINT)?;
        match frame.kind() {
            FrameType::Full => drop(reader.array::<16>("tag")?),
            FrameType::Delta => drop(reader.array::<32>("tag and base")?),
            FrameType::BatchReply => {}
            _ => drop(reader.array::<2>("status")?),
        }
        // Of a batch, the bitmap.
        reader.skip("header block", MAX_HEADER_BLOCK)?;
        match frame.kind() {
            FrameType::Delta => drop(reader.varint("length", MAX_VARINT)?),
            FrameType::BatchReply => drop(reader.array::<16>("hash")?),
            _ => {}
        }
        reader.byte("body kind")
    };
    let has_body = matches!(
        frame.kind(),
        FrameType::Full | FrameType::Delta | FrameType::BatchReply | FrameType::CallReply
    );
    has_body && body_kind().is_ok_and(|kind| matches!(kind, BODY_STREAM | BODY_UNMIRRORED))
}

/// The version whose bytes a FULL or HTTP_REPLY announces on a stream of their own. `None` where
/// they travel otherwise, or their version is only known at their end.
pub fn streamed_tag(frame: &Frame) -> Option<Tag> {
    if frame.kind() == FrameType::HttpReply {
        return HttpAnswer::peek_stream(frame).ok()?.1;
    }
    let read = || {
        let mut reader = frame.payload();
        reader.varint("request id", MAX_VARINT)?;
        let tag = Tag::decode(&mut reader)?;
        reader.bytes("header block", MAX_HEADER_BLOCK)?;
        Ok::<_, DecodeError>((tag, reader.byte("body kind")?))
    };
    let (tag, kind) = read().ok().filter(|_| frame.kind() == FrameType::Full)?;
    (kind == BODY_STREAM).then_some(tag)
}
