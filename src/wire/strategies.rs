//! Any value that may cross the wire, for property tests. The larger strategies are boxed: as one
//! value they would not fit the stack of a test's thread.

use super::backplane::{
    Forward, Gossip, GossipKind, GossipState, Holding, Holds, How, MAX_FORMER, MemberId,
    MemberUpdate, Message, Purpose, Resume, Role, SelfState, ServerHello, Status, UseCachedBy,
};
use super::codec::MAX_VARINT;
use super::frame::{Frame, FrameType, MAX_ERROR_TEXT};
use super::headers::{HeaderBlock, HeaderName};
use super::lane::{
    Batch, Body, BodyStart, Call, ErrorCode, Get, Inventory, InventoryEntry, MAX_BATCH, MAX_SLOTS,
    MAX_STATUS, MIN_STATUS, Outcome, Reply, Unchanged, Validator,
};
use super::session::{Assigned, GoawayReason, Hello, Limits, MAX_TOKEN, Ping, Welcome};
use super::token::Token;
use super::types::{
    Assignment, ClientId, Digest, Epoch, Fingerprint, Key, MAX_CHANGE, MAX_TERM, Name, Tag,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Any number that a variable-length integer carries; each of its lengths is as likely.
pub(crate) fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..0x40u64, 0..0x4000u64, 0..0x4000_0000u64, 0..=MAX_VARINT]
}

pub(crate) fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?".prop_map(|text| Name::new(&text).unwrap())
}

pub(crate) fn key() -> impl Strategy<Value = Key> {
    let path = prop_oneof![Just("/".to_owned()), "(/[a-zä%~ ][a-z.]{0,20}){1,8}/?"];
    let key = (path, "(\\?[a-z=&/.]{0,40})?").prop_map(|(path, query)| path + &query);
    key.prop_map(|text| text.parse().unwrap())
}

pub(crate) fn client_id() -> impl Strategy<Value = ClientId> {
    any::<[u8; 16]>().prop_map(ClientId)
}

pub(crate) fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 16]>().prop_map(Digest)
}

pub(crate) fn tag() -> impl Strategy<Value = Tag> {
    any::<[u8; 16]>().prop_map(Tag)
}

pub(crate) fn fingerprint() -> impl Strategy<Value = Fingerprint> {
    let parts = (digest(), any::<u32>(), number());
    parts.prop_map(|(digest, crc, length)| Fingerprint { digest, crc, length })
}

pub(crate) fn epoch() -> impl Strategy<Value = Epoch> {
    let parts = (1..=MAX_TERM, 0..=MAX_CHANGE, name());
    parts.prop_map(|(term, change, primary)| Epoch { term, change, primary })
}

pub(crate) fn assignment() -> impl Strategy<Value = Assignment> {
    let parts = (epoch(), option::of(name()));
    parts.prop_map(|(epoch, alternate)| Assignment { epoch, alternate })
}

pub(crate) fn header_block() -> BoxedStrategy<HeaderBlock> {
    let value = || option::of("[ -~äß]{0,80}");
    (value(), value(), value())
        .prop_map(|(kind, etag, modified)| {
            let given = [
                (HeaderName::ContentType, kind),
                (HeaderName::Etag, etag),
                (HeaderName::LastModified, modified),
            ];
            let given = given.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
            HeaderBlock::new(given).unwrap()
        })
        .boxed()
}

fn sealed() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 1..=MAX_TOKEN).prop_map(Bytes::from)
}

pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    let parts = (number(), number(), option::of(sealed()), option::of(name()));
    parts.prop_map(|(oldest, newest, token, pool)| Hello { oldest, newest, token, pool })
}

pub(crate) fn welcome() -> impl Strategy<Value = Welcome> {
    let limits = (1..=MAX_SLOTS, number(), number()).prop_map(|(slots, in_flight, max_item)| {
        Limits { slots, in_flight: in_flight.max(1), max_item }
    });
    let parts = (number(), client_id(), sealed(), assignment(), limits);
    parts.prop_map(|(version, client, token, assignment, limits)| Welcome {
        version,
        client,
        token,
        assignment,
        limits,
    })
}

pub(crate) fn assigned() -> impl Strategy<Value = Assigned> {
    (sealed(), assignment()).prop_map(|(token, assignment)| Assigned { token, assignment })
}

pub(crate) fn ping() -> impl Strategy<Value = Ping> {
    number().prop_map(|number| Ping { number })
}

pub(crate) fn goaway() -> impl Strategy<Value = GoawayReason> {
    prop_oneof![Just(GoawayReason::Shutdown), Just(GoawayReason::Superseded)]
}

pub(crate) fn token() -> impl Strategy<Value = Token> {
    let parts = (client_id(), name(), assignment(), number());
    parts.prop_map(|(client, pool, assignment, expires_s)| Token {
        client,
        pool,
        assignment,
        expires_s,
    })
}

