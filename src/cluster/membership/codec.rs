//! Foca's values in our encoding: what [`crate::wire`] reads and writes, under foca's own types.

use crate::wire::backplane::{
    Gossip, GossipKind, GossipState, MAX_GOSSIP, MAX_GOSSIP_UPDATES, MemberId, MemberUpdate,
};
use crate::wire::codec::Reader;
use crate::wire::frame::MAX_BACKPLANE_PAYLOAD;
use crate::wire::{DecodeError, Frame, FrameType};
use bytes::{Buf, BufMut, BytesMut};
use foca::{Header, Member, Message, State};

/// Why foca's values were not written or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum CodecError {
    /// Foca fills a packet until this comes.
    #[error("no room is left in the packet")]
    NoRoom,
    /// Never sent: no broadcasts of our own ride on gossip.
    #[error("there is no such message")]
    NoSuchMessage,
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// More than any update takes.
const ROOM: usize = 128;

/// The encoding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codec;

/// What foca wrote, as a frame.
pub(super) fn frame(bytes: &[u8]) -> Frame {
    let build = |out: &mut BytesMut| out.extend_from_slice(bytes);
    Frame::build(FrameType::Gossip, MAX_BACKPLANE_PAYLOAD, build)
}

/// The same with one more piece of news, if it is of a kind that has room for news.
pub(super) fn frame_with(bytes: &[u8], news: &Member<MemberId>) -> Frame {
    match Gossip::decode(Reader::copying(bytes)) {
        Ok(mut gossip)
            if gossip.kind.has_updates()
                && gossip.updates.len() < MAX_GOSSIP_UPDATES
                && bytes.len() + ROOM <= MAX_GOSSIP =>
        {
            let update = update_of(news);
            if !gossip.updates.contains(&update) {
                gossip.updates.push(update);
            }
            gossip.encode()
        }
        _ => frame(bytes),
    }
}

/// Whether what foca wrote calls its receiver down.
pub(super) fn calls_down(bytes: &[u8]) -> bool {
    let head = Gossip::decode_head(&mut Reader::copying(bytes));
    head.is_ok_and(|head| head.kind == GossipKind::Down)
}

pub(super) fn state_of(state: State) -> GossipState {
    match state {
        State::Alive => GossipState::Alive,
        State::Suspect => GossipState::Suspect,
        State::Down => GossipState::Down,
    }
}

impl foca::Codec<MemberId> for Codec {
    type Error = CodecError;

    fn encode_header(
        &mut self,
        header: &Header<MemberId>,
        out: impl BufMut,
    ) -> Result<(), CodecError> {
        let gossip = Gossip {
            from: header.src.clone(),
            refuted: header.src_incarnation,
            to: header.dst.clone(),
            kind: kind_of(&header.message)?,
            updates: Vec::new(),
        };
        put_whole(out, |bytes| gossip.encode_head(bytes))
    }

    fn decode_header(&mut self, input: impl Buf) -> Result<Header<MemberId>, CodecError> {
        let head = read_one(input, Gossip::decode_head)?;
        Ok(Header {
            src: head.from,
            src_incarnation: head.refuted,
            dst: head.to,
            message: message_of(head.kind),
        })
    }

    fn encode_member(
        &mut self,
        member: &Member<MemberId>,
        out: impl BufMut,
    ) -> Result<(), CodecError> {
        put_whole(out, |bytes| update_of(member).encode(bytes))
    }

    fn decode_member(&mut self, input: impl Buf) -> Result<Member<MemberId>, CodecError> {
        let update = read_one(input, MemberUpdate::decode)?;
        let state = match update.state {
            GossipState::Alive => State::Alive,
            GossipState::Suspect => State::Suspect,
            GossipState::Down => State::Down,
        };
        Ok(Member::new(update.member, update.refuted, state))
    }
}

fn update_of(member: &Member<MemberId>) -> MemberUpdate {
    let (refuted, state) = (member.incarnation(), state_of(member.state()));
    MemberUpdate { member: member.id().clone(), refuted, state }
}

/// Writes all of something, or nothing.
fn put_whole(mut out: impl BufMut, write: impl FnOnce(&mut BytesMut)) -> Result<(), CodecError> {
    let mut bytes = BytesMut::new();
    write(&mut bytes);
    if out.remaining_mut() < bytes.len() {
        return Err(CodecError::NoRoom);
    }
    out.put_slice(&bytes);
    Ok(())
}

/// Reads one thing off the front.
fn read_one<T>(
    mut input: impl Buf,
    read: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
) -> Result<T, CodecError> {
    // Foca hands in one slice: it has the whole packet in one.
    let mut reader = Reader::copying(input.chunk());
    let before = reader.remaining();
    let value = read(&mut reader)?;
    let taken = before - reader.remaining();
    input.advance(taken);
    Ok(value)
}

fn kind_of(message: &Message<MemberId>) -> Result<GossipKind, CodecError> {
    Ok(match message.clone() {
        Message::Ping(number) => GossipKind::Ping { number },
        Message::Ack(number) => GossipKind::Ack { number },
        Message::PingReq { target, probe_number: number } => {
            GossipKind::PingRequest { number, target }
        }
        Message::IndirectPing { origin, probe_number: number } => {
            GossipKind::IndirectPing { number, origin }
        }
        Message::IndirectAck { target, probe_number: number } => {
            GossipKind::IndirectAck { number, target }
        }
        Message::ForwardedAck { origin, probe_number: number } => {
            GossipKind::ForwardedAck { number, origin }
        }
        Message::Announce => GossipKind::Announce,
        Message::Feed => GossipKind::Feed,
        Message::Gossip => GossipKind::News,
        Message::TurnUndead => GossipKind::Down,
        Message::Broadcast => return Err(CodecError::NoSuchMessage),
    })
}

fn message_of(kind: GossipKind) -> Message<MemberId> {
    match kind {
        GossipKind::Ping { number } => Message::Ping(number),
        GossipKind::Ack { number } => Message::Ack(number),
        GossipKind::PingRequest { number: probe_number, target } => {
            Message::PingReq { target, probe_number }
        }
        GossipKind::IndirectPing { number: probe_number, origin } => {
            Message::IndirectPing { origin, probe_number }
        }
        GossipKind::IndirectAck { number: probe_number, target } => {
            Message::IndirectAck { target, probe_number }
        }
        GossipKind::ForwardedAck { number: probe_number, origin } => {
            Message::ForwardedAck { origin, probe_number }
        }
        GossipKind::Announce => Message::Announce,
        GossipKind::Feed => Message::Feed,
        GossipKind::News => Message::Gossip,
        GossipKind::Down => Message::TurnUndead,
    }
}
