//! Directed tests, the router's part played by hand. `tests/world.rs` plays it by chance.

mod batches;
mod calls;
mod pulse;
mod world;

use super::*;
use crate::wire::lane::{Body, BodyStart, ErrorCode, Get, Outcome, Reply as LaneReply, Validator};
use crate::wire::session::{Hello, Limits};
use crate::wire::types::fingerprint;
use crate::wire::{
    Assignment, ClientId, Digest, Epoch, Fingerprint, HeaderBlock, HeaderName, Key, Name,
};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use std::time::Duration;

/// Two byte strings that differ, and have the same length and the same CRC-32: adding a multiple of
/// the generator polynomial, here the polynomial itself, changes no remainder.
pub(super) fn crc_twin(bytes: &[u8], place: usize) -> Vec<u8> {
    let polynomial: u64 = 0x1_db71_0641; // x^32 first, least significant bit first
    let mut twin = bytes.to_vec();
    for (byte, change) in twin[place..place + 5].iter_mut().zip(polynomial.to_le_bytes()) {
        *byte ^= change;
    }
    twin
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn headers() -> HeaderBlock {
    HeaderBlock::new([(HeaderName::ContentType, "text/plain")]).unwrap()
}

fn print_of(bytes: &[u8]) -> Fingerprint {
    fingerprint(headers().as_bytes(), bytes)
}

fn tag_of(name: &str, bytes: &[u8]) -> Tag {
    key(name).tag(&print_of(bytes).digest)
}

fn use_cached(name: &str, bytes: &[u8]) -> Outcome {
    Outcome::UseCached { tag: tag_of(name, bytes) }
}

fn full(name: &str, bytes: &[u8]) -> Outcome {
    let body = Body::Inline(Bytes::copy_from_slice(bytes));
    Outcome::Full { tag: tag_of(name, bytes), headers: headers(), body }
}

fn streamed(name: &str, bytes: &[u8]) -> Outcome {
    let body = Body::Stream { length: bytes.len() as u64 };
    Outcome::Full { tag: tag_of(name, bytes), headers: headers(), body }
}

fn unavailable() -> Outcome {
    Outcome::error(ErrorCode::Unavailable, "nobody is there")
}

fn assignment(term: u64, primary: &str) -> Assignment {
    let name = |text| Name::new(text).unwrap();
    Assignment { epoch: Epoch::new(term, name(primary)), alternate: Some(name("alternate")) }
}

pub(super) const LIMITS: Limits = Limits { slots: 100, in_flight: 100, max_item: 1 << 26 };

/// The greeting of a router that knows no PING.
pub(super) fn welcome_frame(limits: Limits) -> Frame {
    welcome_frame_of(1, limits)
}

pub(super) fn welcome_frame_of(version: u64, limits: Limits) -> Frame {
    let token = Bytes::from_static(b"token-1");
    let (client, assignment) = (ClientId([1; 16]), assignment(1, "server-1"));
    Welcome { version, client, token, assignment, limits }.encode()
}

/// A client, and all that it has put out so far.
struct Bench {
    client: Client,
    now: Time,
    outputs: Vec<Output>,
    next_ticket: u64,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self::restored(config, Saved::default())
    }

    fn restored(config: Config, saved: Saved) -> Self {
        let now = Time::from_micros(1_000_000);
        let client = Client::new(config, saved, 7, now);
        let mut bench = Self { client, now, outputs: Vec::new(), next_ticket: 0 };
        assert_eq!(bench.take(), [Output::Connect { router: 0 }]);
        bench
    }

    /// A client with a session that stands.
    fn ready(config: Config) -> Self {
        let mut bench = Self::new(config);
        bench.greet(LIMITS);
        bench
    }

    fn greet(&mut self, limits: Limits) {
        self.client.handle_connected(self.now);
        assert!(matches!(self.take()[..], [Output::SendSession(_), ..]));
        self.session(&welcome_frame(limits));
        assert!(self.client.is_ready());
    }

    fn session(&mut self, frame: &Frame) {
        self.client.handle_session_frame(frame, self.now);
    }

    fn take(&mut self) -> Vec<Output> {
        self.outputs.extend(std::iter::from_fn(|| self.client.poll_output()));
        std::mem::take(&mut self.outputs)
    }

    fn start(&mut self, name: &str, policy: ValidatorPolicy) -> u64 {
        self.next_ticket += 1;
        self.client.get(self.next_ticket, key(name), policy, self.now);
        self.next_ticket
    }

    /// The one request that was sent, everything else kept for later.
    fn request(&mut self) -> Get {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    fn requests(&mut self) -> Vec<Get> {
        let (sent, kept) =
            self.take().into_iter().partition(|output| matches!(output, Output::SendLane(_)));
        self.outputs = kept;
        let sent: Vec<Output> = sent;
        let decode = |output| match output {
            Output::SendLane(frame) => Get::decode(frame.payload()).unwrap(),
            other => unreachable!("{other:?}"),
        };
        sent.into_iter().map(decode).collect()
    }

    fn reply(&mut self, request_id: u64, outcome: Outcome) {
        let frame = LaneReply { request_id, outcome }.encode();
        self.client.handle_lane_frame(&frame, self.now);
    }

    /// The one answer that was given, everything else kept for later.
    fn answer(&mut self) -> Result<Reply, Error> {
        let mut answers = self.answers();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0).1
    }

    fn answers(&mut self) -> Vec<(u64, Result<Reply, Error>)> {
        let (given, kept) =
            self.take().into_iter().partition(|output| matches!(output, Output::Answer(_)));
        self.outputs = kept;
        let given: Vec<Output> = given;
        let open = |output| match output {
            Output::Answer(Answer { ticket, result }) => (ticket, result.map_err(|f| f.error)),
            other => unreachable!("{other:?}"),
        };
        given.into_iter().map(open).collect()
    }

    /// One get from beginning to end.
    fn fetch(&mut self, name: &str, policy: ValidatorPolicy, outcome: Outcome) -> Get {
        self.start(name, policy);
        let request = self.request();
        self.reply(request.request_id, outcome);
        self.answer().unwrap();
        request
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.client.handle_timeout(self.now);
    }
}