pub(crate) fn get() -> BoxedStrategy<Get> {
    let validator = prop_oneof![
        Just(Validator::None),
        (any::<u32>(), number()).prop_map(|(crc, length)| Validator::Crc { crc, length }),
        (any::<u32>(), digest()).prop_map(|(crc, digest)| Validator::Strong { crc, digest }),
    ];
    let parts = (number(), 0..MAX_SLOTS, option::of(key()), validator);
    parts
        .prop_map(|(request_id, slot, key, validator)| Get { request_id, slot, key, validator })
        .boxed()
}

pub(crate) fn call() -> BoxedStrategy<Call> {
    let body = vec(any::<u8>(), 0..400).prop_map(Bytes::from);
    let parts = (number(), any::<bool>(), key(), header_block(), body);
    parts
        .prop_map(|(request_id, idempotent, key, headers, body)| Call {
            request_id,
            idempotent,
            key,
            headers,
            body,
        })
        .boxed()
}

pub(crate) fn batch() -> BoxedStrategy<Batch> {
    let slots = vec((1..2000u64, 1..20u64), 1..100);
    (number(), slots)
        .prop_map(|(request_id, ranges)| {
            let mut end = 0;
            let slots = ranges.into_iter().flat_map(|(gap, count)| {
                let first = end + gap;
                end = first + count;
                first..end
            });
            Batch::of_slots(request_id, slots)
        })
        .boxed()
}

pub(crate) fn inventory() -> BoxedStrategy<Inventory> {
    let entry = (0..MAX_SLOTS, key(), fingerprint())
        .prop_map(|(slot, key, version)| InventoryEntry { slot, key, version });
    (number(), vec(entry, 0..20))
        .prop_map(|(request_id, entries)| Inventory { request_id, entries })
        .boxed()
}

pub(crate) fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        vec(any::<u8>(), 0..400).prop_map(|bytes| Body::Inline(Bytes::from(bytes))),
        number().prop_map(|length| Body::Stream { length }),
        number().prop_map(|length| Body::Unmirrored { length }),
    ]
}

/// A body with no tag behind it.
fn tagged_body() -> impl Strategy<Value = Body> {
    body().prop_filter("no tag follows", |body| !matches!(body, Body::Unmirrored { .. }))
}

pub(crate) fn outcome() -> BoxedStrategy<Outcome> {
    let code = prop_oneof![
        Just(ErrorCode::Malformed),
        Just(ErrorCode::NotSupported),
        Just(ErrorCode::Refused),
        Just(ErrorCode::Source),
        Just(ErrorCode::Unavailable),
    ];
    let full = (tag(), header_block(), body());
    let delta = (tag(), digest(), header_block(), number(), tagged_body());
    let unchanged = vec(any::<bool>(), 0..=MAX_BATCH as usize);
    let unchanged = unchanged.prop_map(|answers| Unchanged::new(answers.into_iter()));
    let batch = (unchanged, digest(), tagged_body());
    let called = (MIN_STATUS..=MAX_STATUS, header_block(), tagged_body());
    let text = proptest::string::string_regex(&format!("[ -~ä]{{0,{MAX_ERROR_TEXT}}}")).unwrap();
    prop_oneof![
        tag().prop_map(|tag| Outcome::UseCached { tag }),
        full.prop_map(|(tag, headers, body)| Outcome::Full { tag, headers, body }),
        delta.prop_map(|(tag, base, headers, length, body)| Outcome::Delta {
            tag,
            base,
            headers,
            length,
            body
        }),
        batch.prop_map(|(unchanged, hash, rest)| Outcome::Batch { unchanged, hash, rest }),
        Just(Outcome::Noted),
        called.prop_map(|(status, headers, body)| Outcome::Called { status, headers, body }),
        Just(Outcome::NotFound),
        Just(Outcome::UnknownSlot),
        number().prop_map(|retry_after_ms| Outcome::Busy { retry_after_ms }),
        Just(Outcome::FateUnknown),
        (code, text).prop_map(|(code, text)| Outcome::error(code, text)),
    ]
    .boxed()
}

pub(crate) fn reply() -> BoxedStrategy<Reply> {
    (number(), outcome()).prop_map(|(request_id, outcome)| Reply { request_id, outcome }).boxed()
}

pub(crate) fn body_start() -> impl Strategy<Value = BodyStart> {
    (number(), number()).prop_map(|(request_id, offset)| BodyStart { request_id, offset })
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Router), Just(Role::Server)]
}

pub(crate) fn member_id() -> impl Strategy<Value = MemberId> {
    let address = prop_oneof![
        Just(None),
        any::<([u8; 4], u16)>().prop_map(|address| Some(address.into())),
        any::<([u8; 16], u16)>().prop_map(|address| Some(address.into())),
    ];
    (role(), name(), number(), address).prop_map(|(role, name, incarnation, address)| MemberId {
        role,
        name,
        incarnation,
        address,
    })
}

