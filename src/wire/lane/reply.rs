//! What clients are answered.

use super::batch::{MAX_BATCH, Unchanged};
use super::body::Body;
use super::call::{MAX_STATUS, MIN_STATUS, decode_status};
use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use crate::wire::frame::{Frame, FrameType, MAX_ERROR_TEXT, MAX_PAYLOAD};
use crate::wire::gather::MIN_SHARED;
use crate::wire::headers::HeaderBlock;
use crate::wire::http::HttpAnswer;
use crate::wire::types::{Digest, Tag};
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
    /// The fresh version, as a difference to the one that the client holds. Version 3.
    Delta {
        /// The version that is meant.
        tag: Tag,
        /// The version that it is a difference to.
        base: Digest,
        /// The headers of the fresh version.
        headers: HeaderBlock,
        /// How many bytes the fresh version has.
        length: u64,
        /// The difference: one zstd frame with the held bytes as its prefix.
        body: Body,
    },
    /// What became of the slots of a BATCH. Version 3.
    Batch {
        /// Which of them hold the fresh version.
        unchanged: Unchanged,
        /// Stands for these versions: [`UnchangedHash`](super::UnchangedHash).
        hash: Digest,
        /// Replies about others: [`BatchRest`](super::BatchRest).
        rest: Body,
    },
    /// The mirror holds what INVENTORY said. Version 3.
    Noted,
    /// The source executed a CALL, and this is its answer. Never mirrored, never cached.
    Called {
        /// What came of it, as in HTTP: 200 to 999.
        status: u16,
        /// The headers of the body.
        headers: HeaderBlock,
        /// What came back, in the frame or on a stream of its own.
        body: Body,
    },
    /// The answer to an HTTP request; routers answer native clients with it never. Version 4.
    Http(HttpAnswer),
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
    fn inline_body(&self) -> Option<&Bytes> {
        match self {
            Self::Full { body: Body::Inline(bytes), .. }
            | Self::Delta { body: Body::Inline(bytes), .. }
            | Self::Batch { rest: Body::Inline(bytes), .. }
            | Self::Called { body: Body::Inline(bytes), .. } => Some(bytes),
            Self::Http(answer) => answer.inline_body(),
            _ => None,
        }
    }

    /// The type of the frame that carries it.
    pub fn frame_type(&self) -> FrameType {
        match self {
            Self::UseCached { .. } => FrameType::UseCached,
            Self::Full { .. } => FrameType::Full,
            Self::Delta { .. } => FrameType::Delta,
            Self::Batch { .. } => FrameType::BatchReply,
            Self::Noted => FrameType::Noted,
            Self::Called { .. } => FrameType::CallReply,
            Self::Http(_) => FrameType::HttpReply,
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
            out.extend_from_slice(self.outcome.inline_body().map_or(&[], |body| body));
        })
    }

    /// The bytes that end the frame, if they are worth sharing instead of being copied.
    pub fn shared(&self) -> Option<&Bytes> {
        self.outcome.inline_body().filter(|bytes| bytes.len() >= MIN_SHARED)
    }

    /// Writes the frame behind what `out` holds, all but what [`Reply::shared`] gives.
    pub fn append(&self, out: &mut BytesMut) {
        let rest = self.shared().map_or(0, Bytes::len);
        Frame::append(out, self.outcome.frame_type(), MAX_PAYLOAD, rest, |out| {
            self.encode_payload(out);
            if rest == 0 {
                out.extend_from_slice(self.outcome.inline_body().map_or(&[], |body| body));
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
            Outcome::Delta { tag, base, headers, length, body } => {
                assert!(!matches!(body, Body::Unmirrored { .. }), "a delta has a tag");
                tag.encode(out);
                base.encode(out);
                headers.encode(out);
                put::varint(out, *length);
                body.encode(out);
            }
            Outcome::Batch { unchanged, hash, rest } => {
                assert!(!matches!(rest, Body::Unmirrored { .. }), "a batch has no tag");
                put::bytes(out, unchanged.as_bytes(), (MAX_BATCH / 8) as usize);
                hash.encode(out);
                rest.encode(out);
            }
            Outcome::Called { status, headers, body } => {
                assert!((MIN_STATUS..=MAX_STATUS).contains(status), "{status} is no final status");
                assert!(!matches!(body, Body::Unmirrored { .. }), "an answer has no tag");
                out.put_u16(*status);
                headers.encode(out);
                body.encode(out);
            }
            Outcome::Http(answer) => answer.encode(out),
            Outcome::NotFound | Outcome::UnknownSlot | Outcome::FateUnknown | Outcome::Noted => {}
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
            FrameType::Delta => Outcome::Delta {
                tag: Tag::decode(&mut reader)?,
                base: Digest::decode(&mut reader)?,
                headers: HeaderBlock::decode(&mut reader)?,
                length: reader.varint("length", MAX_VARINT)?,
                body: Body::decode_mirrored(&mut reader)?,
            },
            FrameType::BatchReply => Outcome::Batch {
                unchanged: Unchanged::decode(&mut reader)?,
                hash: Digest::decode(&mut reader)?,
                rest: Body::decode_mirrored(&mut reader)?,
            },
            FrameType::Noted => Outcome::Noted,
            FrameType::CallReply => Outcome::Called {
                status: decode_status(&mut reader)?,
                headers: HeaderBlock::decode(&mut reader)?,
                body: Body::decode_mirrored(&mut reader)?,
            },
            FrameType::HttpReply => Outcome::Http(HttpAnswer::decode(&mut reader)?),
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
