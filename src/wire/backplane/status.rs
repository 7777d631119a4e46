//! A server's numbers.

use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use crate::wire::types::Name;
use bytes::{BufMut, BytesMut};

/// Longest text of an address in a status.
pub const MAX_ADDRESS: usize = 64;

/// A server's numbers, pushed to every router and server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whose numbers.
    pub name: Name,
    /// Distinguishes runs of one name.
    pub incarnation: u64,
    /// Grows with every status of a run; a lower one is old news.
    pub sequence: u64,
    /// Where the server is; an alternate in another zone is preferred.
    pub zone: Option<Name>,
    /// What the server says of itself.
    pub state: SelfState,
    /// Clients it services.
    pub primary_clients: u64,
    /// Clients it would take over.
    pub alternate_clients: u64,
    /// With so many clients as primary it hands the next new one on.
    pub threshold: u64,
    /// With so many clients as primary it answers BUSY.
    pub capacity: u64,
    /// Clients it handed on so far.
    pub handed_on_clients: u64,
    /// Clients handed to it so far that it had to serve.
    pub must_served_clients: u64,
    /// Clients it dropped so far because they had been taken over.
    pub released_clients: u64,
    /// Its operating system process.
    pub pid: u64,
    /// Where its admin pages are; empty for nowhere.
    pub admin: String,
}

/// What a server says of its own state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SelfState {
    /// Serves.
    Ready = 0,
    /// Was paused, and is asking the others which of its clients were taken over.
    Returned = 1,
    /// Hands its clients over and takes no new ones.
    Draining = 2,
}

impl Status {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        self.name.encode(out);
        put::varint(out, self.incarnation);
        put::varint(out, self.sequence);
        Name::encode_option(self.zone.as_ref(), out);
        out.put_u8(self.state as u8);
        for number in [
            self.primary_clients,
            self.alternate_clients,
            self.threshold,
            self.capacity,
            self.handed_on_clients,
            self.must_served_clients,
            self.released_clients,
            self.pid,
        ] {
            put::varint(out, number);
        }
        put::bytes(out, self.admin.as_bytes(), MAX_ADDRESS);
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let name = Name::decode(reader)?;
        let incarnation = reader.varint("incarnation", MAX_VARINT)?;
        let sequence = reader.varint("sequence", MAX_VARINT)?;
        let zone = Name::decode_option(reader)?;
        let state = match reader.byte("state")? {
            0 => SelfState::Ready,
            1 => SelfState::Returned,
            2 => SelfState::Draining,
            found => return Err(DecodeError::Unknown { what: "state", found: found.into() }),
        };
        let mut number = |what| reader.varint(what, MAX_VARINT);
        Ok(Self {
            name,
            incarnation,
            sequence,
            zone,
            state,
            primary_clients: number("primary clients")?,
            alternate_clients: number("alternate clients")?,
            threshold: number("threshold")?,
            capacity: number("capacity")?,
            handed_on_clients: number("handed-on clients")?,
            must_served_clients: number("must-served clients")?,
            released_clients: number("released clients")?,
            pid: number("process id")?,
            admin: reader.text("admin address", MAX_ADDRESS)?.to_owned(),
        })
    }
}