pub(crate) fn gossip() -> BoxedStrategy<Gossip> {
    let kind = (0..10u8, any::<u8>(), member_id()).prop_map(|(kind, number, member)| match kind {
        0 => GossipKind::Ping { number },
        1 => GossipKind::Ack { number },
        2 => GossipKind::PingRequest { number, target: member },
        3 => GossipKind::IndirectPing { number, origin: member },
        4 => GossipKind::IndirectAck { number, target: member },
        5 => GossipKind::ForwardedAck { number, origin: member },
        6 => GossipKind::Announce,
        7 => GossipKind::Feed,
        8 => GossipKind::News,
        _ => GossipKind::Down,
    });
    let states = vec![GossipState::Alive, GossipState::Suspect, GossipState::Down];
    let update = (member_id(), any::<u16>(), prop::sample::select(states))
        .prop_map(|(member, refuted, state)| MemberUpdate { member, refuted, state });
    (member_id(), any::<u16>(), member_id(), kind, vec(update, 0..6))
        .prop_map(|(from, refuted, to, kind, updates)| {
            let updates = if kind.has_updates() { updates } else { Vec::new() };
            Gossip { from, refuted, to, kind, updates }
        })
        .boxed()
}

pub(crate) fn server_hello() -> BoxedStrategy<ServerHello> {
    let purpose = prop_oneof![Just(Purpose::Frames), Just(Purpose::Bodies), Just(Purpose::Gossip)];
    let parts = (number(), number(), role(), name(), purpose, number(), number(), number());
    parts
        .prop_map(|(oldest, newest, role, name, purpose, incarnation, workers, worker)| {
            let pool = None;
            ServerHello { oldest, newest, role, name, purpose, incarnation, workers, worker, pool }
        })
        .boxed()
}

/// The answer to a hello.
pub(crate) fn server_welcome() -> BoxedStrategy<ServerHello> {
    (server_hello(), option::of(name()))
        .prop_map(|(hello, pool)| ServerHello { pool, ..hello })
        .boxed()
}

pub(crate) fn status() -> BoxedStrategy<Status> {
    let state =
        prop_oneof![Just(SelfState::Ready), Just(SelfState::Returned), Just(SelfState::Draining),];
    let numbers = vec(number(), 10);
    let parts = (name(), option::of(name()), state, numbers, "[0-9.:]{0,21}");
    parts
        .prop_map(|(name, zone, state, numbers, admin)| Status {
            name,
            incarnation: numbers[0],
            sequence: numbers[1],
            zone,
            state,
            primary_clients: numbers[2],
            alternate_clients: numbers[3],
            threshold: numbers[4],
            capacity: numbers[5],
            handed_on_clients: numbers[6],
            must_served_clients: numbers[7],
            released_clients: numbers[8],
            pid: numbers[9],
            admin,
        })
        .boxed()
}

fn former() -> impl Strategy<Value = Vec<Name>> {
    vec(name(), 0..=MAX_FORMER)
}

/// A frame that a client may send, or be sent, on a lane.
pub(crate) fn inner() -> BoxedStrategy<Frame> {
    prop_oneof![
        get().prop_map(|get| get.encode()),
        call().prop_map(|call| call.encode()),
        batch().prop_map(|batch| batch.encode()),
        inventory().prop_map(|inventory| inventory.encode()),
        reply().prop_map(|reply| reply.encode()),
    ]
    .boxed()
}

pub(crate) fn forward() -> BoxedStrategy<Forward> {
    let how = prop_oneof![
        Just(How::Known),
        Just(How::Assign),
        Just(How::HandedOn),
        Just(How::Takeover),
        Just(How::Standby),
    ];
    let named = any::<bool>();
    let resume = option::of((number(), tag()).prop_map(|(offset, tag)| Resume { offset, tag }));
    let asked = (client_id(), epoch(), named, how, any::<bool>());
    let parts = (number(), asked, number(), former(), resume, inner());
    parts
        .prop_map(|(request_id, asked, deadline_ms, former, resume, inner)| {
            let (client, epoch, named, how, takes_deltas) = asked;
            Forward {
                request_id,
                client,
                term: epoch.term,
                change: epoch.change,
                primary: named.then_some(epoch.primary),
                how,
                deadline_ms,
                former,
                resume,
                takes_deltas,
                inner,
            }
        })
        .boxed()
}