#[test]
fn crc_twins_are_twins() {
    let (one, other) = (b"hello, world".to_vec(), crc_twin(b"hello, world", 3));
    assert_ne!(one, other);
    assert_eq!(print_of(&one).crc, print_of(&other).crc);
    assert_ne!(print_of(&one).digest, print_of(&other).digest);
}

#[test]
fn the_second_get_is_a_few_bytes() {
    let mut bench = Bench::ready(Config::default());
    bench.start("/a", ValidatorPolicy::Auto);
    let first = bench.request();
    assert_eq!((first.slot, first.key, first.validator), (0, Some(key("/a")), Validator::None));
    bench.reply(first.request_id, full("/a", b"one"));
    let reply = bench.answer().unwrap();
    assert_eq!((&reply.bytes[..], reply.kind), (&b"one"[..], ReplyKind::Full));
    assert_eq!((reply.version, reply.headers), (tag_of("/a", b"one"), headers()));

    bench.start("/a", ValidatorPolicy::Auto);
    let second = bench.request();
    assert_eq!((second.slot, second.key, second.validator), (0, None, Validator::None));
    bench.reply(second.request_id, use_cached("/a", b"one"));
    let reply = bench.answer().unwrap();
    assert_eq!((&reply.bytes[..], reply.kind), (&b"one"[..], ReplyKind::UseCached));
    let (sent, came) = (2 + 3, 2 + 1 + 16);
    assert_eq!(reply.details.wire_bytes, sent + came);
    assert_eq!(reply.details.assignment, Some(assignment(1, "server-1")));
}

#[test]
fn policies_choose_the_validator_and_a_new_session_names_the_key_again() {
    let print = print_of(b"one");
    let crc = Validator::Crc { crc: print.crc, length: print.length };
    let strong = Validator::Strong { crc: print.crc, digest: print.digest };
    for (policy, later, first_of_session) in [
        (ValidatorPolicy::None, Validator::None, Validator::None),
        (ValidatorPolicy::Crc, crc, crc),
        (ValidatorPolicy::Strong, strong, strong),
        (ValidatorPolicy::Auto, Validator::None, strong),
    ] {
        let mut bench = Bench::ready(Config::default());
        bench.fetch("/a", policy, full("/a", b"one"));
        let second = bench.fetch("/a", policy, use_cached("/a", b"one"));
        assert_eq!((second.key, second.validator), (None, later), "{policy:?}");
        bench.client.handle_disconnected("test", bench.now);
        bench.take();
        bench.greet(LIMITS);
        let third = bench.fetch("/a", policy, use_cached("/a", b"one"));
        assert_eq!((third.key, third.validator), (Some(key("/a")), first_of_session), "{policy:?}");
    }
}

#[test]
fn a_crc_twin_is_never_handed_out_for_the_other() {
    let (old, new) = (b"hello, world".to_vec(), crc_twin(b"hello, world", 3));
    let mut bench = Bench::ready(Config::default());
    bench.fetch("/a", ValidatorPolicy::Crc, full("/a", &old));
    bench.start("/a", ValidatorPolicy::Crc);
    let second = bench.request();
    // The CRC fits, so the server says use-cached, and means the new bytes.
    bench.reply(second.request_id, use_cached("/a", &new));
    let third = bench.request();
    assert_eq!(third.key, Some(key("/a")));
    assert!(matches!(third.validator, Validator::Strong { .. }));
    bench.reply(third.request_id, full("/a", &new));
    assert_eq!(bench.answer().unwrap().bytes, new);
    assert_eq!(bench.client.statistics().tag_mismatches, 1);
}

