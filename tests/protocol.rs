//! The test vectors of `docs/protocol.md`, read out of the document: what the encoders write is
//! what it says, and what it says decodes to the same values.

use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use understudy::wire::backplane::{
    Forward, Gossip, GossipKind, GossipState, Holding, Holds, How, MemberId, MemberUpdate, Message,
    Purpose, Resume, Role, SelfState, ServerHello, Status, UseCachedBy,
};
use understudy::wire::codec::{Reader, put};
use understudy::wire::frame::MAX_BACKPLANE_PAYLOAD;
use understudy::wire::frame::MAX_PAYLOAD;
use understudy::wire::http::{
    Fields, HttpAnswer, HttpBody, HttpRequest, RequestBody, RequestTarget, Scheme,
};
use understudy::wire::lane::{
    Batch, Body, BodyStart, Call, ErrorCode, Get, Inventory, InventoryEntry, Outcome, Reply,
    Unchanged, UnchangedHash, Validator, is_idempotent,
};
use understudy::wire::session::{Assigned, GoawayReason, Hello, Limits, Welcome};
use understudy::wire::token::{Token, TokenKeys};
use understudy::wire::types::{MAX_CHANGE, MAX_TERM, fingerprint};
use understudy::wire::{
    Assignment, ClientId, DecodeError, Digest, Epoch, Fingerprint, Frame, FrameType, HeaderBlock,
    HeaderName, Key, Name, Tag,
};

const DOCUMENT: &str = include_str!("../docs/protocol.md");

/// Any frame's value.
#[derive(Debug, PartialEq)]
enum Value {
    Hello(Hello),
    Welcome(Welcome),
    Assigned(Assigned),
    Goaway(GoawayReason),
    Get(Get),
    Call(Call),
    Reply(Reply),
    Body(BodyStart),
    ServerHello(ServerHello),
    ServerWelcome(ServerHello),
    Message(Message),
    Gossip(Gossip),
    Batch(Batch),
    Inventory(Inventory),
    HttpRequest(HttpRequest),
}

impl Value {
    fn encode(&self) -> Frame {
        match self {
            Self::Hello(hello) => hello.encode(),
            Self::Welcome(welcome) => welcome.encode(),
            Self::Assigned(assigned) => assigned.encode(),
            Self::Goaway(reason) => reason.encode(),
            Self::Get(get) => get.encode(),
            Self::Call(call) => call.encode(),
            Self::Reply(reply) => reply.encode(),
            Self::Body(start) => start.encode(),
            Self::ServerHello(hello) => hello.encode(FrameType::ServerHello),
            Self::ServerWelcome(hello) => hello.encode(FrameType::ServerWelcome),
            Self::Message(message) => message.encode(),
            Self::HttpRequest(request) => request.encode(),
            Self::Gossip(gossip) => gossip.encode(),
            Self::Batch(batch) => batch.encode(),
            Self::Inventory(inventory) => inventory.encode(),
        }
    }