/// Every frame that answers or withdraws a FORWARD, and FORWARD.
fn request_message() -> BoxedStrategy<Message> {
    let by =
        prop_oneof![Just(UseCachedBy::Mirror), Just(UseCachedBy::Crc), Just(UseCachedBy::Strong),];
    let reply = (number(), option::of(assignment()), option::of(by), inner());
    prop_oneof![
        forward().prop_map(Message::Forward),
        reply.prop_map(|(request_id, assignment, by, inner)| Message::Reply {
            request_id,
            assignment,
            by,
            inner
        }),
        (number(), option::of(assignment()))
            .prop_map(|(request_id, known)| Message::NotOwner { request_id, known }),
        (number(), name()).prop_map(|(request_id, to)| Message::HandedOn { request_id, to }),
        (number(), number())
            .prop_map(|(request_id, workers)| Message::WrongWorker { request_id, workers }),
        number().prop_map(|request_id| Message::Cancel { request_id }),
        number().prop_map(|request_id| Message::WantBody { request_id }),
    ]
    .boxed()
}

/// Every frame about who holds which mirror.
fn mirror_message() -> BoxedStrategy<Message> {
    let entry = (client_id(), epoch(), number(), 0..MAX_SLOTS, key(), option::of(fingerprint()));
    let of_client = || (client_id(), epoch());
    prop_oneof![
        (client_id(), assignment())
            .prop_map(|(client, assignment)| Message::AssignmentChanged { client, assignment }),
        (client_id(), assignment())
            .prop_map(|(client, assignment)| Message::MirrorRefused { client, assignment }),
        (client_id(), epoch(), former()).prop_map(|(client, epoch, former)| Message::MirrorBegin {
            client,
            epoch,
            former
        }),
        entry.prop_map(|(client, epoch, sequence, slot, key, version)| Message::Mirror {
            client,
            epoch,
            sequence,
            slot,
            key,
            version
        }),
        (of_client(), number()).prop_map(|((client, epoch), sequence)| Message::MirrorAck {
            client,
            epoch,
            sequence
        }),
        (client_id(), epoch(), former()).prop_map(|(client, epoch, former)| Message::HandOver {
            client,
            epoch,
            former
        }),
        (client_id(), assignment())
            .prop_map(|(client, assignment)| Message::HandedOver { client, assignment }),
        of_client().prop_map(|(client, epoch)| Message::MirrorEnd { client, epoch }),
        of_client().prop_map(|(client, epoch)| Message::Release { client, epoch }),
        of_client().prop_map(|(client, epoch)| Message::Released { client, epoch }),
    ]
    .boxed()
}

/// Every frame of the backplane but the hello.
pub(crate) fn message() -> BoxedStrategy<Message> {
    let holding = (any::<bool>(), assignment(), 0..=MAX_SLOTS)
        .prop_map(|(as_primary, assignment, entries)| Holding { as_primary, assignment, entries });
    let holds = prop_oneof![
        Just(Holds::Nothing),
        holding.prop_map(Holds::Mirror),
        epoch().prop_map(Holds::Released),
    ];
    prop_oneof![
        6 => request_message(),
        10 => mirror_message(),
        1 => status().prop_map(Message::Status),
        1 => number().prop_map(|round| Message::Returned { round }),
        1 => number().prop_map(|round| Message::Settled { round }),
        1 => (number(), client_id())
            .prop_map(|(query, client)| Message::WhoHolds { query, client }),
        1 => (number(), client_id(), holds)
            .prop_map(|(query, client, holds)| Message::Holds { query, client, holds }),
        1 => (number(), digest(), number())
            .prop_map(|(number, digest, offset)| Message::Pull { number, digest, offset }),
        1 => (number(), number(), option::of(vec(any::<u8>(), 0..99).prop_map(Bytes::from)))
            .prop_map(|(number, offset, bytes)| Message::Pulled { number, offset, bytes }),
        1 => number().prop_map(|number| Message::Ping { number }),
        1 => number().prop_map(|number| Message::Pong { number }),
    ]
    .boxed()
}

/// Any frame that this version sends.
pub(crate) fn frame() -> BoxedStrategy<Frame> {
    prop_oneof![
        hello().prop_map(|hello| hello.encode()),
        welcome().prop_map(|welcome| welcome.encode()),
        assigned().prop_map(|assigned| assigned.encode()),
        goaway().prop_map(|reason| reason.encode()),
        ping().prop_map(Ping::encode),
        get().prop_map(|get| get.encode()),
        call().prop_map(|call| call.encode()),
        batch().prop_map(|batch| batch.encode()),
        inventory().prop_map(|inventory| inventory.encode()),
        reply().prop_map(|reply| reply.encode()),
        body_start().prop_map(|start| start.encode()),
        server_hello().prop_map(|hello| hello.encode(FrameType::ServerHello)),
        server_welcome().prop_map(|hello| hello.encode(FrameType::ServerWelcome)),
        message().prop_map(|message| message.encode()),
        gossip().prop_map(|gossip| gossip.encode()),
    ]
    .boxed()
}
