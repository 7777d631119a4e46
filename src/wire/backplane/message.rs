//! Every frame of the backplane but the hello, as one type.

use super::{Forward, Holds, Status, UseCachedBy};
use crate::wire::codec::DecodeError;
use crate::wire::frame::{Frame, FrameType, MAX_BACKPLANE_PAYLOAD};
use crate::wire::gather::Gather;
use crate::wire::types::{Assignment, ClientId, Digest, Epoch, Fingerprint, Key, Name};
use bytes::Bytes;

/// Bytes in one PULLED, at the most.
pub const MAX_PULLED: usize = 16 * 1024;
/// The first protocol version with PULL.
pub const PULL_VERSION: u64 = 3;

/// Every frame of the backplane but the hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request on its way to a server.
    Forward(Forward),
    /// The answer to a request.
    Reply {
        /// The router's number for the request.
        request_id: u64,
        /// Given where it differs from what the router asked under.
        assignment: Option<Assignment>,
        /// Given with USE_CACHED.
        by: Option<UseCachedBy>,
        /// The frame for the client, as it is.
        inner: Frame,
    },
    /// The server does not list the client as primary.
    NotOwner {
        /// The router's number for the request.
        request_id: u64,
        /// What it knows of who does.
        known: Option<Assignment>,
    },
    /// The server is over its threshold: ask this one, which must serve.
    HandedOn {
        /// The router's number for the request.
        request_id: u64,
        /// The second server.
        to: Name,
    },
    /// Another worker of this server owns the client.
    WrongWorker {
        /// The router's number for the request.
        request_id: u64,
        /// How many workers the server has now.
        workers: u64,
    },
    /// A server's numbers.
    Status(Status),
    /// The primary has a new alternate.
    AssignmentChanged {
        /// Whose assignment.
        client: ClientId,
        /// The new one.
        assignment: Assignment,
    },
    /// Starts (again) the mirror that the receiver holds as alternate, empty.
    MirrorBegin {
        /// Whose mirror.
        client: ClientId,
        /// The primary's epoch.
        epoch: Epoch,
        /// Servers to which a release is still owed.
        former: Vec<Name>,
    },
    /// One entry of the mirror changed.
    Mirror {
        /// Whose mirror.
        client: ClientId,
        /// The primary's epoch.
        epoch: Epoch,
        /// Counts the entries sent since MIRROR_BEGIN, from 1.
        sequence: u64,
        /// Which entry.
        slot: u64,
        /// What the slot holds now.
        key: Key,
        /// The version that the client holds, when that is known.
        version: Option<Fingerprint>,
    },
    /// The receiver is no longer the alternate.
    MirrorEnd {
        /// Whose mirror.
        client: ClientId,
        /// The epoch in which it was.
        epoch: Epoch,
    },
    /// The receiver's epoch for a client is lower than the sender's.
    MirrorRefused {
        /// Whose mirror.
        client: ClientId,
        /// What the sender knows.
        assignment: Assignment,
    },
    /// So much of a mirror has come. Version 2.
    MirrorAck {
        /// Whose mirror.
        client: ClientId,
        /// The primary's epoch.
        epoch: Epoch,
        /// The newest entry that is in the mirror.
        sequence: u64,
    },
    /// The receiver holds the whole mirror, and is to become primary in the next term. Version 2.
    HandOver {
        /// Whose assignment.
        client: ClientId,
        /// The sender's epoch, in which the receiver is the alternate.
        epoch: Epoch,
        /// Servers to which a release is still owed.
        former: Vec<Name>,
    },
    /// The sender has become primary. Version 2.
    HandedOver {
        /// Whose assignment.
        client: ClientId,
        /// What it is now.
        assignment: Assignment,
    },
    /// The client was taken from the receiver.
    Release {
        /// Whose assignment.
        client: ClientId,
        /// Drops only what is lower.
        epoch: Epoch,
    },
    /// Pays a release.
    Released {
        /// Whose assignment.
        client: ClientId,
        /// The epoch that the release named.
        epoch: Epoch,
    },
    /// The sender was paused, and asks what it is owed.
    Returned {
        /// Repeated in the answer.
        round: u64,
    },
    /// All releases owed to the receiver have been sent before this.
    Settled {
        /// From the question.
        round: u64,
    },
    /// Which mirror do you hold of this client?
    WhoHolds {
        /// Repeated in the answer.
        query: u64,
        /// Whose.
        client: ClientId,
    },
    /// The answer.
    Holds {
        /// From the question.
        query: u64,
        /// Whose.
        client: ClientId,
        /// What there is.
        holds: Holds,
    },
    /// Send the bytes of this version, from this one on. Version 3.
    Pull {
        /// Repeated in the answer.
        number: u64,
        /// Which version.
        digest: Digest,
        /// The first byte that is wanted.
        offset: u64,
    },
    /// Some of the bytes, or word that they are not here any more. Version 3.
    Pulled {
        /// From the question.
        number: u64,
        /// The place of the first byte in the version.
        offset: u64,
        /// None where the version is not here; the last piece is the one that is shorter than
        /// [`MAX_PULLED`].
        bytes: Option<Bytes>,
    },
    /// Are you there?
    Ping {
        /// Repeated in the answer.
        number: u64,
    },
    /// Yes.
    Pong {
        /// From the question.
        number: u64,
    },
    /// The request's answer is no longer wanted.
    Cancel {
        /// The router's number for the request.
        request_id: u64,
    },
    /// The server has taken an HTTP request, and wants its content. Version 4.
    WantBody {
        /// The router's number for the request.
        request_id: u64,
    },
}

