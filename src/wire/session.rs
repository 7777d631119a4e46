//! Frames of the session stream: HELLO, WELCOME, ASSIGNED, GOAWAY.

use super::codec::{DecodeError, MAX_VARINT, Reader, put};
use super::frame::{Frame, FrameType, MAX_PAYLOAD};
use super::types::{Assignment, ClientId, Name};
use bytes::Bytes;

/// The newest protocol version that this code speaks.
pub const VERSION: u64 = 1;
/// The oldest protocol version that this code speaks.
pub const OLDEST_VERSION: u64 = 1;
/// The ALPN of the native protocol.
pub const ALPN: &[u8] = b"understudy/1";
/// Longest sealed token, in bytes.
pub const MAX_TOKEN: usize = 512;

/// The newest version that both a peer's range and ours contain.
pub fn common_version(oldest: u64, newest: u64) -> Option<u64> {
    let best = newest.min(VERSION);
    (best >= oldest.max(OLDEST_VERSION)).then_some(best)
}

/// What a client says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version that the client speaks.
    pub oldest: u64,
    /// The newest version that the client speaks.
    pub newest: u64,
    /// The token that a router gave it before.
    pub token: Option<Bytes>,
    /// The pool it wants; the router's first where it names none.
    pub pool: Option<Name>,
}

/// What the router lets a client do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Slots are numbered from 0 to one less than this.
    pub slots: u64,
    /// Requests that may be unanswered at one time.
    pub in_flight: u64,
    /// Items with more bytes than this are streamed and not mirrored.
    pub max_item: u64,
}

/// The router's answer to HELLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that both will speak.
    pub version: u64,
    /// Who the client is.
    pub client: ClientId,
    /// What the client shows when it comes back, to any router that shares the keys.
    pub token: Bytes,
    /// Who services it, as far as is known.
    pub assignment: Assignment,
    /// What it may do.
    pub limits: Limits,
}

/// A new epoch: on the session stream, or on a lane ahead of the first reply given in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Replaces the token that the client has.
    pub token: Bytes,
    /// Who services the client now.
    pub assignment: Assignment,
}

/// Why a connection is closed, as its application error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CloseCode {
    /// Nothing is wrong.
    Done = 0,
    /// The peer broke the protocol.
    ProtocolViolation = 1,
    /// No common version, an unknown pool, or a certificate that does not vouch for the name.
    NotWelcome = 2,
    /// A newer session took over.
    Superseded = 3,
    /// The sender is shutting down.
    Shutdown = 4,
    /// No room, or no server: try again later.
    TooBusy = 5,
}

/// Why a router ends a session that it would otherwise keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GoawayReason {
    /// The router is shutting down: reconnect, to another one if there is.
    Shutdown = 0,
    /// A newer session with the same token took over: do not reconnect.
    Superseded = 1,
}

fn encode_token(out: &mut bytes::BytesMut, token: Option<&Bytes>) {
    put::bytes(out, token.map_or(&[][..], |token| token), MAX_TOKEN);
}

fn decode_token(reader: &mut Reader) -> Result<Bytes, DecodeError> {
    match reader.bytes("token", MAX_TOKEN)? {
        token if token.is_empty() => Err(DecodeError::Truncated { what: "token" }),
        token => Ok(token),
    }
}

impl Hello {
    /// Writes the frame.
    pub fn encode(&self) -> Frame {
        Frame::build(FrameType::Hello, MAX_PAYLOAD, |out| {
            put::varint(out, self.oldest);
            put::varint(out, self.newest);
            encode_token(out, self.token.as_ref());
            Name::encode_option(self.pool.as_ref(), out);
        })
    }

    /// Reads the frame's payload.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let oldest = reader.varint("oldest version", MAX_VARINT)?;
        let newest = reader.varint("newest version", MAX_VARINT)?;
        let token = Some(reader.bytes("token", MAX_TOKEN)?).filter(|token| !token.is_empty());
        let pool = Name::decode_option(&mut reader)?;
        reader.finish("HELLO")?;
        Ok(Self { oldest, newest, token, pool })
    }
}

impl Welcome {
    /// Writes the frame.
    pub fn encode(&self) -> Frame {
        Frame::build(FrameType::Welcome, MAX_PAYLOAD, |out| {
            put::varint(out, self.version);
            self.client.encode(out);
            encode_token(out, Some(&self.token));
            self.assignment.encode(out);
            put::varint(out, self.limits.slots);
            put::varint(out, self.limits.in_flight);
            put::varint(out, self.limits.max_item);
        })
    }

    /// Reads the frame's payload.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let version = reader.varint("version", MAX_VARINT)?;
        let client = ClientId::decode(&mut reader)?;
        let token = decode_token(&mut reader)?;
        let assignment = Assignment::decode(&mut reader)?;
        let limits = Limits {
            slots: reader.varint("slot limit", u64::from(u32::MAX))?,
            in_flight: reader.varint("in-flight limit", MAX_VARINT)?,
            max_item: reader.varint("item limit", MAX_VARINT)?,
        };
        reader.finish("WELCOME")?;
        Ok(Self { version, client, token, assignment, limits })
    }
}

impl Assigned {
    /// Writes the frame.
    pub fn encode(&self) -> Frame {
        Frame::build(FrameType::Assigned, MAX_PAYLOAD, |out| {
            encode_token(out, Some(&self.token));
            self.assignment.encode(out);
        })
    }

    /// Reads the frame's payload.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let token = decode_token(&mut reader)?;
        let assignment = Assignment::decode(&mut reader)?;
        reader.finish("ASSIGNED")?;
        Ok(Self { token, assignment })
    }
}

impl GoawayReason {
    /// Writes the frame.
    pub fn encode(self) -> Frame {
        Frame::build(FrameType::Goaway, MAX_PAYLOAD, |out| put::varint(out, self as u64))
    }

    /// Reads the frame's payload.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let reason = match reader.varint("reason", MAX_VARINT)? {
            0 => Self::Shutdown,
            1 => Self::Superseded,
            found => return Err(DecodeError::Unknown { what: "reason", found }),
        };
        reader.finish("GOAWAY")?;
        Ok(reason)
    }
}
