//! What holds for every frame: it survives the wire, and no bytes at all make a decoder panic.

use super::backplane::{Gossip, Message, ServerHello, UseCachedBy, gather_reply, use_cached_frame};
use super::codec::{Reader, put};
use super::frame::{Frame, FrameType, MAX_BACKPLANE_PAYLOAD};
use super::fuzzing::TARGETS;
use super::gather::Gather;
use super::lane::{Batch, BodyStart, Call, Get, Inventory, Outcome, Reply, is_idempotent};
use super::session::{Assigned, GoawayReason, Hello, Ping, Welcome};
use super::strategies;
use super::token::Token;
use super::types::{Name, Tag};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

/// The frame as the other side splits it off its stream.
fn received(frame: &Frame) -> Frame {
    let mut stream = BytesMut::from(frame.bytes());
    let split = Frame::split_from(&mut stream, MAX_BACKPLANE_PAYLOAD).unwrap().unwrap();
    assert!(stream.is_empty());
    split
}

/// One way of damaging bytes.
#[derive(Clone, Debug)]
enum Damage {
    Change { place: prop::sample::Index, to: u8 },
    Insert { place: prop::sample::Index, byte: u8 },
    Remove { place: prop::sample::Index },
    Cut { place: prop::sample::Index },
}

impl Damage {
    fn any() -> impl Strategy<Value = Self> {
        let place = any::<prop::sample::Index>;
        prop_oneof![
            (place(), any::<u8>()).prop_map(|(place, to)| Self::Change { place, to }),
            (place(), any::<u8>()).prop_map(|(place, byte)| Self::Insert { place, byte }),
            place().prop_map(|place| Self::Remove { place }),
            place().prop_map(|place| Self::Cut { place }),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Insert { place, byte } => bytes.insert(place.index(bytes.len() + 1), *byte),
            _ if bytes.is_empty() => {}
            Self::Change { place, to } => {
                let place = place.index(bytes.len());
                bytes[place] = *to;
            }
            Self::Remove { place } => {
                bytes.remove(place.index(bytes.len()));
            }
            Self::Cut { place } => bytes.truncate(place.index(bytes.len())),
        }
    }
}

/// Bytes that are almost a frame, as the fuzz targets take them: the type, then the payload.
fn damaged_frame() -> impl Strategy<Value = Vec<u8>> {
    let damages = prop::collection::vec(Damage::any(), 1..4);
    (strategies::frame(), damages).prop_map(|(frame, damages)| {
        let mut bytes = vec![frame.kind() as u8];
        bytes.extend_from_slice(&frame.payload().rest());
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        bytes
    })
}