#[test]
fn the_tag_of_another_key_is_not_believed() {
    let mut bench = Bench::ready(Config::default());
    bench.start("/a", ValidatorPolicy::Auto);
    for round in 0..3 {
        let id = bench.request().request_id;
        assert!(bench.answers().is_empty(), "round {round}");
        bench.reply(id, full("/b", b"one"));
    }
    assert_eq!(bench.answer(), Err(Error::Unverified { rounds: 3 }));
    assert_eq!(bench.client.cache_size().0, 0);
}

#[test]
fn use_cached_for_nothing_is_asked_again_as_nothing() {
    let mut bench = Bench::ready(Config::default());
    bench.start("/a", ValidatorPolicy::Auto);
    let first = bench.request();
    bench.reply(first.request_id, use_cached("/a", b"one"));
    let second = bench.request();
    let nothing = Validator::Strong { crc: 0, digest: Digest([0; 16]) };
    assert_eq!((second.key, second.validator), (Some(key("/a")), nothing));
    bench.reply(second.request_id, full("/a", b"one"));
    assert_eq!(bench.answer().unwrap().bytes, "one");
}

#[test]
fn an_unknown_slot_is_named() {
    let mut bench = Bench::ready(Config::default());
    bench.fetch("/a", ValidatorPolicy::Auto, full("/a", b"one"));
    bench.start("/a", ValidatorPolicy::Auto);
    let keyless = bench.request();
    assert_eq!(keyless.key, None);
    bench.reply(keyless.request_id, Outcome::UnknownSlot);
    let keyed = bench.request();
    assert_eq!(keyed.key, Some(key("/a")));
    bench.reply(keyed.request_id, use_cached("/a", b"one"));
    assert_eq!(bench.answer().unwrap().details.attempts, 2);
}

#[test]
fn that_an_item_does_not_exist_is_believed_only_of_a_named_key() {
    for outcome in [Outcome::NotFound, Outcome::error(ErrorCode::Refused, "no")] {
        let mut bench = Bench::ready(Config::default());
        bench.fetch("/a", ValidatorPolicy::Auto, full("/a", b"one"));
        bench.start("/a", ValidatorPolicy::Auto);
        let keyless = bench.request();
        bench.reply(keyless.request_id, outcome.clone());
        let keyed = bench.request();
        assert_eq!((keyless.key, keyed.key), (None, Some(key("/a"))));
        bench.reply(keyed.request_id, outcome.clone());
        assert!(bench.answer().is_err());
        let kept = usize::from(outcome != Outcome::NotFound);
        assert_eq!(bench.client.cache_size().0, kept, "only what does not exist is dropped");
    }
}

#[test]
fn gets_of_one_key_share_one_request() {
    let mut bench = Bench::ready(Config::default());
    let tickets = [0; 3].map(|_| bench.start("/a", ValidatorPolicy::Auto));
    let only = bench.request();
    bench.client.cancel(tickets[1]);
    bench.reply(only.request_id, full("/a", b"one"));
    let answers = bench.answers();
    assert_eq!(answers.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), [1, 3]);
    assert!(answers.iter().all(|(_, result)| result.as_ref().unwrap().bytes == "one"));
}

#[test]
fn bodies_and_frames_come_in_either_order() {
    let large = vec![7; 20_000];
    for body_first in [true, false] {
        let mut bench = Bench::ready(Config::default());
        bench.start("/a", ValidatorPolicy::Auto);
        let id = bench.request().request_id;
        if body_first {
            bench.client.handle_body(id, 0, large.clone().into(), bench.now);
            bench.reply(id, streamed("/a", &large));
        } else {
            bench.reply(id, streamed("/a", &large));
            assert!(bench.answers().is_empty());
            bench.client.handle_body(id, 0, large.clone().into(), bench.now);
        }
        let reply = bench.answer().unwrap();
        assert_eq!(reply.bytes, large);
        let overhead = BodyStart { request_id: id, offset: 0 }.encode().bytes().len() as u64;
        assert!(reply.details.wire_bytes > 20_000 + overhead);
    }
}

