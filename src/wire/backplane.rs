//! Frames of the backplane: between routers and servers, and among servers.

use super::codec::{DecodeError, MAX_VARINT, Reader, put};
use super::frame::{Frame, FrameType, MAX_BACKPLANE_PAYLOAD, MAX_PAYLOAD};
use super::lane::MAX_SLOTS;
use super::types::{Assignment, ClientId, Epoch, Fingerprint, Key, Name};
use bytes::{BufMut, BytesMut};

/// The ALPN of the backplane.
pub const ALPN: &[u8] = b"understudy-backplane/1";
/// Servers to which a release may be owed for one client, at the most.
pub const MAX_FORMER: usize = 8;
/// Longest text of an address in a status.
pub const MAX_ADDRESS: usize = 64;

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
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Frames, on one bidirectional stream.
    Frames = 0,
    /// Bodies, each on a stream of its own, so that slow readers never hold up frames.
    Bodies = 1,
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
}

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
    /// The epoch in which the router asks.
    pub epoch: Epoch,
    /// Under what title.
    pub how: How,
    /// How long the answer is of use, in milliseconds from now.
    pub deadline_ms: u64,
    /// Servers that may still list the client from lower epochs.
    pub former: Vec<Name>,
    /// The client's frame, as it came.
    pub inner: Frame,
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
        /// The mirror, if any.
        holding: Option<Holding>,
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
}

impl ServerHello {
    /// Writes the frame: SERVER_HELLO from the side that dials, SERVER_WELCOME from the other.
    pub fn encode(&self, kind: FrameType) -> Frame {
        Frame::build(kind, MAX_BACKPLANE_PAYLOAD, |out| {
            put::varint(out, self.oldest);
            put::varint(out, self.newest);
            out.put_u8(self.role as u8);
            self.name.encode(out);
            out.put_u8(self.purpose as u8);
            put::varint(out, self.incarnation);
            put::varint(out, self.workers);
        })
    }

    /// Reads the frame's payload.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let oldest = reader.varint("oldest version", MAX_VARINT)?;
        let newest = reader.varint("newest version", MAX_VARINT)?;
        let role = match reader.byte("role")? {
            0 => Role::Router,
            1 => Role::Server,
            found => return Err(DecodeError::Unknown { what: "role", found: found.into() }),
        };
        let name = Name::decode(&mut reader)?;
        let purpose = match reader.byte("purpose")? {
            0 => Purpose::Frames,
            1 => Purpose::Bodies,
            found => return Err(DecodeError::Unknown { what: "purpose", found: found.into() }),
        };
        let incarnation = reader.varint("incarnation", MAX_VARINT)?;
        let workers = reader.varint("workers", MAX_VARINT)?;
        reader.finish("hello")?;
        Ok(Self { oldest, newest, role, name, purpose, incarnation, workers })
    }
}

impl How {
    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match reader.byte("title")? {
            0 => Self::Known,
            1 => Self::Assign,
            2 => Self::HandedOn,
            3 => Self::Takeover,
            4 => Self::Standby,
            found => return Err(DecodeError::Unknown { what: "title", found: found.into() }),
        })
    }
}

fn encode_former(former: &[Name], out: &mut BytesMut) {
    assert!(former.len() <= MAX_FORMER, "{} former servers", former.len());
    put::varint(out, former.len() as u64);
    former.iter().for_each(|name| name.encode(out));
}

fn decode_former(reader: &mut Reader) -> Result<Vec<Name>, DecodeError> {
    let count = reader.varint("count of former servers", MAX_FORMER as u64)?;
    (0..count).map(|_| Name::decode(reader)).collect()
}

impl Forward {
    fn encode(&self, out: &mut BytesMut) {
        put::varint(out, self.request_id);
        self.client.encode(out);
        self.epoch.encode(out);
        out.put_u8(self.how as u8);
        put::varint(out, self.deadline_ms);
        encode_former(&self.former, out);
        out.extend_from_slice(self.inner.bytes());
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            request_id: reader.varint("request id", MAX_VARINT)?,
            client: ClientId::decode(reader)?,
            epoch: Epoch::decode(reader)?,
            how: How::decode(reader)?,
            deadline_ms: reader.varint("deadline", MAX_VARINT)?,
            former: decode_former(reader)?,
            inner: Frame::parse(reader.rest(), MAX_PAYLOAD)?,
        })
    }
}

impl Status {
    fn encode(&self, out: &mut BytesMut) {
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

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
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
            admin: reader.text("admin address", MAX_ADDRESS)?,
        })
    }
}

impl Holding {
    fn encode(&self, out: &mut BytesMut) {
        self.assignment.encode(out);
        put::varint(out, self.entries);
    }