    /// Reads the one frame that is all of `bytes`, as it comes off a stream.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut stream = BytesMut::from(bytes);
        let limit = match bytes[0] {
            0x40.. => MAX_BACKPLANE_PAYLOAD,
            _ => MAX_PAYLOAD,
        };
        let frame = Frame::split_from(&mut stream, limit)?.expect("a whole frame");
        assert!(stream.is_empty(), "{} bytes after the frame", stream.len());
        let payload = frame.payload();
        Ok(match frame.kind() {
            FrameType::Hello => Self::Hello(Hello::decode(payload)?),
            FrameType::Welcome => Self::Welcome(Welcome::decode(payload)?),
            FrameType::Assigned => Self::Assigned(Assigned::decode(payload)?),
            FrameType::Goaway => Self::Goaway(GoawayReason::decode(payload)?),
            FrameType::Get => Self::Get(Get::decode(payload)?),
            FrameType::Call => Self::Call(Call::decode(payload)?),
            FrameType::Body => Self::Body(BodyStart::decode(payload)?),
            FrameType::ServerHello => Self::ServerHello(ServerHello::decode(payload)?),
            FrameType::ServerWelcome => Self::ServerWelcome(ServerHello::decode_welcome(payload)?),
            FrameType::Gossip => Self::Gossip(Gossip::decode(payload)?),
            FrameType::Batch => Self::Batch(Batch::decode(payload)?),
            FrameType::Inventory => Self::Inventory(Inventory::decode(payload)?),
            FrameType::HttpRequest => Self::HttpRequest(HttpRequest::decode(payload)?),
            kind if (kind as u8) < 0x40 => Self::Reply(Reply::decode(&frame)?),
            _ => Self::Message(Message::decode(&frame)?),
        })
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn client() -> ClientId {
    ClientId(std::array::from_fn(|place| place as u8))
}

fn epoch(term: u64, change: u64, primary: &str) -> Epoch {
    Epoch { term, change, primary: name(primary) }
}

fn assignment(epoch: Epoch, alternate: Option<&str>) -> Assignment {
    Assignment { epoch, alternate: alternate.map(name) }
}

fn sealed() -> Bytes {
    Bytes::from_static(&[0xaa, 0xbb, 0xcc, 0xdd])
}

fn plain_text() -> HeaderBlock {
    HeaderBlock::new([(HeaderName::ContentType, "text/plain")]).unwrap()
}

fn hello() -> Fingerprint {
    fingerprint(plain_text().as_bytes(), b"hello")
}

fn hello_bytes() -> Bytes {
    Bytes::from_static(b"hello")
}

fn hello_tag() -> Tag {
    key("/a").tag(&hello().digest)
}

fn token() -> Token {
    Token {
        client: client(),
        pool: name("default"),
        assignment: assignment(epoch(3, 1, "server-1"), Some("server-2")),
        expires_s: 1_800_000_000,
    }
}

fn token_keys() -> TokenKeys {
    TokenKeys::new(&[[1; 32]])
}

fn session_values() -> Vec<(&'static str, Value)> {
    let limits = Limits { slots: 65_536, in_flight: 1024, max_item: 64 << 20 };
    vec![
        ("hello/fresh", Value::Hello(Hello { oldest: 1, newest: 1, token: None, pool: None })),
        (
            "hello/back",
            Value::Hello(Hello {
                oldest: 1,
                newest: 2,
                token: Some(sealed()),
                pool: Some(name("default")),
            }),
        ),
        (
            "welcome/fresh",
            Value::Welcome(Welcome {
                version: 1,
                client: client(),
                token: sealed(),
                assignment: assignment(epoch(1, 0, "server-1"), None),
                limits,
            }),
        ),
        (
            "assigned/takeover",
            Value::Assigned(Assigned {
                token: sealed(),
                assignment: assignment(epoch(2, 1, "server-2"), Some("server-3")),
            }),
        ),
        ("goaway/shutdown", Value::Goaway(GoawayReason::Shutdown)),
        ("goaway/superseded", Value::Goaway(GoawayReason::Superseded)),
    ]
}

fn request_values() -> Vec<(&'static str, Value)> {
    let get = |request_id, key, validator| Get { request_id, slot: 300, key, validator };
    let Fingerprint { digest, crc, length } = hello();
    let call = |idempotent, headers, body| Call {
        request_id: 11,
        idempotent,
        key: key("/orders"),
        headers,
        body: Bytes::from_static(body),
    };
    let held = |slot, text| InventoryEntry { slot, key: key(text), version: hello() };
    let entries = vec![held(0, "/a"), held(300, "/docs/a.html")];
    vec![
        ("get/slot", Value::Get(get(7, None, Validator::None))),
        ("get/key", Value::Get(get(7, Some(key("/docs/a.html?lang=en")), Validator::None))),
        ("get/crc", Value::Get(get(8, None, Validator::Crc { crc, length }))),
        ("get/strong", Value::Get(get(9, Some(key("/a")), Validator::Strong { crc, digest }))),
        ("batch/one", Value::Batch(Batch::of_slots(10, [0]))),
        ("batch/ranges", Value::Batch(Batch::of_slots(10, (0..1000).chain(2000..2300)))),
        ("inventory", Value::Inventory(Inventory { request_id: 12, entries })),
        ("call/plain", Value::Call(call(false, HeaderBlock::default(), b""))),
        ("call/idempotent", Value::Call(call(true, plain_text(), b"hello"))),
        ("http-request/plain", http("GET", RequestBody::None)),
        ("http-request/inline", http("POST", RequestBody::Inline(Bytes::from_static(b"hello")))),
        ("http-request/stream", http("PUT", RequestBody::Stream)),
        ("body/start", Value::Body(BodyStart { request_id: 7, offset: 0 })),
        ("body/later", Value::Body(BodyStart { request_id: 7, offset: 1 << 20 })),
    ]
}

fn http(method: &str, body: RequestBody) -> Value {
    Value::HttpRequest(HttpRequest {
        request_id: 13,
        idempotent: method != "POST",
        method: method.to_owned(),
        scheme: Scheme::Https,
        authority: "localhost".to_owned(),
        target: RequestTarget::new(Bytes::from_static(b"/a?b")).unwrap(),
        fields: Fields::of([("accept", "*/*"), ("te", "trailers")]),
        body,
    })
}

fn reply_values() -> Vec<(&'static str, Value)> {
    let reply = |request_id, outcome| Value::Reply(Reply { request_id, outcome });
    let full = |tag, headers, body| reply(7, Outcome::Full { tag, headers, body });
    let inline = Body::Inline(Bytes::from_static(b"hello"));
    let unmirrored = Body::Unmirrored { length: 10_000_000_000 };
    let delta = |body| {
        let (tag, base, headers) = (hello_tag(), Digest([0xda; 16]), plain_text());
        reply(7, Outcome::Delta { tag, base, headers, length: 100_000, body })
    };
    let batch = |same: &[bool], rest| {
        let mut hash = UnchangedHash::default();
        let slots = same.iter().zip(0..).filter(|(same, _)| **same);
        slots.for_each(|(_, slot)| hash.add(slot, &hello_tag()));
        let (unchanged, hash) = (Unchanged::new(same.iter().copied()), hash.finish());
        reply(10, Outcome::Batch { unchanged, hash, rest })
    };
    let outcome = Outcome::Full { tag: hello_tag(), headers: plain_text(), body: inline.clone() };
    let rest = Reply { request_id: 1, outcome }.encode();
    let called = |status, headers, body| reply(11, Outcome::Called { status, headers, body });
    let empty = HeaderBlock::default();
    let http = |status, body| {
        let fields = Fields::of([("content-type", "text/plain")]);
        reply(13, Outcome::Http(HttpAnswer { status, fields, body }))
    };
    vec![
        ("use-cached", reply(7, Outcome::UseCached { tag: hello_tag() })),
        ("full/inline", full(hello_tag(), plain_text(), inline)),
        ("full/stream", full(hello_tag(), empty, Body::Stream { length: 1 << 20 })),
        ("delta/inline", delta(Body::Inline(Bytes::from_static(b"(zstd)")))),
        ("delta/stream", delta(Body::Stream { length: 20_000 })),
        ("batch-reply/all", batch(&[true, true], Body::Inline(Bytes::new()))),
        ("batch-reply/some", batch(&[true, false, true], Body::Inline(rest.to_bytes()))),
        ("batch-reply/stream", batch(&[false, true], Body::Stream { length: 1 << 20 })),
        ("http-reply/none", http(304, HttpBody::None)),
        ("http-reply/inline", http(200, HttpBody::Inline(Bytes::from_static(b"hello")))),
        ("http-reply/stream", http(206, HttpBody::Stream { length: 1 << 20, tag: None })),
        (
            "http-reply/version",
            http(200, HttpBody::Stream { length: 1 << 20, tag: Some(hello_tag()) }),
        ),
        ("http-reply/open", http(200, HttpBody::Open)),
        ("noted", reply(12, Outcome::Noted)),
        ("full/unmirrored", full(Tag([0; 16]), plain_text(), unmirrored)),
        (
            "call-reply/inline",
            called(201, plain_text(), Body::Inline(Bytes::from_static(b"hello"))),
        ),
        (
            "call-reply/stream",
            called(200, HeaderBlock::default(), Body::Stream { length: 1 << 20 }),
        ),
        ("not-found", reply(7, Outcome::NotFound)),
        ("unknown-slot", reply(7, Outcome::UnknownSlot)),
        ("busy", reply(7, Outcome::Busy { retry_after_ms: 1000 })),
        ("fate-unknown", reply(7, Outcome::FateUnknown)),
        ("error/refused", reply(7, Outcome::error(ErrorCode::Refused, "that is a directory"))),
        (
            "error/not-supported",
            reply(11, Outcome::error(ErrorCode::NotSupported, "not supported")),
        ),
    ]
}

fn hello_values() -> Vec<(&'static str, Value)> {
    let router = |purpose| ServerHello {
        oldest: 1,
        newest: 1,
        role: Role::Router,
        name: name("router-1"),
        purpose,
        incarnation: 1_700_000_000,
        workers: 4,
        worker: 3,
        pool: None,
    };
    let server = ServerHello {
        role: Role::Server,
        name: name("server-1"),
        incarnation: 1_700_000_001,
        workers: 2,
        worker: 1,
        ..router(Purpose::Frames)
    };
    vec![
        ("server-hello/router", Value::ServerHello(router(Purpose::Frames))),
        ("server-hello/bodies", Value::ServerHello(router(Purpose::Bodies))),
        ("server-hello/gossip", Value::ServerHello(router(Purpose::Gossip))),
        ("server-welcome/server", Value::ServerWelcome(server.clone())),
        (
            "server-welcome/pool",
            Value::ServerWelcome(ServerHello { newest: 4, pool: Some(name("shop")), ..server }),
        ),
    ]
}

fn gossip_values() -> Vec<(&'static str, Value)> {
    let member = |role, text: &str, address: Option<&str>| MemberId {
        role,
        name: name(text),
        incarnation: 1_700_000_000,
        address: address.map(|address| address.parse().unwrap()),
    };
    let router = || member(Role::Router, "router-1", None);
    let server = |number: u8| {
        let address = format!("10.0.0.1{number}:4443");
        member(Role::Server, &format!("server-{number}"), Some(&address))
    };
    let far = || member(Role::Server, "server-3", Some("[2001:db8::3]:4443"));
    let gossip = |kind, updates| {
        let (from, to) = (router(), server(1));
        Value::Gossip(Gossip { from, refuted: 0, to, kind, updates })
    };
    let update = |member, refuted, state| MemberUpdate { member, refuted, state };
    let states = || {
        vec![
            update(server(2), 1, GossipState::Alive),
            update(far(), 0, GossipState::Suspect),
            update(router(), 0, GossipState::Down),
        ]
    };
    let (number, to) = (7, || server(2));
    vec![
        ("gossip/ping", gossip(GossipKind::Ping { number }, vec![])),
        ("gossip/ack", gossip(GossipKind::Ack { number }, vec![])),
        ("gossip/ping-request", gossip(GossipKind::PingRequest { number, target: to() }, vec![])),
        ("gossip/indirect-ping", gossip(GossipKind::IndirectPing { number, origin: to() }, vec![])),
        ("gossip/indirect-ack", gossip(GossipKind::IndirectAck { number, target: to() }, vec![])),
        ("gossip/forwarded-ack", gossip(GossipKind::ForwardedAck { number, origin: to() }, vec![])),
        ("gossip/announce", gossip(GossipKind::Announce, vec![])),
        ("gossip/feed", gossip(GossipKind::Feed, vec![])),
        ("gossip/news", gossip(GossipKind::News, states())),
        ("gossip/down", gossip(GossipKind::Down, vec![])),
    ]
}

fn forward_values() -> Vec<(&'static str, Value)> {
    let get = Get { request_id: 7, slot: 300, key: None, validator: Validator::None };
    let asked = |how, epoch: Epoch, former: &[&str], resume| {
        Value::Message(Message::Forward(Forward {
            request_id: 4096,
            client: client(),
            term: epoch.term,
            change: epoch.change,
            primary: (how == How::Standby).then_some(epoch.primary),
            how,
            deadline_ms: 5000,
            former: former.iter().map(|text| name(text)).collect(),
            resume,
            takes_deltas: how == How::Known && epoch.change == 2,
            inner: get.encode(),
        }))
    };
    let forward = |how, epoch, former: &[&str]| asked(how, epoch, former, None);
    let rest = Resume { offset: 300_000, tag: hello_tag() };
    vec![
        ("forward/known", forward(How::Known, epoch(1, 1, "server-1"), &[])),
        ("forward/takes-deltas", forward(How::Known, epoch(1, 2, "server-1"), &[])),
        ("forward/assign", forward(How::Assign, epoch(1, 0, "server-1"), &[])),
        ("forward/handed-on", forward(How::HandedOn, epoch(2, 0, "server-2"), &[])),
        ("forward/takeover", forward(How::Takeover, epoch(2, 0, "server-2"), &["server-1"])),
        ("forward/standby", forward(How::Standby, epoch(1, 1, "server-1"), &[])),
        ("resume", asked(How::Takeover, epoch(2, 0, "server-2"), &["server-1"], Some(rest))),
    ]
}

fn answer_values() -> Vec<(&'static str, Value)> {
    let request_id = 4096;
    let taken_over = || assignment(epoch(2, 1, "server-2"), Some("server-3"));
    let reply = |assignment, by, outcome| {
        let inner = Reply { request_id: 7, outcome }.encode();
        Value::Message(Message::Reply { request_id, assignment, by, inner })
    };
    let use_cached =
        |assignment, by| reply(assignment, Some(by), Outcome::UseCached { tag: hello_tag() });
    let not_owner = |known| Value::Message(Message::NotOwner { request_id, known });
    vec![
        ("reply/plain", reply(None, None, Outcome::NotFound)),
        ("reply/by-mirror", use_cached(None, UseCachedBy::Mirror)),
        ("reply/by-crc", use_cached(None, UseCachedBy::Crc)),
        ("reply/by-strong", use_cached(None, UseCachedBy::Strong)),
        ("reply/assigned", use_cached(Some(taken_over()), UseCachedBy::Mirror)),
        ("not-owner/unknown", not_owner(None)),
        ("not-owner/known", not_owner(Some(taken_over()))),
        ("handed-on", Value::Message(Message::HandedOn { request_id, to: name("server-2") })),
        ("wrong-worker", Value::Message(Message::WrongWorker { request_id, workers: 4 })),
        ("cancel", Value::Message(Message::Cancel { request_id })),
        ("want-body", Value::Message(Message::WantBody { request_id })),
    ]
}

fn mirror_values() -> Vec<(&'static str, Value)> {
    let client = client();
    let of_two = || epoch(2, 1, "server-2");
    let mirror = |sequence, version| {
        let (slot, key) = (300, key("/a"));
        Message::Mirror { client, epoch: of_two(), sequence, slot, key, version }
    };
    let assignment_of_two = assignment(of_two(), Some("server-3"));
    let other_alternate = assignment(epoch(1, 2, "server-1"), Some("server-3"));
    let values = [
        (
            "mirror-begin",
            Message::MirrorBegin { client, epoch: of_two(), former: vec![name("server-1")] },
        ),
        ("mirror/version", mirror(1, Some(hello()))),
        ("mirror/nothing", mirror(2, None)),
        ("mirror-end", Message::MirrorEnd { client, epoch: epoch(1, 1, "server-1") }),
        ("mirror-ack", Message::MirrorAck { client, epoch: of_two(), sequence: 2 }),
        (
            "hand-over",
            Message::HandOver {
                client,
                epoch: epoch(1, 1, "server-1"),
                former: vec![name("server-3")],
            },
        ),
        ("handed-over", Message::HandedOver { client, assignment: assignment_of_two.clone() }),
        ("mirror-refused", Message::MirrorRefused { client, assignment: assignment_of_two }),
        ("assignment-changed", Message::AssignmentChanged { client, assignment: other_alternate }),
        ("release", Message::Release { client, epoch: epoch(2, 0, "server-2") }),
        ("released", Message::Released { client, epoch: epoch(2, 0, "server-2") }),
    ];
    values.map(|(name, message)| (name, Value::Message(message))).into()
}

fn status_values() -> Vec<(&'static str, Value)> {
    let status = |zone: Option<&str>, state, admin: &str| {
        Message::Status(Status {
            name: name("server-1"),
            incarnation: 1_700_000_001,
            sequence: 12,
            zone: zone.map(name),
            state,
            primary_clients: 9000,
            alternate_clients: 4000,
            threshold: 10_000,
            capacity: 20_000,
            handed_on_clients: 3,
            must_served_clients: 2,
            released_clients: 1,
            pid: 4242,
            admin: admin.to_owned(),
        })
    };
    let holds = |holds| Message::Holds { query: 17, client: client(), holds };
    let mirror = |as_primary| {
        let assignment = assignment(epoch(1, 1, "server-1"), Some("server-2"));
        holds(Holds::Mirror(Holding { as_primary, assignment, entries: 250 }))
    };
    let values = [
        ("status/ready", status(Some("a"), SelfState::Ready, "127.0.0.1:4481")),
        ("status/returned", status(None, SelfState::Returned, "")),
        ("status/draining", status(None, SelfState::Draining, "")),
        ("returned", Message::Returned { round: 3 }),
        ("settled", Message::Settled { round: 3 }),
        ("who-holds", Message::WhoHolds { query: 17, client: client() }),
        ("holds/nothing", holds(Holds::Nothing)),
        ("holds/primary", mirror(true)),
        ("holds/alternate", mirror(false)),
        ("holds/released", holds(Holds::Released(epoch(2, 0, "server-2")))),
        ("pull", Message::Pull { number: 5, digest: hello().digest, offset: 16_384 }),
        ("pulled/bytes", Message::Pulled { number: 5, offset: 0, bytes: Some(hello_bytes()) }),
        ("pulled/nothing", Message::Pulled { number: 5, offset: 0, bytes: None }),
        ("ping", Message::Ping { number: 99 }),
        ("pong", Message::Pong { number: 99 }),
    ];
    values.map(|(name, message)| (name, Value::Message(message))).into()
}

fn values() -> Vec<(&'static str, Value)> {
    [
        session_values(),
        request_values(),
        reply_values(),
        hello_values(),
        forward_values(),
        answer_values(),
        mirror_values(),
        status_values(),
        gossip_values(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is smaller than a frame, as bytes.
fn parts() -> Vec<(&'static str, Vec<u8>)> {
    let written = |write: &dyn Fn(&mut BytesMut)| {
        let mut out = BytesMut::new();
        write(&mut out);
        out.to_vec()
    };
    let all = HeaderBlock::new([
        (HeaderName::ContentType, "text/html"),
        (HeaderName::ContentEncoding, "gzip"),
        (HeaderName::ContentLanguage, "en"),
        (HeaderName::Etag, "\"v1\""),
        (HeaderName::LastModified, "Tue, 01 Sep 2026 00:00:00 GMT"),
    ]);
    let all = all.unwrap();
    let pair = assignment(epoch(1, 1, "server-1"), Some("server-2"));
    vec![
        ("header-block/empty", written(&|out| HeaderBlock::default().encode(out))),
        ("header-block/all", written(&|out| all.encode(out))),
        ("crc/check", fingerprint(b"", b"123456789").crc.to_be_bytes().to_vec()),
        ("digest/nothing", fingerprint(b"", b"").digest.0.to_vec()),
        ("digest/hello", hello().digest.0.to_vec()),
        ("tag/hello", hello_tag().0.to_vec()),
        ("fingerprint/hello", written(&|out| hello().encode(out))),
        ("epoch/first", written(&|out| epoch(1, 0, "server-1").encode(out))),
        ("epoch/last", written(&|out| epoch(MAX_TERM, MAX_CHANGE, "server-1").encode(out))),
        ("assignment/alone", written(&|out| assignment(epoch(1, 0, "server-1"), None).encode(out))),
        ("assignment/pair", written(&|out| pair.encode(out))),
        ("token/plain", written(&|out| token().encode(out))),
        ("token/sealed", token_keys().seal(&token(), [9; 12]).to_vec()),
    ]
}

/// The lines of all blocks of one kind: what stands behind the name, by name.
fn lines(kind: &str) -> BTreeMap<&'static str, &'static str> {
    let mut lines = BTreeMap::new();
    let mut inside = None;
    for line in DOCUMENT.lines() {
        match (inside, line.strip_prefix("```")) {
            (None, Some(opened)) => inside = Some(opened),
            (Some(_), Some(_)) => inside = None,
            (Some(opened), None) if opened == kind => {
                let (name, rest) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
                let twice = lines.insert(name, rest);
                assert!(twice.is_none(), "{name} stands in the document twice");
            }
            _ => {}
        }
    }
    lines
}

fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    lines("vectors").into_iter().map(|(name, hex)| (name, from_hex(hex))).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter(|digit| *digit != ' ').collect();
    assert!(digits.len().is_multiple_of(2), "an odd number of digits: {hex}");
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
    digits.chunks(2).map(|pair| byte(pair).unwrap_or_else(|_| panic!("no hex: {hex}"))).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `UseCached` as `use-cached`.
fn kebab(kind: FrameType) -> String {
    let mut text = String::new();
    for letter in format!("{kind:?}").chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[test]
fn the_document_says_what_the_encoders_write() {
    let vectors = vectors();
    let mut wrong = Vec::new();
    let frames = values().into_iter().map(|(name, value)| (name, value.encode().bytes().to_vec()));
    for (name, written) in frames.chain(parts()) {
        match vectors.get(name) {
            Some(said) if *said == written => {}
            Some(said) => wrong.push(format!("{name}: {} but {}", to_hex(said), to_hex(&written))),
            None => wrong.push(format!("{name} is missing: {}", to_hex(&written))),
        }
    }
    assert!(wrong.is_empty(), "the document says, but the encoder writes:\n{}", wrong.join("\n"));
}

#[test]
fn what_the_document_says_decodes_to_the_same_values() {
    let vectors = vectors();
    for (name, value) in values() {
        assert_eq!(Value::decode(&vectors[name]).as_ref(), Ok(&value), "{name}");
    }
    let vectors: BTreeMap<_, _> =
        vectors.into_iter().map(|(name, bytes)| (name, Bytes::from(bytes))).collect();
    let reader = |name: &str| Reader::new(&vectors[name]);
    assert_reads(reader("fingerprint/hello"), Fingerprint::decode, &hello());
    assert_reads(reader("epoch/first"), Epoch::decode, &epoch(1, 0, "server-1"));
    assert_reads(reader("epoch/last"), Epoch::decode, &epoch(MAX_TERM, MAX_CHANGE, "server-1"));
    let alone = assignment(epoch(1, 0, "server-1"), None);
    assert_reads(reader("assignment/alone"), Assignment::decode, &alone);
    let pair = assignment(epoch(1, 1, "server-1"), Some("server-2"));
    assert_reads(reader("assignment/pair"), Assignment::decode, &pair);
    assert_reads(reader("digest/hello"), Digest::decode, &hello().digest);
    assert_reads(reader("tag/hello"), Tag::decode, &hello_tag());
    let all = HeaderBlock::decode(&mut reader("header-block/all")).unwrap();
    assert_eq!(all.iter().count(), 5);
    assert_eq!(all.value(HeaderName::ContentLanguage), Some("en"));
    let plain = Token::decode(vectors["token/plain"].clone());
    assert_eq!(plain, Ok(token()));
    let opened = token_keys().open(&vectors["token/sealed"], token().expires_s - 1);
    assert_eq!(opened, Ok(token()));
}

fn assert_reads<T: Debug + PartialEq>(
    mut reader: Reader,
    decode: impl Fn(&mut Reader) -> Result<T, DecodeError>,
    expected: &T,
) {
    assert_eq!(decode(&mut reader).as_ref(), Ok(expected));
    assert_eq!(reader.finish("vector"), Ok(()));
}

#[test]
fn integers_are_what_their_names_say() {
    let vectors = vectors();
    let integers = vectors.iter().filter_map(|(name, said)| {
        Some((name.strip_prefix("varint/")?.parse::<u64>().unwrap(), said))
    });
    let mut lengths = BTreeSet::new();
    for (number, said) in integers {
        let mut written = BytesMut::new();
        put::varint(&mut written, number);
        assert_eq!(written, said[..], "{number}");
        let said = Bytes::from(said.clone());
        let read = Reader::new(&said).varint("vector", u64::MAX);
        assert_eq!(read, Ok(number));
        lengths.insert(said.len());
    }
    assert_eq!(lengths, BTreeSet::from([1, 2, 4, 8]));
}

#[test]
fn every_vector_is_checked() {
    let checked: BTreeSet<_> = values()
        .iter()
        .map(|(name, _)| *name)
        .chain(parts().iter().map(|(name, _)| *name))
        .collect();
    for name in vectors().keys() {
        let known = checked.contains(name) || name.starts_with("varint/");
        assert!(known, "{name} stands in the document, and nothing checks it");
    }
}

#[test]
fn every_frame_type_has_a_vector_and_its_number_in_the_document() {
    let vectors = vectors();
    for kind in FrameType::ALL {
        let name = kebab(kind);
        let of_kind = |found: &&str| {
            found.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let frames: Vec<_> = vectors.iter().filter(|(found, _)| of_kind(found)).collect();
        assert!(!frames.is_empty(), "docs/protocol.md has no vector for {kind:?}");
        for (found, bytes) in frames {
            assert_eq!(bytes[0], kind as u8, "{found}");
        }
        let row = format!("| 0x{:02x} | {}", kind as u8, name.to_uppercase().replace('-', "_"));
        assert!(DOCUMENT.contains(&row), "the table of numbers has no {row:?}");
    }
}

#[test]
fn what_must_be_refused_is_refused_for_the_reason_that_is_stated() {
    let mut wrong = Vec::new();
    for (name, rest) in lines("refused") {
        let (hex, reason) = rest.split_once(" # ").unwrap_or((rest, "no reason is stated"));
        let found = match Value::decode(&from_hex(hex)) {
            Ok(value) => format!("it was read as {value:?}"),
            Err(error) => error.to_string(),
        };
        if found != reason {
            wrong.push(format!("{name} # {found}"));
        }
    }
    assert!(wrong.is_empty(), "the reasons are others:\n{}", wrong.join("\n"));
}

#[test]
fn a_request_says_whether_it_may_be_repeated() {
    let vectors = vectors();
    let frame = |name: &str| {
        Frame::parse(Bytes::from(vectors[name].clone()), MAX_BACKPLANE_PAYLOAD).unwrap()
    };
    assert!(!is_idempotent(&frame("call/plain")));
    assert!(is_idempotent(&frame("call/idempotent")) && is_idempotent(&frame("get/slot")));
}
