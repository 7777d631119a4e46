//! Frames of a lane: requests one way, replies the other, in any order.

use super::codec::{DecodeError, MAX_VARINT, Reader, put};
use super::frame::{Frame, FrameType, MAX_ERROR_TEXT, MAX_INLINE_BODY, MAX_PAYLOAD};
use super::headers::{HeaderBlock, MAX_HEADER_BLOCK};
use super::types::{Digest, Key, Tag};
use bytes::{BufMut, Bytes, BytesMut};

/// Slots a client may use, at the most; routers may allow fewer.
pub const MAX_SLOTS: u64 = 1 << 20;

/// What a client says of its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validator {
    /// Nothing: the mirror alone decides.
    None,
    /// Its CRC-32 and length.
    Crc {
        /// CRC-32 (IEEE) over the bytes.
        crc: u32,
        /// How many bytes.
        length: u64,
    },
    /// Its CRC-32 and digest.
    Strong {
        /// CRC-32 (IEEE) over the bytes.
        crc: u32,
        /// BLAKE3 over header block and bytes.
        digest: Digest,
    },
}

/// Asks for the item in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Chosen by the client, unique among its unanswered requests.
    pub request_id: u64,
    /// Where the client keeps the item.
    pub slot: u64,
    /// The item's key; may be left out where the mirror knows the slot.
    pub key: Option<Key>,
    /// What the client says of its copy.
    pub validator: Validator,
}

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

/// The frame that starts a body's own stream; the bytes follow it to the stream's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyStart {
    /// The request whose body this is.
    pub request_id: u64,
    /// The place of the first byte in the version.
    pub offset: u64,
}

const KEY_GIVEN: u8 = 0b100;
const VALIDATOR_MASK: u8 = 0b011;

impl Get {
    /// Writes the frame.
    pub fn encode(&self) -> Frame {
        Frame::build(FrameType::Get, MAX_PAYLOAD, |out| {
            put::varint(out, self.request_id);
            put::varint(out, self.slot);
            let validator = match self.validator {
                Validator::None => 0,
                Validator::Crc { .. } => 1,
                Validator::Strong { .. } => 2,
            };
            out.put_u8(validator | if self.key.is_some() { KEY_GIVEN } else { 0 });
            if let Some(key) = &self.key {
                key.encode(out);
            }
            match &self.validator {
                Validator::None => {}
                Validator::Crc { crc, length } => {
                    out.put_u32(*crc);
                    put::varint(out, *length);
                }
                Validator::Strong { crc, digest } => {
                    out.put_u32(*crc);
                    digest.encode(out);
                }
            }
        })
    }

    /// Reads the frame's payload.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let request_id = reader.varint("request id", MAX_VARINT)?;
        let slot = reader.varint("slot", MAX_SLOTS - 1)?;
        let flags = reader.byte("flags")?;
        if flags & !(KEY_GIVEN | VALIDATOR_MASK) != 0 {
            return Err(DecodeError::Unknown { what: "flags", found: u64::from(flags) });
        }
        let key = (flags & KEY_GIVEN != 0).then(|| Key::decode(&mut reader)).transpose()?;
        let validator = match flags & VALIDATOR_MASK {
            0 => Validator::None,
            1 => {
                let crc = u32::from_be_bytes(reader.array("crc")?);
                Validator::Crc { crc, length: reader.varint("length", MAX_VARINT)? }
            }
            2 => {
                let crc = u32::from_be_bytes(reader.array("crc")?);
                Validator::Strong { crc, digest: Digest::decode(&mut reader)? }
            }
            found => {
                return Err(DecodeError::Unknown { what: "validator", found: u64::from(found) });
            }
        };
        reader.finish("GET")?;
        Ok(Self { request_id, slot, key, validator })
    }
}

/// Whether a request may be sent again when it is not known what became of it. A GET and a BATCH
/// may; a CALL only if it says so. Its flags follow the request id.
pub fn is_idempotent(frame: &Frame) -> bool {
    if frame.kind() != FrameType::Call {
        return true;
    }
    let mut reader = frame.payload();
    let flags = reader.varint("request id", MAX_VARINT).and_then(|_| reader.byte("flags"));
    flags.is_ok_and(|flags| flags & CALL_IDEMPOTENT != 0)
}

/// Whether a reply announces a body on a stream of its own. Looks no further than it must.
pub fn has_streamed_body(frame: &Frame) -> bool {
    let body_kind = || {
        let mut reader = frame.payload();
        reader.varint("request id", MAX_VARINT)?;
        reader.array::<16>("tag")?;
        reader.bytes("header block", MAX_HEADER_BLOCK)?;
        reader.byte("body kind")
    };
    frame.kind() == FrameType::Full
        && body_kind().is_ok_and(|kind| matches!(kind, BODY_STREAM | BODY_UNMIRRORED))
}

/// The flag of a CALL that may be sent again.
pub const CALL_IDEMPOTENT: u8 = 1;

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

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Inline(bytes) => {
                out.put_u8(BODY_INLINE);
                put::bytes(out, bytes, MAX_INLINE_BODY);
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

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
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

    /// The type of the frame that carries it.
    pub fn frame_type(&self) -> FrameType {
        match self {
            Self::UseCached { .. } => FrameType::UseCached,
            Self::Full { .. } => FrameType::Full,
            Self::NotFound => FrameType::NotFound,
            Self::UnknownSlot => FrameType::UnknownSlot,
            Self::Busy { .. } => FrameType::Busy,
            Self::FateUnknown => FrameType::FateUnknown,
            Self::Error { .. } => FrameType::Error,
        }
    }
}

impl Reply {
    /// Writes the frame.
    pub fn encode(&self) -> Frame {
        Frame::build(self.outcome.frame_type(), MAX_PAYLOAD, |out| {
            put::varint(out, self.request_id);
            match &self.outcome {
                Outcome::UseCached { tag } => tag.encode(out),
                Outcome::Full { tag, headers, body } => {
                    tag.encode(out);
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
        })
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
            FrameType::NotFound => Outcome::NotFound,
            FrameType::UnknownSlot => Outcome::UnknownSlot,
            FrameType::Busy => {
                Outcome::Busy { retry_after_ms: reader.varint("retry time", MAX_VARINT)? }
            }
            FrameType::FateUnknown => Outcome::FateUnknown,
            FrameType::Error => Outcome::Error {
                code: ErrorCode::decode(&mut reader)?,
                text: reader.text("error text", MAX_ERROR_TEXT)?,
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
