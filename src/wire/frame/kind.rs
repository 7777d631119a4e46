//! What a frame can be.

use crate::wire::codec::DecodeError;

/// What a frame is. The number is its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "docs/protocol.md describes each frame where its fields are")]
pub enum FrameType {
    Hello = 0x01,
    Welcome = 0x02,
    Assigned = 0x03,
    Goaway = 0x04,

    Get = 0x10,
    Batch = 0x11,
    Call = 0x12,
    Inventory = 0x13,
    HttpRequest = 0x14,

    UseCached = 0x20,
    Full = 0x21,
    Delta = 0x22,
    NotFound = 0x23,
    UnknownSlot = 0x24,
    Busy = 0x25,
    FateUnknown = 0x26,
    Error = 0x27,
    BatchReply = 0x28,
    CallReply = 0x29,
    Noted = 0x2a,
    HttpReply = 0x2b,

    Body = 0x30,

    ServerHello = 0x40,
    ServerWelcome = 0x41,
    Forward = 0x42,
    Reply = 0x43,
    NotOwner = 0x44,
    HandedOn = 0x45,
    WrongWorker = 0x46,
    Status = 0x47,
    AssignmentChanged = 0x48,
    MirrorBegin = 0x49,
    Mirror = 0x4a,
    MirrorEnd = 0x4b,
    MirrorRefused = 0x4c,
    Pull = 0x4d,
    HandOver = 0x4e,
    Release = 0x4f,
    Released = 0x50,
    Returned = 0x51,
    Settled = 0x52,
    WhoHolds = 0x53,
    Holds = 0x54,
    Ping = 0x55,
    Pong = 0x56,
    Cancel = 0x57,
    Resume = 0x58,
    HandedOver = 0x5a,
    MirrorAck = 0x5b,
    Pulled = 0x5c,
    WantBody = 0x5d,

    Gossip = 0x60,
}

impl FrameType {
    /// Every type, in the order of their numbers.
    pub const ALL: [Self; 52] = {
        use FrameType::*;
        [
            Hello,
            Welcome,
            Assigned,
            Goaway,
            Get,
            Batch,
            Call,
            Inventory,
            HttpRequest,
            UseCached,
            Full,
            Delta,
            NotFound,
            UnknownSlot,
            Busy,
            FateUnknown,
            Error,
            BatchReply,
            CallReply,
            Noted,
            HttpReply,
            Body,
            ServerHello,
            ServerWelcome,
            Forward,
            Reply,
            NotOwner,
            HandedOn,
            WrongWorker,
            Status,
            AssignmentChanged,
            MirrorBegin,
            Mirror,
            MirrorEnd,
            MirrorRefused,
            Pull,
            HandOver,
            Release,
            Released,
            Returned,
            Settled,
            WhoHolds,
            Holds,
            Ping,
            Pong,
            Cancel,
            Resume,
            HandedOver,
            MirrorAck,
            Pulled,
            WantBody,
            Gossip,
        ]
    };

    /// The type with this number.
    pub fn from_byte(byte: u8) -> Result<Self, DecodeError> {
        const BY_BYTE: [Option<FrameType>; 256] = {
            let mut by_byte = [None; 256];
            let mut place = 0;
            while place < FrameType::ALL.len() {
                by_byte[FrameType::ALL[place] as usize] = Some(FrameType::ALL[place]);
                place += 1;
            }
            by_byte
        };
        let found = u64::from(byte);
        BY_BYTE[usize::from(byte)].ok_or(DecodeError::Unknown { what: "frame type", found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_found() {
        for kind in FrameType::ALL {
            assert_eq!(FrameType::from_byte(kind as u8), Ok(kind));
        }
        assert!(FrameType::from_byte(0).is_err());
    }
}
