//! What members tell each other of the members: SWIM, as the `foca` crate speaks it, in our own
//! encoding. Who exists and who is gone, and nothing else, travels like this.

use super::Role;
use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, put};
use crate::wire::frame::{Frame, FrameType, MAX_BACKPLANE_PAYLOAD};
use crate::wire::types::Name;
use bytes::{BufMut, BytesMut};
use std::net::{IpAddr, SocketAddr};

/// The version of the backplane since which there is gossip.
pub const GOSSIP_SINCE: u64 = 2;
/// Longest payload of GOSSIP: room for about 250 members.
pub const MAX_GOSSIP: usize = 8 * 1024;
/// Updates in one GOSSIP; fewer fit.
pub const MAX_GOSSIP_UPDATES: usize = 1024;

const _: () = assert!(MAX_GOSSIP <= MAX_BACKPLANE_PAYLOAD);

/// One run of one member. A later run of the same role and name has a higher incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberId {
    /// What it is.
    pub role: Role,
    /// Who it is: unique among members of its role.
    pub name: Name,
    /// Which run; a member that was called gone and is not comes back under a higher one.
    pub incarnation: u64,
    /// Where it can be dialled; none for a router that only dials.
    pub address: Option<SocketAddr>,
}

impl MemberId {
    /// Writes all fields.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(self.role as u8);
        self.name.encode(out);
        put::varint(out, self.incarnation);
        match self.address.map(|address| (address.ip(), address.port())) {
            None => out.put_u8(0),
            Some((IpAddr::V4(ip), port)) => {
                out.put_u8(4);
                out.put_slice(&ip.octets());
                out.put_u16(port);
            }
            Some((IpAddr::V6(ip), port)) => {
                out.put_u8(6);
                out.put_slice(&ip.octets());
                out.put_u16(port);
            }
        }
    }

    /// Reads all fields.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let role = Role::decode(reader)?;
        let name = Name::decode(reader)?;
        let incarnation = reader.varint("incarnation", MAX_VARINT)?;
        let ip: Option<IpAddr> = match reader.byte("kind of address")? {
            0 => None,
            4 => Some(reader.array::<4>("address")?.into()),
            6 => Some(reader.array::<16>("address")?.into()),
            found => {
                let what = "kind of address";
                return Err(DecodeError::Unknown { what, found: found.into() });
            }
        };
        let address = match ip {
            None => None,
            Some(ip) => Some((ip, u16::from_be_bytes(reader.array("port")?)).into()),
        };
        Ok(Self { role, name, incarnation, address })
    }
}

/// What a GOSSIP is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GossipKind {
    /// Are you there?
    Ping {
        /// Repeated in the answer.
        number: u8,
    },
    /// Yes.
    Ack {
        /// From the question.
        number: u8,
    },
    /// Ask the target for me whether it is there.
    PingRequest {
        /// Of the question that was not answered.
        number: u8,
        /// Who did not answer.
        target: MemberId,
    },
    /// The origin wants to know whether you are there.
    IndirectPing {
        /// From the request.
        number: u8,
        /// Who asks.
        origin: MemberId,
    },
    /// Yes: tell the target.
    IndirectAck {
        /// From the question.
        number: u8,
        /// Who asked.
        target: MemberId,
    },
    /// The origin is there.
    ForwardedAck {
        /// Of the question.
        number: u8,
        /// Who was asked.
        origin: MemberId,
    },
    /// I want to join.
    Announce,
    /// The answer to that: these are the members.
    Feed,
    /// News of members, without a question.
    News,
    /// We hold you to be gone: if you are not, come back as a new run.
    Down,
}

impl GossipKind {
    /// Whether a count of updates, and the updates, follow.
    pub fn has_updates(&self) -> bool {
        !matches!(self, Self::Announce | Self::Down)
    }

