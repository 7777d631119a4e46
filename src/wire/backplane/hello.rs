//! The first frame of a backplane connection, each way.

use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use crate::wire::frame::{Frame, FrameType, MAX_BACKPLANE_PAYLOAD};
use crate::wire::types::Name;
use bytes::BufMut;

/// The first version of the protocol in which a server says which pool it is of.
pub const POOL_SINCE: u64 = 4;

/// What a member of the backplane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// Terminates clients.
    Router = 0,
    /// Owns clients and mirrors.
    Server = 1,
}

impl Role {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Server => "server",
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        match reader.byte("role")? {
            0 => Ok(Self::Router),
            1 => Ok(Self::Server),
            found => Err(DecodeError::Unknown { what: "role", found: found.into() }),
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Frames, on one bidirectional stream.
    Frames = 0,
    /// Bodies, each on a stream of its own, so that slow readers never hold up frames.
    Bodies = 1,
    /// Membership, on one bidirectional stream. Since version 2.
    Gossip = 2,
}

/// Who dials, what for. First frame of a backplane connection; answered by the same in reverse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// The oldest version that the sender speaks.
    pub oldest: u64,
    /// The newest version that the sender speaks.
    pub newest: u64,
    /// What the sender is; its certificate must say so too.
    pub role: Role,
    /// Who the sender is; its certificate must say so too.
    pub name: Name,
    /// What the connection is for.
    pub purpose: Purpose,
    /// Distinguishes runs of one name: a later run has a higher number.
    pub incarnation: u64,
    /// How many workers the sender has.
    pub workers: u64,
    /// Which of them opened, or answers, this connection.
    pub worker: u64,
    /// The pool that a server is of. Only SERVER_WELCOME has it, and only where both sides speak
    /// [`POOL_SINCE`]: who dials does not know yet what the other side can read.
    pub pool: Option<Name>,
}

impl ServerHello {
    /// Writes the frame: SERVER_HELLO from the side that dials, SERVER_WELCOME from the other.
    ///
    /// # Panics
    /// If a SERVER_HELLO is to have a pool.
    pub fn encode(&self, kind: FrameType) -> Frame {
        assert!(self.pool.is_none() || kind == FrameType::ServerWelcome, "a {kind:?} has no pool");
        Frame::build(kind, MAX_BACKPLANE_PAYLOAD, |out| {
            put::varint(out, self.oldest);
            put::varint(out, self.newest);
            out.put_u8(self.role as u8);
            self.name.encode(out);
            out.put_u8(self.purpose as u8);
            put::varint(out, self.incarnation);
            put::varint(out, self.workers);
            put::varint(out, self.worker);
            if let Some(pool) = &self.pool {
                pool.encode(out);
            }
        })
    }

    /// Reads the payload of a SERVER_HELLO.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let hello = Self::decode_common(&mut reader)?;
        reader.finish("hello")?;
        Ok(hello)
    }

    /// Reads the payload of a SERVER_WELCOME.
    pub fn decode_welcome(mut reader: Reader) -> Result<Self, DecodeError> {
        let mut welcome = Self::decode_common(&mut reader)?;
        if reader.remaining() > 0 {
            welcome.pool = Some(Name::decode(&mut reader)?);
        }
        reader.finish("hello")?;
        Ok(welcome)
    }

    fn decode_common(reader: &mut Reader) -> Result<Self, DecodeError> {
        let oldest = reader.varint("oldest version", MAX_VARINT)?;
        let newest = reader.varint("newest version", MAX_VARINT)?;
        let role = Role::decode(reader)?;
        let name = Name::decode(reader)?;
        let purpose = match reader.byte("purpose")? {
            0 => Purpose::Frames,
            1 => Purpose::Bodies,
            2 => Purpose::Gossip,
            found => return Err(DecodeError::Unknown { what: "purpose", found: found.into() }),
        };
        let incarnation = reader.varint("incarnation", MAX_VARINT)?;
        let workers = reader.varint("workers", MAX_VARINT)?;
        let worker = reader.varint("worker", MAX_VARINT)?;
        let pool = None;
        Ok(Self { oldest, newest, role, name, purpose, incarnation, workers, worker, pool })
    }
}