proptest! {
    #[test]
    fn hellos_survive(value in strategies::hello()) {
        prop_assert_eq!(Hello::decode(received(&value.encode()).payload()), Ok(value));
    }

    #[test]
    fn welcomes_survive(value in strategies::welcome()) {
        prop_assert_eq!(Welcome::decode(received(&value.encode()).payload()), Ok(value));
    }

    #[test]
    fn assignments_survive(value in strategies::assigned()) {
        prop_assert_eq!(Assigned::decode(received(&value.encode()).payload()), Ok(value));
    }

    #[test]
    fn pings_and_their_answers_survive(value in strategies::ping()) {
        prop_assert_eq!(Ping::decode(received(&value.encode()).payload()), Ok(value));
        prop_assert_eq!(Ping::decode(received(&value.answer()).payload()), Ok(value));
    }

    #[test]
    fn goaways_survive(value in strategies::goaway()) {
        prop_assert_eq!(GoawayReason::decode(received(&value.encode()).payload()), Ok(value));
    }

    #[test]
    fn requests_survive(value in strategies::get()) {
        let frame = value.encode();
        prop_assert_eq!(frame.request_id(), Ok(value.request_id));
        prop_assert_eq!(Get::decode(received(&frame).payload()), Ok(value));
    }

    #[test]
    fn calls_survive(value in strategies::call()) {
        let frame = value.encode();
        prop_assert_eq!(frame.request_id(), Ok(value.request_id));
        prop_assert_eq!(is_idempotent(&frame), value.idempotent);
        prop_assert_eq!(Call::decode(received(&frame).payload()), Ok(value));
    }

    #[test]
    fn batches_survive(value in strategies::batch()) {
        prop_assert_eq!(Batch::decode(received(&value.encode()).payload()), Ok(value));
    }

    #[test]
    fn inventories_survive(value in strategies::inventory()) {
        prop_assert_eq!(Inventory::decode(received(&value.encode()).payload()), Ok(value));
    }

    #[test]
    fn replies_survive(value in strategies::reply()) {
        let frame = value.encode();
        prop_assert_eq!(frame.request_id(), Ok(value.request_id));
        prop_assert_eq!(Reply::decode(&received(&frame)), Ok(value));
    }

    #[test]
    fn body_starts_survive(value in strategies::body_start()) {
        prop_assert_eq!(BodyStart::decode(received(&value.encode()).payload()), Ok(value));
    }

    #[test]
    fn backplane_hellos_survive(value in strategies::server_hello()) {
        let frame = value.encode(FrameType::ServerHello);
        prop_assert_eq!(frame.kind(), FrameType::ServerHello);
        prop_assert_eq!(ServerHello::decode(received(&frame).payload()), Ok(value));
    }

    #[test]
    fn answers_to_backplane_hellos_survive(value in strategies::server_welcome()) {
        let frame = value.encode(FrameType::ServerWelcome);
        prop_assert_eq!(frame.kind(), FrameType::ServerWelcome);
        prop_assert_eq!(ServerHello::decode_welcome(received(&frame).payload()), Ok(value.clone()));
        let is_hello = ServerHello::decode(received(&frame).payload()).is_ok();
        prop_assert_eq!(is_hello, value.pool.is_none(), "a hello has no pool");
    }

    #[test]
    fn backplane_messages_survive(value in strategies::message()) {
        prop_assert_eq!(Message::decode(&received(&value.encode())), Ok(value));
    }

    #[test]
    fn gossip_survives(value in strategies::gossip()) {
        prop_assert_eq!(Gossip::decode(received(&value.encode()).payload()), Ok(value));
    }

    #[test]
    fn gathered_frames_are_the_same_as_single_ones(
        values in prop::collection::vec((strategies::message(), strategies::reply()), 0..5),
    ) {
        let (mut gather, mut single) = (Gather::default(), Vec::new());
        for (message, reply) in values {
            message.gather(&mut gather);
            single.extend_from_slice(message.encode().bytes());
            let by = Some(UseCachedBy::Crc);
            gather_reply(&mut gather, 7, None, by, &reply);
            let inner = reply.encode();
            let wrapped = Message::Reply { request_id: 7, assignment: None, by, inner };
            single.extend_from_slice(wrapped.encode().bytes());
            prop_assert_eq!(gather.len(), single.len());
        }
        let mut pieces = Vec::new();
        gather.take(&mut pieces);
        prop_assert_eq!(pieces.concat(), single);
        prop_assert!(gather.is_empty());
    }

    #[test]
    fn frames_of_a_known_size_are_the_same_as_others(
        forward in strategies::forward(),
        (request_id, inner_id) in (strategies::number(), strategies::number()),
        tag: [u8; 16],
    ) {
        let exact = forward.encode_frame();
        prop_assert_eq!(exact, Message::Forward(forward).encode());
        let (tag, by) = (Tag(tag), UseCachedBy::Mirror);
        let inner = Reply { request_id: inner_id, outcome: Outcome::UseCached { tag } }.encode();
        let reply = Message::Reply { request_id, assignment: None, by: Some(by), inner };
        prop_assert_eq!(use_cached_frame(request_id, by, inner_id, &tag), reply.encode());
    }

    #[test]
    fn tokens_survive(value in strategies::token()) {
        let mut out = BytesMut::new();
        value.encode(&mut out);
        prop_assert_eq!(Token::decode(out.freeze()), Ok(value));
    }

    #[test]
    fn no_frame_is_accepted_with_a_byte_more(frame in strategies::frame()) {
        let longer = Frame::build(frame.kind(), usize::MAX, |out| {
            out.extend_from_slice(&frame.payload().rest());
            out.extend_from_slice(&[0]);
        });
        prop_assert!(decodes(&frame), "{:?}", frame);
        prop_assert!(!decodes(&longer), "{:?}", frame);
    }

    #[test]
    fn damaged_frames_never_panic(bytes in damaged_frame()) {
        TARGETS.iter().for_each(|(_, target)| target(&bytes));
    }

    #[test]
    fn any_bytes_never_panic(bytes: Vec<u8>) {
        TARGETS.iter().for_each(|(_, target)| target(&bytes));
    }

    #[test]
    fn names_never_panic(bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let mut reader = Reader::new(&bytes);
        if let Ok(Some(name)) = Name::decode_option(&mut reader) {
            prop_assert_eq!(Name::new(name.as_str()), Ok(name));
        }
    }

    #[test]
    fn longer_integers_than_needed_mean_the_same(value in strategies::get()) {
        let frame = value.encode();
        let mut payload = frame.payload();
        let request_id = payload.varint("request id", u64::MAX).unwrap();
        let longer = Frame::build(FrameType::Get, usize::MAX, |out| {
            out.extend_from_slice(&(0xc000_0000_0000_0000 | request_id).to_be_bytes());
            out.extend_from_slice(&payload.rest());
        });
        prop_assert!(longer.bytes().len() >= frame.bytes().len());
        prop_assert_eq!(put::varint_size(request_id) == 8, longer == frame);
        prop_assert_eq!(Get::decode(longer.payload()), Ok(value));
    }
}

fn decodes(frame: &Frame) -> bool {
    match frame.kind() {
        FrameType::Hello => Hello::decode(frame.payload()).is_ok(),
        FrameType::Welcome => Welcome::decode(frame.payload()).is_ok(),
        FrameType::Assigned => Assigned::decode(frame.payload()).is_ok(),
        FrameType::Goaway => GoawayReason::decode(frame.payload()).is_ok(),
        FrameType::Ping | FrameType::Pong => Ping::decode(frame.payload()).is_ok(),
        FrameType::Get => Get::decode(frame.payload()).is_ok(),
        FrameType::Call => Call::decode(frame.payload()).is_ok(),
        FrameType::Batch => Batch::decode(frame.payload()).is_ok(),
        FrameType::Inventory => Inventory::decode(frame.payload()).is_ok(),
        FrameType::Body => BodyStart::decode(frame.payload()).is_ok(),
        FrameType::ServerHello => ServerHello::decode(frame.payload()).is_ok(),
        FrameType::ServerWelcome => ServerHello::decode_welcome(frame.payload()).is_ok(),
        FrameType::Gossip => Gossip::decode(frame.payload()).is_ok(),
        _ => Reply::decode(frame).is_ok() || Message::decode(frame).is_ok(),
    }
}
