//! Who holds which client's mirror.

use crate::wire::codec::{DecodeError, Reader, put};
use crate::wire::lane::MAX_SLOTS;
use crate::wire::types::{Assignment, Epoch};
use bytes::{BufMut, BytesMut};

/// Which mirror a server holds of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Whether it services the client, or would take over.
    pub as_primary: bool,
    /// The assignment it knows of.
    pub assignment: Assignment,
    /// Entries in its mirror.
    pub entries: u64,
}

/// What a server answers when it is asked who holds a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It knows nothing of the client.
    Nothing,
    /// It holds a mirror.
    Mirror(Holding),
    /// It holds none, and has let go of the client in this epoch: nothing lower is true of it.
    Released(Epoch),
}

impl Holds {
    /// The first protocol version that knows [`Holds::Released`].
    pub const RELEASED_SINCE: u64 = 2;

    /// The mirror, if there is one.
    pub fn mirror(self) -> Option<Holding> {
        match self {
            Self::Mirror(holding) => Some(holding),
            Self::Nothing | Self::Released(_) => None,
        }
    }
}

impl Holds {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Nothing => out.put_u8(0),
            Self::Mirror(holding) => {
                out.put_u8(if holding.as_primary { 1 } else { 2 });
                holding.assignment.encode(out);
                put::limited(out, holding.entries, MAX_SLOTS);
            }
            Self::Released(epoch) => {
                out.put_u8(3);
                epoch.encode(out);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let as_primary = match reader.byte("presence of a mirror")? {
            0 => return Ok(Self::Nothing),
            1 => true,
            2 => false,
            3 => return Epoch::decode(reader).map(Self::Released),
            found => {
                let what = "presence of a mirror";
                return Err(DecodeError::Unknown { what, found: found.into() });
            }
        };
        let assignment = Assignment::decode(reader)?;
        let entries = reader.varint("mirror entries", MAX_SLOTS)?;
        Ok(Self::Mirror(Holding { as_primary, assignment, entries }))
    }
}
