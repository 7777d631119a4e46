//! What clients have executed.

use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use crate::wire::frame::{Frame, FrameType, MAX_INLINE_BODY, MAX_PAYLOAD};
use crate::wire::headers::HeaderBlock;
use crate::wire::types::Key;
use bytes::{BufMut, Bytes};

/// The first version of the protocol that has calls.
pub const CALL_VERSION: u64 = 2;
/// The flag of a CALL that may be sent again.
pub const CALL_IDEMPOTENT: u8 = 1;
/// The lowest status of an answer. Those below it are interim in HTTP, and an answer is final.
pub const MIN_STATUS: u16 = 200;
/// The highest status of an answer.
pub const MAX_STATUS: u16 = 999;

/// Has the source do something. New in version 2 of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Chosen by the client, unique among its unanswered requests.
    pub request_id: u64,
    /// The call may be sent again when it is not known what became of it.
    pub idempotent: bool,
    /// What is called.
    pub key: Key,
    /// The headers of the body.
    pub headers: HeaderBlock,
    /// What goes along, at most [`MAX_INLINE_BODY`] bytes.
    pub body: Bytes,
}

impl Call {
    /// Writes the frame.
    pub fn encode(&self) -> Frame {
        Frame::build(FrameType::Call, MAX_PAYLOAD, |out| {
            put::varint(out, self.request_id);
            out.put_u8(if self.idempotent { CALL_IDEMPOTENT } else { 0 });
            self.key.encode(out);
            self.headers.encode(out);
            put::bytes(out, &self.body, MAX_INLINE_BODY);
        })
    }

    /// Reads the frame's payload.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let request_id = reader.varint("request id", MAX_VARINT)?;
        let flags = reader.byte("flags")?;
        if flags & !CALL_IDEMPOTENT != 0 {
            return Err(DecodeError::Unknown { what: "flags", found: u64::from(flags) });
        }
        let key = Key::decode(&mut reader)?;
        let headers = HeaderBlock::decode(&mut reader)?;
        let body = reader.bytes("body", MAX_INLINE_BODY)?;
        reader.finish("CALL")?;
        Ok(Self { request_id, idempotent: flags & CALL_IDEMPOTENT != 0, key, headers, body })
    }
}

/// Reads a status, which is final.
pub(in crate::wire) fn decode_status(reader: &mut Reader) -> Result<u16, DecodeError> {
    let status = u16::from_be_bytes(reader.array("status")?);
    if (MIN_STATUS..=MAX_STATUS).contains(&status) {
        Ok(status)
    } else {
        Err(DecodeError::Unknown { what: "status", found: u64::from(status) })
    }
}

/// Whether a request may be sent again when it is not known what became of it. A GET and a BATCH
/// may; a CALL or HTTP_REQUEST only if it says so. Their flags follow the request id.
pub fn is_idempotent(frame: &Frame) -> bool {
    if !matches!(frame.kind(), FrameType::Call | FrameType::HttpRequest) {
        return true;
    }
    let mut reader = frame.payload();
    let flags = reader.varint("request id", MAX_VARINT).and_then(|_| reader.byte("flags"));
    flags.is_ok_and(|flags| flags & CALL_IDEMPOTENT != 0)
}
