//! A request on its way to a server, and what its answer adds.

use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use crate::wire::frame::{Frame, FrameType, MAX_BACKPLANE_PAYLOAD, MAX_PAYLOAD};
use crate::wire::types::{ClientId, Epoch, Name, Tag, decode_counters, encode_counters};
use bytes::{BufMut, BytesMut};

/// Servers to which a release may be owed for one client, at the most.
pub const MAX_FORMER: usize = 8;

/// Under what title a server is asked for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum How {
    /// The router believes that the server lists the client as primary.
    Known = 0,
    /// A fresh client; the server may hand it on.
    Assign = 1,
    /// A fresh client that another server handed on: must be served below capacity.
    HandedOn = 2,
    /// The server's mirror makes it the new primary.
    Takeover = 3,
    /// A hedge: read, but change nothing.
    Standby = 4,
}

/// A request on its way to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The router's number for it.
    pub request_id: u64,
    /// Whose request it is.
    pub client: ClientId,
    /// The term in which the router asks.
    pub term: u64,
    /// The change within the term.
    pub change: u64,
    /// The primary in that epoch; none stands for the server that is asked.
    pub primary: Option<Name>,
    /// Under what title.
    pub how: How,
    /// How long the answer is of use, in milliseconds from now.
    pub deadline_ms: u64,
    /// Servers that may still list the client from lower epochs.
    pub former: Vec<Name>,
    /// Given if only the rest of a body is wanted.
    pub resume: Option<Resume>,
    /// The client understands a DELTA. Version 3.
    pub takes_deltas: bool,
    /// The client's frame, as it came.
    pub inner: Frame,
}

/// From where the body of a request goes on that broke off at another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Bytes that the client has, or will have.
    pub offset: u64,
    /// The version whose bytes they are.
    pub tag: Tag,
}

/// What told the server that the client's copy is the fresh version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UseCachedBy {
    /// The mirror alone.
    Mirror = 1,
    /// The client's CRC and length.
    Crc = 2,
    /// The client's digest.
    Strong = 3,
}

/// The flag beside the title that says that the client understands a DELTA.
const TAKES_DELTAS: u8 = 0x10;

impl How {
    fn decode(title: u8) -> Result<Self, DecodeError> {
        Ok(match title {
            0 => Self::Known,
            1 => Self::Assign,
            2 => Self::HandedOn,
            3 => Self::Takeover,
            4 => Self::Standby,
            found => return Err(DecodeError::Unknown { what: "title", found: found.into() }),
        })
    }
}

impl Forward {
    /// The epoch in which the router asks the server `asked`.
    pub fn epoch(&self, asked: &Name) -> Epoch {
        let primary = self.primary.as_ref().unwrap_or(asked).clone();
        Epoch { term: self.term, change: self.change, primary }
    }

    /// The frame.
    pub fn encode_frame(&self) -> Frame {
        let inner = self.inner.bytes();
        if self.primary.is_some() || !self.former.is_empty() || self.resume.is_some() {
            return Frame::build(self.frame_type(), MAX_BACKPLANE_PAYLOAD, |out| {
                self.encode(out);
                out.extend_from_slice(inner);
            });
        }
        // The usual one: a fixed shape, whose size is known beforehand.
        let numbers = [self.request_id, self.term, self.change, self.deadline_ms];
        let varints: usize = numbers.into_iter().map(put::varint_size).sum();
        let length = varints + self.client.0.len() + 3 + inner.len();
        Frame::build_exact(FrameType::Forward, MAX_BACKPLANE_PAYLOAD, length, |out| {
            put::varint(out, self.request_id);
            self.client.encode(out);
            encode_counters((self.term, self.change), out);
            out.put_u8(0);
            out.put_u8(self.title());
            put::varint(out, self.deadline_ms);
            out.put_u8(0);
            out.put_slice(inner);
        })
    }

    /// The title and its flag.
    fn title(&self) -> u8 {
        self.how as u8 | if self.takes_deltas { TAKES_DELTAS } else { 0 }
    }

    /// The type of the frame that carries it.
    pub fn frame_type(&self) -> FrameType {
        if self.resume.is_some() { FrameType::Resume } else { FrameType::Forward }
    }

    /// Writes all but the inner frame, which ends it.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        if let Some(Resume { offset, tag }) = &self.resume {
            put::varint(out, *offset);
            tag.encode(out);
        }
        put::varint(out, self.request_id);
        self.client.encode(out);
        encode_counters((self.term, self.change), out);
        Name::encode_option(self.primary.as_ref(), out);
        out.put_u8(self.title());
        put::varint(out, self.deadline_ms);
        encode_former(&self.former, out);
    }

    pub(super) fn decode(kind: FrameType, reader: &mut Reader) -> Result<Self, DecodeError> {
        let resume = match kind {
            FrameType::Resume => {
                let offset = reader.varint("offset", MAX_VARINT)?;
                Some(Resume { offset, tag: Tag::decode(reader)? })
            }
            _ => None,
        };
        let request_id = reader.varint("request id", MAX_VARINT)?;
        let client = ClientId::decode(reader)?;
        let (term, change) = decode_counters(reader)?;
        let primary = Name::decode_option(reader)?;
        let title = reader.byte("title")?;
        Ok(Self {
            request_id,
            client,
            term,
            change,
            primary,
            how: How::decode(title & !TAKES_DELTAS)?,
            deadline_ms: reader.varint("deadline", MAX_VARINT)?,
            former: decode_former(reader)?,
            resume,
            takes_deltas: title & TAKES_DELTAS != 0,
            inner: Frame::read(reader, MAX_PAYLOAD)?,
        })
    }
}

pub(super) fn encode_former(former: &[Name], out: &mut BytesMut) {
    assert!(former.len() <= MAX_FORMER, "{} former servers", former.len());
    put::varint(out, former.len() as u64);
    former.iter().for_each(|name| name.encode(out));
}

pub(super) fn decode_former(reader: &mut Reader) -> Result<Vec<Name>, DecodeError> {
    let count = reader.varint("count of former servers", MAX_FORMER as u64)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    (0..count).map(|_| Name::decode(reader)).collect()
}