    fn decode(as_primary: bool, reader: &mut Reader) -> Result<Self, DecodeError> {
        let assignment = Assignment::decode(reader)?;
        let entries = reader.varint("mirror entries", MAX_SLOTS)?;
        Ok(Self { as_primary, assignment, entries })
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

fn encode_assignment_option(assignment: Option<&Assignment>, out: &mut BytesMut) {
    out.put_u8(u8::from(assignment.is_some()));
    if let Some(assignment) = assignment {
        assignment.encode(out);
    }
}

impl Message {
    /// The type of the frame that carries it.
    pub fn frame_type(&self) -> FrameType {
        match self {
            Self::Forward(_) => FrameType::Forward,
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
            Self::Release { .. } => FrameType::Release,
            Self::Released { .. } => FrameType::Released,
            Self::Returned { .. } => FrameType::Returned,
            Self::Settled { .. } => FrameType::Settled,
            Self::WhoHolds { .. } => FrameType::WhoHolds,
            Self::Holds { .. } => FrameType::Holds,
            Self::Ping { .. } => FrameType::Ping,
            Self::Pong { .. } => FrameType::Pong,
            Self::Cancel { .. } => FrameType::Cancel,
        }
    }

    /// Writes the frame.
    pub fn encode(&self) -> Frame {
        Frame::build(self.frame_type(), MAX_BACKPLANE_PAYLOAD, |out| self.encode_payload(out))
    }

    fn encode_payload(&self, out: &mut BytesMut) {
        match self {
            Self::Forward(forward) => forward.encode(out),
            Self::Reply { request_id, assignment, by, inner } => {
                put::varint(out, *request_id);
                encode_assignment_option(assignment.as_ref(), out);
                out.put_u8(by.map_or(0, |by| by as u8));
                out.extend_from_slice(inner.bytes());
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
            Self::AssignmentChanged { client, assignment }
            | Self::MirrorRefused { client, assignment } => {
                client.encode(out);
                assignment.encode(out);
            }
            Self::MirrorBegin { client, epoch, former } => {
                client.encode(out);
                epoch.encode(out);
                encode_former(former, out);
            }
            Self::Mirror { client, epoch, sequence, slot, key, version } => {
                client.encode(out);
                epoch.encode(out);
                put::varint(out, *sequence);
                put::varint(out, *slot);
                key.encode(out);
                out.put_u8(u8::from(version.is_some()));
                if let Some(version) = version {
                    version.encode(out);
                }
            }
            Self::MirrorEnd { client, epoch }
            | Self::Release { client, epoch }
            | Self::Released { client, epoch } => {
                client.encode(out);
                epoch.encode(out);
            }
            Self::Returned { round: number }
            | Self::Settled { round: number }
            | Self::Ping { number }
            | Self::Pong { number }
            | Self::Cancel { request_id: number } => put::varint(out, *number),
            Self::WhoHolds { query, client } => {
                put::varint(out, *query);
                client.encode(out);
            }
            Self::Holds { query, client, holding } => {
                put::varint(out, *query);
                client.encode(out);
                match holding {
                    None => out.put_u8(0),
                    Some(holding) => {
                        out.put_u8(if holding.as_primary { 1 } else { 2 });
                        holding.encode(out);
                    }
                }
            }
        }
    }

    /// Reads a frame.
    pub fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let mut reader = frame.payload();
        let message = Self::decode_payload(frame.kind(), &mut reader)?;
        reader.finish("backplane frame")?;
        Ok(message)
    }

    fn decode_payload(kind: FrameType, reader: &mut Reader) -> Result<Self, DecodeError> {
        let number = |reader: &mut Reader, what| reader.varint(what, MAX_VARINT);
        Ok(match kind {
            FrameType::Forward => Self::Forward(Forward::decode(reader)?),
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
            FrameType::AssignmentChanged => Self::AssignmentChanged {
                client: ClientId::decode(reader)?,
                assignment: Assignment::decode(reader)?,
            },
            FrameType::MirrorRefused => Self::MirrorRefused {
                client: ClientId::decode(reader)?,
                assignment: Assignment::decode(reader)?,
            },
            FrameType::MirrorBegin => Self::MirrorBegin {
                client: ClientId::decode(reader)?,
                epoch: Epoch::decode(reader)?,
                former: decode_former(reader)?,
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
            FrameType::Ping => Self::Ping { number: number(reader, "number")? },
            FrameType::Pong => Self::Pong { number: number(reader, "number")? },
            FrameType::Cancel => Self::Cancel { request_id: number(reader, "request id")? },
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
        let inner = Frame::parse(reader.rest(), MAX_PAYLOAD)?;
        Ok(Self::Reply { request_id, assignment, by, inner })
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

    fn decode_holds(reader: &mut Reader) -> Result<Self, DecodeError> {
        let query = reader.varint("query", MAX_VARINT)?;
        let client = ClientId::decode(reader)?;
        let holding = match reader.byte("presence of a mirror")? {
            0 => None,
            1 => Some(Holding::decode(true, reader)?),
            2 => Some(Holding::decode(false, reader)?),
            found => {
                let what = "presence of a mirror";
                return Err(DecodeError::Unknown { what, found: found.into() });
            }
        };
        Ok(Self::Holds { query, client, holding })
    }
}
