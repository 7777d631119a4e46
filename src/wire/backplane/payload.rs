//! How the fields of each [`Message`] are written and read.

use super::forward::{decode_former, encode_former};
use super::{Forward, Holds, MAX_PULLED, Message, Status, UseCachedBy};
use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use crate::wire::frame::{Frame, FrameType, MAX_BACKPLANE_PAYLOAD, MAX_PAYLOAD};
use crate::wire::gather::Gather;
use crate::wire::lane::{MAX_SLOTS, Reply};
use crate::wire::types::{Assignment, ClientId, Digest, Epoch, Fingerprint, Key, Name, Tag};
use bytes::{BufMut, Bytes, BytesMut};

impl Message {
    /// Writes all but the inner frame, if there is one.
    pub(super) fn encode_payload(&self, out: &mut BytesMut) {
        match self {
            Self::Forward(forward) => forward.encode(out),
            Self::Reply { request_id, assignment, by, inner: _ } => {
                put::varint(out, *request_id);
                encode_assignment_option(assignment.as_ref(), out);
                out.put_u8(by.map_or(0, |by| by as u8));
            }
            Self::NotOwner { request_id, known } => {
                put::varint(out, *request_id);
                encode_assignment_option(known.as_ref(), out);
            }
            Self::HandedOn { request_id, to } => {
                put::varint(out, *request_id);
                to.encode(out);
            }
            Self::WrongWorker { request_id, workers } => {
                put::varint(out, *request_id);
                put::varint(out, *workers);
            }
            Self::Status(status) => status.encode(out),
            Self::AssignmentChanged { .. }
            | Self::MirrorRefused { .. }
            | Self::HandedOver { .. }
            | Self::MirrorBegin { .. }
            | Self::HandOver { .. }
            | Self::Mirror { .. }
            | Self::MirrorAck { .. }
            | Self::MirrorEnd { .. }
            | Self::Release { .. }
            | Self::Released { .. } => self.encode_of_client(out),
            Self::Pull { number, digest, offset } => {
                put::varint(out, *number);
                digest.encode(out);
                put::varint(out, *offset);
            }
            Self::Pulled { number, offset, bytes } => {
                put::varint(out, *number);
                put::varint(out, *offset);
                out.put_u8(u8::from(bytes.is_some()));
                if let Some(bytes) = bytes {
                    put::bytes(out, bytes, MAX_PULLED);
                }
            }
            Self::Returned { round: number }
            | Self::Settled { round: number }
            | Self::Ping { number }
            | Self::Pong { number }
            | Self::WantBody { request_id: number }
            | Self::Cancel { request_id: number } => put::varint(out, *number),
            Self::WhoHolds { query, client } => {
                put::varint(out, *query);
                client.encode(out);
            }
            Self::Holds { query, client, holds } => {
                put::varint(out, *query);
                client.encode(out);
                holds.encode(out);
            }
        }
    }

    /// Frames about one client's mirror.
    fn encode_of_client(&self, out: &mut BytesMut) {
        match self {
            Self::AssignmentChanged { client, assignment }
            | Self::MirrorRefused { client, assignment }
            | Self::HandedOver { client, assignment } => {
                client.encode(out);
                assignment.encode(out);
            }
            Self::MirrorBegin { client, epoch, former }
            | Self::HandOver { client, epoch, former } => {
                client.encode(out);
                epoch.encode(out);
                encode_former(former, out);
            }
            Self::Mirror { client, epoch, sequence, slot, key, version } => {
                client.encode(out);
                epoch.encode(out);
                put::varint(out, *sequence);
                put::limited(out, *slot, MAX_SLOTS - 1);
                key.encode(out);
                encode_version_option(version.as_ref(), out);
            }
            Self::MirrorAck { client, epoch, sequence } => {
                client.encode(out);
                epoch.encode(out);
                put::varint(out, *sequence);
            }
            Self::MirrorEnd { client, epoch }
            | Self::Release { client, epoch }
            | Self::Released { client, epoch } => {
                client.encode(out);
                epoch.encode(out);
            }
            _ => unreachable!("the caller has matched it"),
        }
    }

