//! Frames of the session stream: HELLO, WELCOME, ASSIGNED, GOAWAY, PING and PONG.

use super::codec::{DecodeError, MAX_VARINT, Reader, put};
use super::frame::{Frame, FrameType, MAX_PAYLOAD};
use super::lane::MAX_SLOTS;
use super::types::{Assignment, ClientId, Name};
use bytes::{Bytes, BytesMut};

/// The newest protocol version that this code speaks.
pub const VERSION: u64 = 4;
/// The oldest protocol version that this code speaks.
pub const OLDEST_VERSION: u64 = 1;
/// The first protocol version in which a client may send PING.
pub const PING_VERSION: u64 = 2;
/// The ALPN of the native protocol.
pub const ALPN: &[u8] = b"understudy/1";
/// Longest sealed token, in bytes.
pub const MAX_TOKEN: usize = 512;

/// The protocol versions that a process speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest one.
    pub oldest: u64,
    /// The newest one.
    pub newest: u64,
}

impl Versions {
    /// All that this code speaks.
    pub const ALL: Self = Self { oldest: OLDEST_VERSION, newest: VERSION };

    /// Those that this code speaks up to `newest`: what an older release speaks.
    pub fn up_to(newest: u64) -> Self {
        Self { newest: newest.clamp(OLDEST_VERSION, VERSION), ..Self::ALL }
    }

    /// The newest version that both these and a peer's range contain.
    pub fn common(self, oldest: u64, newest: u64) -> Option<u64> {
        let best = newest.min(self.newest);
        (best >= oldest.max(self.oldest)).then_some(best)
    }
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
    /// Slots are numbered from 0 to one less than this; 1 to [`MAX_SLOTS`].
    pub slots: u64,
    /// Requests that may be unanswered at one time; at least 1.
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

/// Asks whether the router is there. Answered at once, with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Chosen by who asks.
    pub number: u64,
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

/// Why a connection is closed: the application error code of QUIC's CONNECTION_CLOSE, on the
/// backplane too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum CloseCode {
    /// All is done, nothing is wrong.
    Done = 0,
    /// The peer broke the protocol; doing the same again will end the same.
    ProtocolViolation = 1,
    /// No common version, no such pool, or a certificate that does not vouch for the name.
    NotWelcome = 2,
    /// A newer session of the same client took over: do not reconnect.
    Superseded = 3,
    /// The closing side is shutting down: reconnect, to another one if there is.
    Shutdown = 4,
    /// No room, or no server that could be asked: come back later.
    TooBusy = 5,
}

impl CloseCode {
    /// Every code, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Done,
        Self::ProtocolViolation,
        Self::NotWelcome,
        Self::Superseded,
        Self::Shutdown,
        Self::TooBusy,
    ];

    /// The code as it goes over the wire.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The meaning of a code that a peer sent; `None` for one that this version does not know.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|known| u64::from(known.code()) == code)
    }
}

fn encode_token(out: &mut BytesMut, token: Option<&Bytes>) {
    put::bytes(out, token.map_or(&[][..], |token| token), MAX_TOKEN);
}

fn decode_token(reader: &mut Reader) -> Result<Bytes, DecodeError> {
    match reader.bytes("token", MAX_TOKEN)? {
        token if token.is_empty() => {
            Err(DecodeError::Invalid { what: "token", why: "it is empty" })
        }
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
            self.limits.encode(out);
        })
    }

    /// Reads the frame's payload.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let version = reader.varint("version", MAX_VARINT)?;
        let client = ClientId::decode(&mut reader)?;
        let token = decode_token(&mut reader)?;
        let assignment = Assignment::decode(&mut reader)?;
        let limits = Limits::decode(&mut reader)?;
        reader.finish("WELCOME")?;
        Ok(Self { version, client, token, assignment, limits })
    }
}

impl Limits {
    fn encode(&self, out: &mut BytesMut) {
        assert!(self.slots > 0 && self.in_flight > 0, "a client that may do nothing: {self:?}");
        put::limited(out, self.slots, MAX_SLOTS);
        put::varint(out, self.in_flight);
        put::varint(out, self.max_item);
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let limits = Self {
            slots: reader.varint("slot limit", MAX_SLOTS)?,
            in_flight: reader.varint("in-flight limit", MAX_VARINT)?,
            max_item: reader.varint("item limit", MAX_VARINT)?,
        };
        let nothing = |what| Err(DecodeError::Invalid { what, why: "it allows nothing" });
        match limits {
            Self { slots: 0, .. } => nothing("slot limit"),
            Self { in_flight: 0, .. } => nothing("in-flight limit"),
            limits => Ok(limits),
        }
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

impl Ping {
    /// Writes the frame that asks.
    pub fn encode(self) -> Frame {
        Frame::build(FrameType::Ping, MAX_PAYLOAD, |out| put::varint(out, self.number))
    }

    /// Writes the answer, PONG.
    pub fn answer(self) -> Frame {
        Frame::build(FrameType::Pong, MAX_PAYLOAD, |out| put::varint(out, self.number))
    }

    /// Reads the payload of a PING, or of a PONG, which has the same.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let number = reader.varint("number", MAX_VARINT)?;
        reader.finish("PING or PONG")?;
        Ok(Self { number })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_taken() {
        let all = Versions::ALL;
        assert_eq!(all.common(1, 1), Some(1), "a release that is one older");
        assert_eq!(all.common(1, 2), Some(2));
        assert_eq!(all.common(2, 9), Some(VERSION), "a newer peer that still speaks ours");
        assert_eq!(all.common(0, 1), Some(1), "an older peer that already speaks ours");
        assert_eq!(all.common(VERSION + 1, 9), None, "a peer that has dropped ours");
        assert_eq!(all.common(0, 0), None, "a peer that does not speak ours yet");
        assert_eq!(all.common(9, 1), None, "an empty range");
        let older = Versions::up_to(1);
        assert_eq!(older, Versions { oldest: 1, newest: 1 });
        assert_eq!(older.common(1, 2), Some(1), "told to speak no newer than 1");
        assert_eq!(older.common(2, 2), None);
    }

    #[test]
    fn close_codes_are_found_by_their_numbers() {
        for (number, code) in CloseCode::ALL.into_iter().enumerate() {
            assert_eq!(u64::from(code.code()), number as u64);
            assert_eq!(CloseCode::from_code(number as u64), Some(code));
        }
        assert_eq!(CloseCode::from_code(6), None);
    }

    #[test]
    fn a_client_that_may_do_nothing_is_not_welcome() {
        let read = |slots, in_flight| {
            let mut out = BytesMut::new();
            for number in [slots, in_flight, 0] {
                put::varint(&mut out, number);
            }
            Limits::decode(&mut Reader::new(&out.freeze()))
        };
        assert!(read(1, 1).is_ok() && read(MAX_SLOTS, MAX_VARINT).is_ok());
        assert!(read(0, 1).is_err() && read(1, 0).is_err() && read(MAX_SLOTS + 1, 1).is_err());
    }
}