impl Message {
    /// The type of the frame that carries it.
    pub fn frame_type(&self) -> FrameType {
        match self {
            Self::Forward(forward) => forward.frame_type(),
            Self::Reply { .. } => FrameType::Reply,
            Self::NotOwner { .. } => FrameType::NotOwner,
            Self::HandedOn { .. } => FrameType::HandedOn,
            Self::WrongWorker { .. } => FrameType::WrongWorker,
            Self::Status(_) => FrameType::Status,
            Self::AssignmentChanged { .. } => FrameType::AssignmentChanged,
            Self::MirrorBegin { .. } => FrameType::MirrorBegin,
            Self::Mirror { .. } => FrameType::Mirror,
            Self::MirrorEnd { .. } => FrameType::MirrorEnd,
            Self::MirrorRefused { .. } => FrameType::MirrorRefused,
            Self::MirrorAck { .. } => FrameType::MirrorAck,
            Self::HandOver { .. } => FrameType::HandOver,
            Self::HandedOver { .. } => FrameType::HandedOver,
            Self::Release { .. } => FrameType::Release,
            Self::Released { .. } => FrameType::Released,
            Self::Returned { .. } => FrameType::Returned,
            Self::Settled { .. } => FrameType::Settled,
            Self::WhoHolds { .. } => FrameType::WhoHolds,
            Self::Holds { .. } => FrameType::Holds,
            Self::Pull { .. } => FrameType::Pull,
            Self::Pulled { .. } => FrameType::Pulled,
            Self::Ping { .. } => FrameType::Ping,
            Self::Pong { .. } => FrameType::Pong,
            Self::Cancel { .. } => FrameType::Cancel,
            Self::WantBody { .. } => FrameType::WantBody,
        }
    }

    /// The first protocol version that has it.
    pub fn since(&self) -> u64 {
        match self {
            Self::MirrorAck { .. } | Self::HandOver { .. } | Self::HandedOver { .. } => 2,
            Self::Holds { holds: Holds::Released(_), .. } => Holds::RELEASED_SINCE,
            Self::Pull { .. } | Self::Pulled { .. } => PULL_VERSION,
            _ => 1,
        }
    }

    /// The frame.
    pub fn encode(&self) -> Frame {
        Frame::build(self.frame_type(), MAX_BACKPLANE_PAYLOAD, |out| {
            self.encode_payload(out);
            if let Some(inner) = self.inner() {
                out.extend_from_slice(inner.bytes());
            }
        })
    }

    /// Writes the frame among others.
    pub fn gather(&self, out: &mut Gather) {
        let inner = self.inner();
        let rest = inner.map_or(0, |inner| inner.bytes().len());
        out.frame(self.frame_type(), MAX_BACKPLANE_PAYLOAD, rest, |out| self.encode_payload(out));
        if let Some(inner) = inner {
            out.push(inner);
        }
    }

    /// The frame that ends this one.
    fn inner(&self) -> Option<&Frame> {
        match self {
            Self::Forward(Forward { inner, .. }) | Self::Reply { inner, .. } => Some(inner),
            _ => None,
        }
    }

    /// Reads a frame.
    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.payload();
        let message = Self::decode_payload(frame.kind(), &mut reader)?;
        reader.finish("backplane frame")?;
        Ok(message)
    }
}