    fn encode(&self, out: &mut impl BufMut) {
        let (kind, number, member) = match self {
            Self::Ping { number } => (0, Some(number), None),
            Self::Ack { number } => (1, Some(number), None),
            Self::PingRequest { number, target } => (2, Some(number), Some(target)),
            Self::IndirectPing { number, origin } => (3, Some(number), Some(origin)),
            Self::IndirectAck { number, target } => (4, Some(number), Some(target)),
            Self::ForwardedAck { number, origin } => (5, Some(number), Some(origin)),
            Self::Announce => (6, None, None),
            Self::Feed => (7, None, None),
            Self::News => (8, None, None),
            Self::Down => (9, None, None),
        };
        out.put_u8(kind);
        if let Some(number) = number {
            out.put_u8(*number);
        }
        if let Some(member) = member {
            member.encode(out);
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let number = |reader: &mut Reader| reader.byte("number of the probe");
        Ok(match reader.byte("kind of gossip")? {
            0 => Self::Ping { number: number(reader)? },
            1 => Self::Ack { number: number(reader)? },
            2 => Self::PingRequest { number: number(reader)?, target: MemberId::decode(reader)? },
            3 => Self::IndirectPing { number: number(reader)?, origin: MemberId::decode(reader)? },
            4 => Self::IndirectAck { number: number(reader)?, target: MemberId::decode(reader)? },
            5 => Self::ForwardedAck { number: number(reader)?, origin: MemberId::decode(reader)? },
            6 => Self::Announce,
            7 => Self::Feed,
            8 => Self::News,
            9 => Self::Down,
            found => {
                return Err(DecodeError::Unknown { what: "kind of gossip", found: found.into() });
            }
        })
    }
}

/// What is thought of a member's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GossipState {
    /// It answers.
    Alive = 0,
    /// It did not answer, and may say that it lives.
    Suspect = 1,
    /// This run of it is over.
    Down = 2,
}

/// What is known of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberUpdate {
    /// Which run of which member.
    pub member: MemberId,
    /// How often this run has refuted a suspicion; what is known of a higher count is newer.
    pub refuted: u16,
    /// What is thought of it.
    pub state: GossipState,
}

impl MemberUpdate {
    /// Writes all fields.
    pub fn encode(&self, out: &mut impl BufMut) {
        self.member.encode(out);
        put::varint(out, self.refuted.into());
        out.put_u8(self.state as u8);
    }

    /// Reads all fields.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let member = MemberId::decode(reader)?;
        let refuted = decode_refuted(reader)?;
        let state = match reader.byte("state of a member")? {
            0 => GossipState::Alive,
            1 => GossipState::Suspect,
            2 => GossipState::Down,
            found => {
                let what = "state of a member";
                return Err(DecodeError::Unknown { what, found: found.into() });
            }
        };
        Ok(Self { member, refuted, state })
    }
}

/// The payload of GOSSIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gossip {
    /// Who says it; must be the member at the other end of the connection.
    pub from: MemberId,
    /// How often the sender has refuted a suspicion in this run.
    pub refuted: u16,
    /// For whom it is.
    pub to: MemberId,
    /// What it is about.
    pub kind: GossipKind,
    /// News of any members; none where the kind has none.
    pub updates: Vec<MemberUpdate>,
}

impl Gossip {
    /// Writes the frame.
    pub fn encode(&self) -> Frame {
        Frame::build(FrameType::Gossip, MAX_BACKPLANE_PAYLOAD, |out| {
            self.encode_head(out);
            if self.kind.has_updates() {
                assert!(self.updates.len() <= MAX_GOSSIP_UPDATES, "{} updates", self.updates.len());
                out.put_u16(self.updates.len() as u16);
                self.updates.iter().for_each(|update| update.encode(out));
            }
        })
    }

    /// Writes what comes before the updates and their count.
    pub fn encode_head(&self, out: &mut BytesMut) {
        self.from.encode(out);
        put::varint(out, self.refuted.into());
        self.to.encode(out);
        self.kind.encode(out);
    }

    /// Reads what comes before the updates and their count; there are no updates in the result.
    pub fn decode_head(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            from: MemberId::decode(reader)?,
            refuted: decode_refuted(reader)?,
            to: MemberId::decode(reader)?,
            kind: GossipKind::decode(reader)?,
            updates: Vec::new(),
        })
    }

    /// Reads the frame's payload.
    pub fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        if reader.remaining() > MAX_GOSSIP {
            let (found, limit) = (reader.remaining() as u64, MAX_GOSSIP as u64);
            return Err(DecodeError::AboveLimit { what: "length of the gossip", found, limit });
        }
        let mut gossip = Self::decode_head(&mut reader)?;
        if gossip.kind.has_updates() {
            let count = u16::from_be_bytes(reader.array("count of updates")?);
            if usize::from(count) > MAX_GOSSIP_UPDATES {
                let (found, limit) = (count.into(), MAX_GOSSIP_UPDATES as u64);
                return Err(DecodeError::AboveLimit { what: "count of updates", found, limit });
            }
            for _ in 0..count {
                gossip.updates.push(MemberUpdate::decode(&mut reader)?);
            }
        }
        reader.finish("gossip")?;
        Ok(gossip)
    }
}

fn decode_refuted(reader: &mut Reader) -> Result<u16, DecodeError> {
    let refuted = reader.varint("count of refutations", u16::MAX.into())?;
    Ok(u16::try_from(refuted).expect("the limit is below"))
}
