//! What clients ask.

use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use crate::wire::frame::{Frame, FrameType, MAX_PAYLOAD};
use crate::wire::types::{Digest, Key};
use bytes::BufMut;

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

const KEY_GIVEN: u8 = 0b100;
const VALIDATOR_MASK: u8 = 0b011;

impl Get {
    /// Writes the frame.
    pub fn encode(&self) -> Frame {
        Frame::build(FrameType::Get, MAX_PAYLOAD, |out| {
            put::varint(out, self.request_id);
            put::limited(out, self.slot, MAX_SLOTS - 1);
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
