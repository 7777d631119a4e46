//! What clients are answered.

use super::body::Body;
use super::call::{MAX_STATUS, MIN_STATUS, decode_status};
use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use crate::wire::frame::{Frame, FrameType, MAX_ERROR_TEXT, MAX_PAYLOAD};
use crate::wire::gather::MIN_SHARED;
use crate::wire::headers::HeaderBlock;
use crate::wire::types::Tag;
use bytes::{BufMut, Bytes, BytesMut};

/// Why a request failed, as a number that programs can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorCode {
    /// The request breaks the protocol; sending it again will not help.
    Malformed = 1,
    /// The frame type is reserved for a later version.
    NotSupported = 2,
    /// The key, or what it names, may not be read.
    Refused = 3,
    /// The source failed.
    Source = 4,
    /// No server could answer in time; asking again may help.
    Unavailable = 5,
}

/// What a request got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client's copy is the fresh version.
    UseCached {
        /// The version that is meant.
        tag: Tag,
    },
    /// The fresh version, whole.
    Full {
        /// The version that is meant.
        tag: Tag,
        /// Its headers.
        headers: HeaderBlock,
        /// Its bytes.
        body: Body,
    },
    /// The source executed a CALL, and this is its answer. Never mirrored, never cached.
    Called {
        /// What came of it, as in HTTP: 200 to 999.
        status: u16,
        /// The headers of the body.
        headers: HeaderBlock,
        /// What came back, in the frame or on a stream of its own.
        body: Body,
    },
    /// The source has no such item.
    NotFound,
    /// The mirror does not know the slot: ask again with the key.
    UnknownSlot,
    /// The pool is at its capacity.
    Busy {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// It was sent, and what became of it is not known. Only for a CALL that is not idempotent.
    FateUnknown,
    /// It failed.
    Error {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        text: String,
    },
}

/// One reply on a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The request that is answered.
    pub request_id: u64,
    /// What it got.
    pub outcome: Outcome,
}

impl ErrorCode {
    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match reader.varint("error code", MAX_VARINT)? {
            1 => Self::Malformed,
            2 => Self::NotSupported,
            3 => Self::Refused,
            4 => Self::Source,
            5 => Self::Unavailable,
            found => return Err(DecodeError::Unknown { what: "error code", found }),
        })
    }
}

impl Outcome {
    /// An error with a text that is cut to what a frame may carry.
    pub fn error(code: ErrorCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        let mut end = text.len().min(MAX_ERROR_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        Self::Error { code, text }
    }

    /// The bytes that travel in the frame.
    fn inline_body(&self) -> &[u8] {
        match self {
            Self::Full { body: Body::Inline(bytes), .. }
            | Self::Called { body: Body::Inline(bytes), .. } => bytes,
            _ => &[],
        }
    }

    /// The type of the frame that carries it.
    pub fn frame_type(&self) -> FrameType {
        match self {
            Self::UseCached { .. } => FrameType::UseCached,
            Self::Full { .. } => FrameType::Full,
            Self::Called { .. } => FrameType::CallReply,
            Self::NotFound => FrameType::NotFound,
            Self::UnknownSlot => FrameType::UnknownSlot,
            Self::Busy { .. } => FrameType::Busy,
            Self::FateUnknown => FrameType::FateUnknown,
            Self::Error { .. } => FrameType::Error,
        }
    }
}

impl Reply {
    /// The frame.
    pub fn encode(&self) -> Frame {
        Frame::build(self.outcome.frame_type(), MAX_PAYLOAD, |out| {
            self.encode_payload(out);
            out.extend_from_slice(self.outcome.inline_body());
        })
    }

    /// The bytes that end the frame, if they are worth sharing instead of being copied.
    pub fn shared(&self) -> Option<&Bytes> {
        match &self.outcome {
            Outcome::Full { body: Body::Inline(bytes), .. }
            | Outcome::Called { body: Body::Inline(bytes), .. } => {
                (bytes.len() >= MIN_SHARED).then_some(bytes)
            }
            _ => None,
        }
    }

    /// Writes the frame behind what `out` holds, all but what [`Reply::shared`] gives.
    pub fn append(&self, out: &mut BytesMut) {
        let rest = self.shared().map_or(0, Bytes::len);
        Frame::append(out, self.outcome.frame_type(), MAX_PAYLOAD, rest, |out| {
            self.encode_payload(out);
            if rest == 0 {
                out.extend_from_slice(self.outcome.inline_body());
            }
        });
    }

    /// Writes all but the bytes of a body, which end it.
    fn encode_payload(&self, out: &mut BytesMut) {
        put::varint(out, self.request_id);
        match &self.outcome {
            Outcome::UseCached { tag } => tag.encode(out),
            Outcome::Full { tag, headers, body } => {
                tag.encode(out);
                headers.encode(out);
                body.encode(out);
            }
            Outcome::Called { status, headers, body } => {
                assert!((MIN_STATUS..=MAX_STATUS).contains(status), "{status} is no final status");
                assert!(!matches!(body, Body::Unmirrored { .. }), "an answer has no tag");
                out.put_u16(*status);
                headers.encode(out);
                body.encode(out);
            }
            Outcome::NotFound | Outcome::UnknownSlot | Outcome::FateUnknown => {}
            Outcome::Busy { retry_after_ms } => put::varint(out, *retry_after_ms),
            Outcome::Error { code, text } => {
                put::varint(out, *code as u64);
                put::bytes(out, text.as_bytes(), MAX_ERROR_TEXT);
            }
        }
    }

    /// Reads a frame of any reply type.
    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.payload();
        let request_id = reader.varint("request id", MAX_VARINT)?;
        let outcome = match frame.kind() {
            FrameType::UseCached => Outcome::UseCached { tag: Tag::decode(&mut reader)? },
            FrameType::Full => Outcome::Full {
                tag: Tag::decode(&mut reader)?,
                headers: HeaderBlock::decode(&mut reader)?,
                body: Body::decode(&mut reader)?,
            },
            FrameType::CallReply => Outcome::Called {
                status: decode_status(&mut reader)?,
                headers: HeaderBlock::decode(&mut reader)?,
                body: Body::decode_mirrored(&mut reader)?,
            },
            FrameType::NotFound => Outcome::NotFound,
            FrameType::UnknownSlot => Outcome::UnknownSlot,
            FrameType::Busy => {
                Outcome::Busy { retry_after_ms: reader.varint("retry time", MAX_VARINT)? }
            }
            FrameType::FateUnknown => Outcome::FateUnknown,
            FrameType::Error => Outcome::Error {
                code: ErrorCode::decode(&mut reader)?,
                text: reader.text("error text", MAX_ERROR_TEXT)?.to_owned(),
            },
            other => {
                let found = other as u64;
                return Err(DecodeError::Unknown { what: "reply type", found });
            }
        };
        reader.finish("reply")?;
        Ok(Self { request_id, outcome })
    }
}