    pub(super) fn decode_payload(
        kind: FrameType,
        reader: &mut Reader,
    ) -> Result<Self, DecodeError> {
        let number = |reader: &mut Reader, what| reader.varint(what, MAX_VARINT);
        Ok(match kind {
            FrameType::Forward | FrameType::Resume => Self::Forward(Forward::decode(kind, reader)?),
            FrameType::Reply => Self::decode_reply(reader)?,
            FrameType::NotOwner => Self::NotOwner {
                request_id: number(reader, "request id")?,
                known: decode_assignment_option(reader)?,
            },
            FrameType::HandedOn => Self::HandedOn {
                request_id: number(reader, "request id")?,
                to: Name::decode(reader)?,
            },
            FrameType::WrongWorker => Self::WrongWorker {
                request_id: number(reader, "request id")?,
                workers: number(reader, "workers")?,
            },
            FrameType::Status => Self::Status(Status::decode(reader)?),
            FrameType::AssignmentChanged | FrameType::MirrorRefused | FrameType::HandedOver => {
                Self::decode_assigned(kind, reader)?
            }
            FrameType::MirrorBegin | FrameType::HandOver => Self::decode_former(kind, reader)?,
            FrameType::MirrorAck => Self::MirrorAck {
                client: ClientId::decode(reader)?,
                epoch: Epoch::decode(reader)?,
                sequence: number(reader, "sequence")?,
            },
            FrameType::Mirror => Self::decode_mirror(reader)?,
            FrameType::MirrorEnd | FrameType::Release | FrameType::Released => {
                let client = ClientId::decode(reader)?;
                let epoch = Epoch::decode(reader)?;
                match kind {
                    FrameType::MirrorEnd => Self::MirrorEnd { client, epoch },
                    FrameType::Release => Self::Release { client, epoch },
                    _ => Self::Released { client, epoch },
                }
            }
            FrameType::Returned => Self::Returned { round: number(reader, "round")? },
            FrameType::Settled => Self::Settled { round: number(reader, "round")? },
            FrameType::WhoHolds => Self::WhoHolds {
                query: number(reader, "query")?,
                client: ClientId::decode(reader)?,
            },
            FrameType::Holds => Self::decode_holds(reader)?,
            FrameType::Pull => Self::Pull {
                number: number(reader, "number")?,
                digest: Digest::decode(reader)?,
                offset: number(reader, "offset")?,
            },
            FrameType::Pulled => Self::decode_pulled(reader)?,
            FrameType::Ping => Self::Ping { number: number(reader, "number")? },
            FrameType::Pong => Self::Pong { number: number(reader, "number")? },
            FrameType::Cancel => Self::Cancel { request_id: number(reader, "request id")? },
            FrameType::WantBody => Self::WantBody { request_id: number(reader, "request id")? },
            other => {
                let found = other as u64;
                return Err(DecodeError::Unknown { what: "backplane frame type", found });
            }
        })
    }

    fn decode_reply(reader: &mut Reader) -> Result<Self, DecodeError> {
        let request_id = reader.varint("request id", MAX_VARINT)?;
        let assignment = decode_assignment_option(reader)?;
        let by = match reader.byte("use-cached reason")? {
            0 => None,
            1 => Some(UseCachedBy::Mirror),
            2 => Some(UseCachedBy::Crc),
            3 => Some(UseCachedBy::Strong),
            found => {
                let what = "use-cached reason";
                return Err(DecodeError::Unknown { what, found: found.into() });
            }
        };
        let inner = Frame::read(reader, MAX_PAYLOAD)?;
        Ok(Self::Reply { request_id, assignment, by, inner })
    }

    /// Frames that give an assignment.
    fn decode_assigned(kind: FrameType, reader: &mut Reader) -> Result<Self, DecodeError> {
        let client = ClientId::decode(reader)?;
        let assignment = Assignment::decode(reader)?;
        Ok(match kind {
            FrameType::AssignmentChanged => Self::AssignmentChanged { client, assignment },
            FrameType::MirrorRefused => Self::MirrorRefused { client, assignment },
            _ => Self::HandedOver { client, assignment },
        })
    }