#[test]
fn a_broken_body_is_asked_for_again_and_not_for_ever() {
    let large = vec![7; 20_000];
    let mut bench = Bench::ready(Config::default());
    bench.start("/a", ValidatorPolicy::Auto);
    for round in 0..5 {
        let id = bench.request().request_id;
        match round {
            0 => bench.client.handle_body_failed(Some(id), 10, bench.now),
            1 => {
                bench.reply(id, streamed("/a", &large));
                bench.client.handle_body_failed(None, 0, bench.now);
            }
            2 => {
                bench.reply(id, streamed("/a", &large));
                bench.client.handle_body(id, 0, Bytes::from_static(b"too short"), bench.now);
            }
            _ => {
                bench.reply(id, streamed("/a", &large));
                bench.client.handle_body(id, 5, large[5..].to_vec().into(), bench.now);
            }
        }
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!(bench.answer(), Err(Error::BodyLost { times: 5 }));
    assert!(bench.requests().is_empty());
    assert_eq!(bench.client.statistics().broken_bodies, 5);
}

#[test]
fn an_unmirrored_item_is_checked_and_not_kept() {
    let mut bench = Bench::ready(Config::default());
    let tagged = |bytes: &[u8], tag: Tag| Bytes::from([bytes, &tag.0].concat());
    let head = |length| Outcome::Full {
        tag: Tag([0; 16]),
        headers: headers(),
        body: Body::Unmirrored { length },
    };
    bench.start("/a", ValidatorPolicy::Auto);
    let wrong = bench.request();
    bench.reply(wrong.request_id, head(4));
    let body = tagged(b"huge", tag_of("/a", b"tiny"));
    bench.client.handle_body(wrong.request_id, 0, body, bench.now);
    let right = bench.request();
    bench.reply(right.request_id, head(4));
    let body = tagged(b"huge", tag_of("/a", b"huge"));
    bench.client.handle_body(right.request_id, 0, body, bench.now);
    assert_eq!(bench.answer().unwrap().bytes, "huge");
    assert_eq!(bench.client.cache_size(), (0, 0));
}

#[test]
fn an_item_that_is_too_large_is_refused_before_its_body_comes() {
    let mut bench = Bench::ready(Config { max_body: 100, ..Config::default() });
    bench.start("/a", ValidatorPolicy::Auto);
    let id = bench.request().request_id;
    bench.reply(id, streamed("/a", &[0; 101]));
    assert_eq!(bench.answer(), Err(Error::TooLarge { length: 101, limit: 100 }));
}

#[test]
fn a_slot_changes_its_key_only_when_nothing_is_under_way_for_it() {
    let mut bench = Bench::new(Config::default());
    bench.greet(Limits { slots: 2, ..LIMITS });
    bench.fetch("/a", ValidatorPolicy::Auto, full("/a", b"one"));
    bench.fetch("/b", ValidatorPolicy::Auto, full("/b", b"two"));
    bench.start("/a", ValidatorPolicy::Auto);
    let of_a = bench.request();
    bench.start("/c", ValidatorPolicy::Auto);
    let of_c = bench.request();
    assert_eq!((of_a.slot, of_c.slot), (0, 1), "the idle slot makes room");
    bench.start("/d", ValidatorPolicy::Auto);
    assert!(bench.requests().is_empty(), "both slots are busy");
    bench.reply(of_c.request_id, full("/c", b"three"));
    let of_d = bench.request();
    assert_eq!((of_d.slot, of_d.key, of_d.validator), (1, Some(key("/d")), Validator::None));
    assert_eq!(bench.client.statistics().evictions, 2);
}

#[test]
fn the_least_recently_used_items_make_room() {
    let mut bench = Bench::ready(Config { max_cache_bytes: 2_500, ..Config::default() });
    let bytes = [1; 1_000];
    bench.fetch("/a", ValidatorPolicy::Auto, full("/a", &bytes));
    bench.fetch("/b", ValidatorPolicy::Auto, full("/b", &bytes));
    bench.fetch("/a", ValidatorPolicy::Auto, use_cached("/a", &bytes));
    bench.fetch("/c", ValidatorPolicy::Auto, full("/c", &bytes));
    let again = bench.fetch("/a", ValidatorPolicy::Auto, use_cached("/a", &bytes));
    assert_eq!(again.slot, 0);
    let gone = bench.fetch("/b", ValidatorPolicy::Auto, full("/b", &bytes));
    assert!(gone.key.is_some());
    assert!(bench.client.cache_size().1 <= 2_500);
    let huge = bench.fetch("/huge", ValidatorPolicy::Auto, full("/huge", &[1; 3_000]));
    assert!(huge.key.is_some());
    assert_eq!(bench.client.cache_size().0, 2, "what can never fit evicts nothing");
}

#[test]
fn no_more_is_asked_than_the_router_allows() {
    let mut bench = Bench::new(Config { max_waiting: 5, ..Config::default() });
    bench.greet(Limits { in_flight: 2, ..LIMITS });
    for name in ["/a", "/b", "/c", "/d", "/e"] {
        bench.start(name, ValidatorPolicy::Auto);
    }
    let first = bench.requests();
    assert_eq!(first.len(), 2);
    bench.start("/f", ValidatorPolicy::Auto);
    assert_eq!(bench.answer(), Err(Error::TooManyWaiting { limit: 5 }));
    bench.reply(first[1].request_id, full("/b", b"b"));
    assert_eq!(bench.request().key, Some(key("/c")));
}

#[test]
fn requests_may_follow_hello_at_once() {
    let mut bench = Bench::new(Config::default());
    for number in 0..40 {
        bench.start(&format!("/{number}"), ValidatorPolicy::Auto);
    }
    bench.client.handle_connected(bench.now);
    let sent = bench.requests();
    assert_eq!(sent.len(), 16);
    // The lane may be faster than the session stream.
    bench.reply(sent[0].request_id, full("/0", b"0"));
    assert_eq!(bench.answer().unwrap().details.client, None);
    bench.session(&welcome_frame(LIMITS));
    assert_eq!(bench.requests().len(), 40 - 16);
}

#[test]
fn slots_above_the_limit_of_the_router_are_given_up() {
    let mut bench = Bench::new(Config::default());
    for number in 0..10 {
        bench.start(&format!("/{number}"), ValidatorPolicy::Auto);
    }
    bench.client.handle_connected(bench.now);
    let early = bench.requests();
    bench.session(&welcome_frame(Limits { slots: 4, ..LIMITS }));
    // The router has the six on its list that it will refuse, so they count to the end.
    let mut arriving = early[..4].to_vec();
    for _ in 0..10 {
        let request = arriving.remove(0);
        assert!(request.slot < 4);
        let name = request.key.unwrap();
        bench.reply(request.request_id, full(name.as_str(), b"x"));
        arriving.extend(bench.requests());
    }
    assert_eq!(bench.answers().len(), 10);
}

#[test]
fn a_lost_session_is_asked_again_on_the_next_one() {
    let mut bench = Bench::ready(Config { routers: 2, ..Config::default() });
    bench.fetch("/x", ValidatorPolicy::Auto, full("/x", b"x"));
    bench.start("/a", ValidatorPolicy::Auto);
    let first = bench.request();
    bench.client.handle_disconnected("gone", bench.now);
    assert_eq!(bench.take(), [Output::Connect { router: 1 }], "the other router, at once");
    bench.reply(first.request_id, full("/a", b"late"));
    assert!(bench.take().is_empty());
    bench.client.handle_connected(bench.now);
    let second = bench.request();
    assert!(second.request_id > first.request_id);
    assert_eq!(second.slot, first.slot);
    bench.reply(first.request_id, full("/a", b"late"));
    bench.reply(77, full("/a", b"never asked for"));
    let counted = bench.client.statistics();
    assert_eq!((counted.late_replies, counted.unknown_replies), (1, 1));
    bench.reply(second.request_id, full("/a", b"one"));
    assert_eq!(bench.answer().unwrap().bytes, "one");
}

#[test]
fn attempts_to_connect_slow_down_and_gets_end_in_time() {
    let mut bench = Bench::new(Config { routers: 2, ..Config::default() });
    bench.start("/a", ValidatorPolicy::Auto);
    let end = bench.now + Duration::from_secs(15);
    let mut attempts = 0;
    while bench.client.waiting() > 0 {
        bench.client.handle_disconnected("refused", bench.now);
        bench.now = bench.client.poll_timeout().unwrap().max(bench.now);
        bench.client.handle_timeout(bench.now);
        attempts += 1;
    }
    assert_eq!(bench.now, end);
    assert!((10..40).contains(&attempts), "{attempts} attempts in 15 s");
    match bench.answer() {
        Err(Error::TimedOut { trouble, .. }) => assert_eq!(trouble.as_deref(), Some("refused")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_router_that_says_nothing_is_given_up() {
    let mut bench = Bench::new(Config::default());
    bench.pass(Duration::from_secs(3));
    let code = CloseCode::Done;
    assert!(matches!(bench.take()[..], [Output::Close { code: c, .. }] if c == code));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.take(), [Output::Connect { router: 0 }]);
    bench.client.handle_connected(bench.now);
    bench.take();
    bench.pass(Duration::from_secs(5));
    assert!(matches!(bench.take()[..], [Output::Close { code: c, .. }] if c == code));
}

#[test]
fn a_request_that_is_never_answered_costs_its_get_and_then_the_session() {
    let mut bench = Bench::new(Config::default());
    bench.greet(Limits { in_flight: 4, ..LIMITS });
    for name in ["/a", "/b", "/c"] {
        bench.start(name, ValidatorPolicy::Auto);
    }
    assert_eq!(bench.requests().len(), 3);
    bench.pass(Duration::from_secs(15));
    assert_eq!(bench.answers().len(), 3);
    assert!(matches!(bench.take()[..], [Output::Close { .. }, ..]));
}

#[test]
fn late_replies_are_counted_and_free_their_place() {
    let mut bench = Bench::new(Config::default());
    bench.greet(Limits { in_flight: 2, ..LIMITS });
    bench.start("/a", ValidatorPolicy::Auto);
    let id = bench.request().request_id;
    bench.pass(Duration::from_secs(15));
    bench.start("/b", ValidatorPolicy::Auto);
    bench.start("/c", ValidatorPolicy::Auto);
    assert_eq!(bench.requests().len(), 1, "the router still has the first one on its list");
    bench.reply(id, full("/a", b"late"));
    assert_eq!(bench.requests().len(), 1);
    bench.reply(id, full("/a", b"twice"));
    assert!(bench.requests().is_empty(), "a second reply frees no second place");
    assert_eq!(bench.client.statistics().late_replies, 2);
}

#[test]
fn a_full_pool_is_reported_or_asked_again() {
    let busy = Outcome::Busy { retry_after_ms: 250 };
    let mut bench = Bench::ready(Config::default());
    bench.start("/a", ValidatorPolicy::Auto);
    let id = bench.request().request_id;
    bench.reply(id, busy.clone());
    assert_eq!(bench.answer(), Err(Error::Busy { retry_after: Duration::from_millis(250) }));

    let mut bench = Bench::ready(Config { retry_busy: true, ..Config::default() });
    bench.start("/a", ValidatorPolicy::Auto);
    let id = bench.request().request_id;
    bench.reply(id, busy);
    bench.pass(Duration::from_millis(249));
    assert!(bench.requests().is_empty());
    bench.pass(Duration::from_millis(1));
    let id = bench.request().request_id;
    bench.reply(id, full("/a", b"one"));
    assert_eq!(bench.answer().unwrap().bytes, "one");
}

#[test]
fn a_pool_without_servers_is_asked_a_few_times() {
    let mut bench = Bench::ready(Config::default());
    bench.start("/a", ValidatorPolicy::Auto);
    let mut rounds = 0;
    let error = loop {
        let id = bench.request().request_id;
        rounds += 1;
        bench.reply(id, unavailable());
        if let Some((_, result)) = bench.answers().pop() {
            break result.unwrap_err();
        }
        bench.pass(Duration::from_secs(1));
    };
    assert_eq!(rounds, 5);
    assert_eq!(error.to_string(), "no server could answer: nobody is there");
}

#[test]
fn the_newest_assignment_and_its_token_win() {
    let mut bench = Bench::ready(Config { persist: true, ..Config::default() });
    bench.take();
    let tell = |bench: &mut Bench, term, token: &'static [u8], lane: bool| {
        let assignment = assignment(term, "server-2");
        let frame = Assigned { token: Bytes::from_static(token), assignment }.encode();
        match lane {
            true => bench.client.handle_lane_frame(&frame, bench.now),
            false => bench.client.handle_session_frame(&frame, bench.now),
        }
        bench.client.token().cloned().unwrap()
    };
    assert_eq!(tell(&mut bench, 3, b"three", true), "three");
    assert_eq!(tell(&mut bench, 2, b"two", false), "three");
    assert_eq!(tell(&mut bench, 3, b"three again", false), "three again");
    assert_eq!(bench.client.assignment().unwrap().epoch.term, 3);
    let told = bench.take();
    assert!(matches!(&told[..], [Output::TokenChanged(_), Output::TokenChanged(last)]
            if last == "three again"));

    // The next session's HELLO shows it, and what that session says counts, even a lower epoch:
    // the router may have made a new client of this one.
    bench.client.handle_disconnected("gone", bench.now);
    bench.pass(Duration::from_secs(1));
    bench.client.handle_connected(bench.now);
    let hello = bench.take().into_iter().find_map(|output| match output {
        Output::SendSession(frame) => Some(Hello::decode(frame.payload()).unwrap()),
        _ => None,
    });
    assert_eq!(hello.unwrap().token.unwrap(), "three again");
    assert_eq!(tell(&mut bench, 2, b"overtaking", true), "overtaking");
    bench.session(&welcome_frame(LIMITS));
    assert_eq!(bench.client.token().unwrap(), "overtaking");
    assert_eq!(bench.client.assignment().unwrap().epoch.term, 2);
}

#[test]
fn a_router_that_shuts_down_is_left_when_all_is_answered() {
    let mut bench = Bench::ready(Config { routers: 2, ..Config::default() });
    bench.start("/a", ValidatorPolicy::Auto);
    let id = bench.request().request_id;
    bench.session(&GoawayReason::Shutdown.encode());
    bench.start("/b", ValidatorPolicy::Auto);
    assert!(bench.take().is_empty());
    bench.reply(id, full("/a", b"one"));
    assert_eq!(bench.answer().unwrap().bytes, "one");
    let left = bench.take();
    assert!(matches!(left[..], [Output::Close { .. }, Output::Connect { router: 1 }]), "{left:?}");
}

#[test]
fn a_superseded_client_stays_away() {
    let mut bench = Bench::ready(Config::default());
    bench.start("/a", ValidatorPolicy::Auto);
    bench.session(&GoawayReason::Superseded.encode());
    assert_eq!(bench.answer(), Err(Error::Superseded));
    bench.start("/b", ValidatorPolicy::Auto);
    assert_eq!(bench.answer(), Err(Error::Superseded));
    assert_eq!(bench.client.poll_timeout(), None);
    let left = bench.take();
    assert!(left.iter().all(|output| !matches!(output, Output::Connect { .. })), "{left:?}");
}

#[test]
fn a_client_that_no_router_wants_gives_up() {
    let mut bench = Bench::new(Config { routers: 2, ..Config::default() });
    bench.start("/a", ValidatorPolicy::Auto);
    bench.client.handle_closed(2, "no such pool", bench.now);
    assert_eq!(bench.take(), [Output::Connect { router: 1 }], "the other one may");
    bench.client.handle_closed(2, "no such pool", bench.now);
    let gone = Err(Error::NotWelcome { reason: "no such pool".to_owned() });
    assert_eq!(bench.answer(), gone);
    bench.start("/a", ValidatorPolicy::Auto);
    assert_eq!(bench.answer(), gone);

    let mut bench = Bench::ready(Config::default());
    bench.client.handle_closed(3, "superseded", bench.now);
    bench.start("/a", ValidatorPolicy::Auto);
    assert_eq!(bench.answer(), Err(Error::Superseded));
    assert_eq!(bench.client.poll_timeout(), None);

    let mut bench = Bench::ready(Config::default());
    bench.client.handle_closed(99, "whatever", bench.now);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.take(), [Output::Connect { router: 0 }], "an unknown code is nothing final");
}

#[test]
fn a_full_reply_can_be_taken_back() {
    let large = vec![7; 20_000];
    let mut bench = Bench::ready(Config::default());
    bench.start("/a", ValidatorPolicy::Auto);
    let first = bench.request().request_id;
    assert_eq!(bench.client.handle_body_start(first), Some((1 << 30) + 16));
    bench.reply(first, streamed("/a", &large));
    assert_eq!(bench.client.handle_body_start(first), Some(20_016));
    bench.reply(first, unavailable());
    assert_eq!(bench.client.handle_body_start(first), None, "what still comes of it is not wanted");
    bench.pass(Duration::from_secs(1));
    let second = bench.request();
    assert_eq!((second.slot, second.key), (0, Some(key("/a"))));
    bench.reply(second.request_id, full("/a", b"small by now"));
    assert_eq!(bench.answer().unwrap().bytes, "small by now");
}

#[test]
fn frames_out_of_place_close_the_session() {
    let get = Get { request_id: 0, slot: 0, key: None, validator: Validator::None }.encode();
    let delta = Frame::build(FrameType::Delta, 100, |out| out.extend_from_slice(b"\0"));
    for (frame, lane) in [
        (welcome_frame(LIMITS), false),
        (welcome_frame(LIMITS), true),
        (get, true),
        (delta, true),
        (LaneReply { request_id: 0, outcome: Outcome::NotFound }.encode(), false),
        (Frame::build(FrameType::Full, 100, |_| {}), true),
    ] {
        let mut bench = Bench::ready(Config::default());
        match lane {
            true => bench.client.handle_lane_frame(&frame, bench.now),
            false => bench.client.handle_session_frame(&frame, bench.now),
        }
        let code = CloseCode::ProtocolViolation;
        let output = bench.take().remove(0);
        assert!(matches!(output, Output::Close { code: c, .. } if c == code), "{output:?}");
        assert_eq!(bench.client.statistics().violations, 1);
    }
}

#[test]
fn cancelled_gets_leave_nothing_behind() {
    let mut bench = Bench::new(Config::default());
    let queued = bench.start("/a", ValidatorPolicy::Auto);
    bench.client.cancel(queued);
    assert_eq!(bench.client.waiting(), 0);
    bench.greet(LIMITS);
    let sent = bench.start("/b", ValidatorPolicy::Auto);
    let id = bench.request().request_id;
    bench.client.cancel(sent);
    bench.client.cancel(sent);
    bench.reply(id, full("/b", b"two"));
    assert!(bench.answers().is_empty());
    assert_eq!((bench.client.waiting(), bench.client.cache_size().0), (0, 1), "it is kept");
}

fn saved(slot: u32, name: &str, bytes: &[u8]) -> SavedItem {
    SavedItem { slot, key: key(name), headers: headers(), fingerprint: print_of(bytes) }
}

#[test]
fn what_is_on_disk_is_validated_loaded_and_checked() {
    let items = vec![saved(0, "/a", b"one"), saved(2, "/b", b"two")];
    let saved = Saved { token: Some(Bytes::from_static(b"token-0")), items };
    let config = Config { persist: true, ..Config::default() };
    let mut bench = Bench::restored(config, saved);
    bench.greet(LIMITS);
    bench.take();
    for (name, slot, intact) in [("/a", 0, true), ("/b", 2, false)] {
        let bytes: &[u8] = if name == "/a" { b"one" } else { b"two" };
        bench.start(name, ValidatorPolicy::Auto);
        let request = bench.request();
        assert_eq!((request.slot, request.key.is_some()), (u64::from(slot), true));
        let digest = print_of(bytes).digest;
        assert!(matches!(request.validator, Validator::Strong { digest: d, .. } if d == digest));
        bench.reply(request.request_id, use_cached(name, bytes));
        assert_eq!(bench.take(), [Output::Load { slot }]);
        let found = if intact { bytes } else { &b"tw0"[..] };
        bench.client.handle_loaded(slot, Some(Bytes::copy_from_slice(found)));
        if intact {
            assert_eq!(bench.answer().unwrap().bytes, bytes);
            continue;
        }
        let again = bench.request();
        let nothing = Validator::Strong { crc: 0, digest: Digest([0; 16]) };
        assert_eq!(again.validator, nothing);
        assert_eq!(bench.take(), [Output::Removed { slot }]);
        bench.reply(again.request_id, full(name, bytes));
        assert_eq!(bench.answer().unwrap().bytes, bytes);
    }
    assert_eq!(bench.client.statistics().damaged_items, 1);
}

#[test]
fn saved_items_that_cannot_be_kept_are_removed() {
    let items = vec![
        saved(0, "/a", b"one"),
        saved(1, "/a", b"two"),
        saved(70_000, "/far", b"three"),
        saved(5, "/huge", &[0; 2_000]),
    ];
    let config = Config { persist: true, max_cache_bytes: 1_000, ..Config::default() };
    let now = Time::from_micros(1);
    let mut client = Client::new(config, Saved { token: None, items }, 0, now);
    let removed: Vec<_> = std::iter::from_fn(|| client.poll_output())
        .filter_map(|output| match output {
            Output::Removed { slot } => Some(slot),
            _ => None,
        })
        .collect();
    assert_eq!(removed, [0, 70_000, 5]);
    assert_eq!(client.cache_size().0, 1);
}

#[test]
fn what_is_on_disk_may_leave_memory() {
    let config = Config { persist: true, max_memory_bytes: 1_500, ..Config::default() };
    let mut bench = Bench::ready(config);
    let bytes = [3; 1_000];
    for name in ["/a", "/b"] {
        bench.fetch(name, ValidatorPolicy::Auto, full(name, &bytes));
    }
    bench.fetch("/a", ValidatorPolicy::Auto, use_cached("/a", &bytes));
    bench.client.handle_written(0, tag_of("/a", &bytes), true);
    bench.client.handle_written(1, tag_of("/a", &bytes), true);
    bench.take();
    bench.fetch("/b", ValidatorPolicy::Auto, use_cached("/b", &bytes));
    bench.start("/a", ValidatorPolicy::Auto);
    let id = bench.request().request_id;
    bench.reply(id, use_cached("/a", &bytes));
    assert_eq!(bench.take(), [Output::Load { slot: 0 }], "only /a was on disk");
    bench.client.handle_loaded(0, Some(Bytes::copy_from_slice(&bytes)));
    assert_eq!(bench.answer().unwrap().kind, ReplyKind::UseCached);
}

#[test]
fn what_cannot_be_written_takes_no_more_than_memory_is_allowed() {
    let config = Config { persist: true, max_memory_bytes: 2_500, ..Config::default() };
    let mut bench = Bench::ready(config);
    let bytes = [3; 1_000];
    for (slot, name) in [(0, "/a"), (1, "/b"), (2, "/c"), (0, "/d")] {
        bench.fetch(name, ValidatorPolicy::Auto, full(name, &bytes));
        bench.client.handle_written(slot, tag_of(name, &bytes), false);
        assert!(bench.client.cache_size().0 <= 2, "{name}");
        bench.take();
    }
    bench.fetch("/d", ValidatorPolicy::Auto, use_cached("/d", &bytes));
    assert_eq!(bench.client.statistics().evictions, 2);
}

proptest! {
    /// Frames of every type with any payload, on either stream, never panic, and never hand out
    /// what was not asked for.
    #[test]
    fn any_frames_are_survived(
        frames: Vec<(prop::sample::Index, Vec<u8>, bool)>,
        bodies: Vec<(u8, u8, Vec<u8>)>,
    ) {
        let mut bench = Bench::ready(Config::default());
        bench.start("/a", ValidatorPolicy::Auto);
        bench.start("/b", ValidatorPolicy::Auto);
        for (kind, payload, lane) in frames {
            let kind = *kind.get(&FrameType::ALL);
            let fill = |out: &mut BytesMut| out.extend_from_slice(&payload);
            let frame = Frame::build(kind, crate::wire::frame::MAX_PAYLOAD, fill);
            match lane {
                true => bench.client.handle_lane_frame(&frame, bench.now),
                false => bench.client.handle_session_frame(&frame, bench.now),
            }
            bench.pass(Duration::from_millis(400));
            bench.client.handle_connected(bench.now);
        }
        for (id, offset, bytes) in bodies {
            bench.client.handle_body(u64::from(id), u64::from(offset), bytes.into(), bench.now);
            bench.client.handle_body_failed(Some(u64::from(id)), u64::from(offset), bench.now);
        }
        prop_assert!(bench.answers().iter().all(|(_, result)| result.is_err()));
    }
}