    /// Frames that name the servers to which releases are owed.
    fn decode_former(kind: FrameType, reader: &mut Reader) -> Result<Self, DecodeError> {
        let client = ClientId::decode(reader)?;
        let epoch = Epoch::decode(reader)?;
        let former = decode_former(reader)?;
        Ok(match kind {
            FrameType::MirrorBegin => Self::MirrorBegin { client, epoch, former },
            _ => Self::HandOver { client, epoch, former },
        })
    }

    fn decode_mirror(reader: &mut Reader) -> Result<Self, DecodeError> {
        let client = ClientId::decode(reader)?;
        let epoch = Epoch::decode(reader)?;
        let sequence = reader.varint("sequence", MAX_VARINT)?;
        let slot = reader.varint("slot", MAX_SLOTS - 1)?;
        let key = Key::decode(reader)?;
        let version = match reader.byte("presence of a version")? {
            0 => None,
            1 => Some(Fingerprint::decode(reader)?),
            found => {
                let what = "presence of a version";
                return Err(DecodeError::Unknown { what, found: found.into() });
            }
        };
        Ok(Self::Mirror { client, epoch, sequence, slot, key, version })
    }

    fn decode_pulled(reader: &mut Reader) -> Result<Self, DecodeError> {
        let number = reader.varint("number", MAX_VARINT)?;
        let offset = reader.varint("offset", MAX_VARINT)?;
        let bytes = match reader.byte("presence of bytes")? {
            0 => None,
            1 => Some(reader.bytes("bytes", MAX_PULLED)?),
            found => {
                let what = "presence of bytes";
                return Err(DecodeError::Unknown { what, found: found.into() });
            }
        };
        Ok(Self::Pulled { number, offset, bytes })
    }

    fn decode_holds(reader: &mut Reader) -> Result<Self, DecodeError> {
        let query = reader.varint("query", MAX_VARINT)?;
        let client = ClientId::decode(reader)?;
        Ok(Self::Holds { query, client, holds: Holds::decode(reader)? })
    }
}

fn decode_assignment_option(reader: &mut Reader) -> Result<Option<Assignment>, DecodeError> {
    match reader.byte("presence of an assignment")? {
        0 => Ok(None),
        1 => Assignment::decode(reader).map(Some),
        found => {
            let what = "presence of an assignment";
            Err(DecodeError::Unknown { what, found: found.into() })
        }
    }
}

fn encode_version_option(version: Option<&Fingerprint>, out: &mut BytesMut) {
    out.put_u8(u8::from(version.is_some()));
    if let Some(version) = version {
        version.encode(out);
    }
}

fn encode_assignment_option(assignment: Option<&Assignment>, out: &mut BytesMut) {
    out.put_u8(u8::from(assignment.is_some()));
    if let Some(assignment) = assignment {
        assignment.encode(out);
    }
}

/// REPLY around USE_CACHED, without an assignment: what most replies are.
pub fn use_cached_frame(request_id: u64, by: UseCachedBy, inner_id: u64, tag: &Tag) -> Frame {
    let inner = put::varint_size(inner_id) + tag.0.len();
    let length = put::varint_size(request_id) + 4 + inner;
    Frame::build_exact(FrameType::Reply, MAX_BACKPLANE_PAYLOAD, length, |out| {
        put::varint(out, request_id);
        out.put_slice(&[0, by as u8, FrameType::UseCached as u8, inner as u8]);
        put::varint(out, inner_id);
        tag.encode(out);
    })
}

/// Writes REPLY around a reply that is not a frame yet, among others.
pub fn gather_reply(
    out: &mut Gather,
    request_id: u64,
    assignment: Option<&Assignment>,
    by: Option<UseCachedBy>,
    reply: &Reply,
) {
    let shared = reply.shared();
    let rest = shared.map_or(0, Bytes::len);
    out.frame(FrameType::Reply, MAX_BACKPLANE_PAYLOAD, rest, |out| {
        put::varint(out, request_id);
        encode_assignment_option(assignment, out);
        out.put_u8(by.map_or(0, |by| by as u8));
        reply.append(out);
    });
    if let Some(shared) = shared {
        out.share(shared.clone());
    }
}
