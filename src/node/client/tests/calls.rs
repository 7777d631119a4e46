//! Calls: sent at most once, unless they say that more does no harm.

use super::super::*;
use super::{LIMITS, headers, key, unavailable, welcome_frame};
use crate::wire::ClientId;
use crate::wire::frame::{MAX_INLINE_BODY, MAX_PAYLOAD};
use crate::wire::lane::{Body, Call, ErrorCode, Outcome, Reply as LaneReply};
use crate::wire::session::{GoawayReason, Limits};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(15);

/// A client of a router that knows calls, and what it has put out so far.
struct Bench {
    client: Client,
    now: Time,
    sent: Vec<Call>,
    ended: Vec<(u64, Result<CallReply, Error>)>,
    next_ticket: u64,
}

impl Bench {
    fn ready(config: Config) -> Self {
        let now = Time::from_micros(1_000_000);
        let client = Client::new(config, Saved::default(), 7, now);
        let mut bench = Self { client, now, sent: Vec::new(), ended: Vec::new(), next_ticket: 0 };
        bench.greet(LIMITS, 2);
        bench
    }

    fn greet(&mut self, limits: Limits, version: u64) {
        self.client.handle_connected(self.now);
        let mut welcome = Welcome::decode(welcome_frame(limits).payload()).unwrap();
        welcome.version = version;
        self.client.handle_session_frame(&welcome.encode(), self.now);
        assert!(self.client.is_ready());
        self.take();
    }

    fn take(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::SendLane(frame) if frame.kind() == FrameType::Call => {
                    self.sent.push(Call::decode(frame.payload()).unwrap());
                }
                Output::Called(CallAnswer { ticket, result }) => {
                    self.ended.push((ticket, result.map_err(|failure| failure.error)));
                }
                _ => {}
            }
        }
    }

    fn start(&mut self, idempotent: bool) -> u64 {
        self.next_ticket += 1;
        let body = Bytes::from_static(b"body");
        let request = CallRequest { headers: headers(), body, idempotent };
        self.client.call(self.next_ticket, key("/do"), request, self.now);
        self.take();
        self.next_ticket
    }

    /// The one call that was sent since the last look.
    fn sent(&mut self) -> Call {
        self.take();
        assert_eq!(self.sent.len(), 1, "{:?}", self.sent);
        self.sent.remove(0)
    }

    fn reply(&mut self, request_id: u64, outcome: Outcome) {
        let frame = LaneReply { request_id, outcome }.encode();
        self.client.handle_lane_frame(&frame, self.now);
        self.take();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.client.handle_timeout(self.now);
        self.take();
    }

    fn lose_session(&mut self) {
        self.client.handle_disconnected("by chance", self.now);
        // Long enough for it to try again.
        self.pass(Duration::from_secs(1));
    }

    /// The end of the one call that has ended since the last look.
    fn end(&mut self) -> Result<CallReply, Error> {
        assert_eq!(self.ended.len(), 1, "{:?}", self.ended);
        self.ended.remove(0).1
    }
}

fn called(status: u16, bytes: &'static [u8]) -> Outcome {
    Outcome::Called { status, headers: headers(), body: Body::Inline(Bytes::from_static(bytes)) }
}

#[test]
fn a_call_goes_out_once_and_its_answer_comes_back() {
    let mut bench = Bench::ready(Config::default());
    bench.start(false);
    let call = bench.sent();
    assert_eq!((call.key, call.idempotent), (key("/do"), false));
    assert_eq!((call.headers, &call.body[..]), (headers(), &b"body"[..]));
    bench.reply(call.request_id, called(404, b"no such thing"));
    let reply = bench.end().unwrap();
    assert_eq!((reply.status, &reply.bytes[..]), (404, &b"no such thing"[..]));
    assert_eq!(reply.headers, headers());
    assert_eq!((reply.details.attempts, reply.details.client), (1, Some(ClientId([1; 16]))));
    assert_eq!(bench.client.statistics().called, 1);
    assert_eq!(bench.client.waiting(), 0);
}

#[test]
fn two_calls_of_one_key_are_two_calls() {
    let mut bench = Bench::ready(Config::default());
    bench.start(true);
    bench.start(true);
    assert_eq!(bench.sent.len(), 2);
    assert_ne!(bench.sent[0].request_id, bench.sent[1].request_id);
}

#[test]
fn what_was_sent_when_the_session_broke_is_not_sent_again() {
    let mut bench = Bench::ready(Config::default());
    bench.start(false);
    bench.sent();
    bench.lose_session();
    assert_eq!(bench.end(), Err(Error::FateUnknown));
    bench.greet(LIMITS, 2);
    bench.pass(TIMEOUT);
    assert!(bench.sent.is_empty() && bench.ended.is_empty());
}

#[test]
fn what_was_not_sent_when_the_session_broke_goes_to_the_next_one() {
    let mut bench = Bench::ready(Config::default());
    bench.lose_session();
    bench.start(false);
    assert!(bench.sent.is_empty());
    bench.greet(LIMITS, 2);
    let call = bench.sent();
    bench.reply(call.request_id, called(200, b""));
    assert!(bench.end().is_ok());
}

#[test]
fn an_idempotent_call_is_sent_again_in_the_next_session() {
    let mut bench = Bench::ready(Config::default());
    bench.start(true);
    let first = bench.sent();
    bench.lose_session();
    bench.greet(LIMITS, 2);
    let second = bench.sent();
    assert!(first.request_id != second.request_id && second.idempotent);
    bench.reply(first.request_id, called(200, b"late"));
    assert!(bench.ended.is_empty());
    bench.reply(second.request_id, called(200, b"done"));
    assert_eq!(bench.end().unwrap().bytes, "done");
}

#[test]
fn what_the_router_says_decides_whether_it_may_be_sent_again() {
    let mut bench = Bench::ready(Config::default());
    // Nothing was executed: the same again, a little later.
    bench.start(false);
    let call = bench.sent();
    bench.reply(call.request_id, unavailable());
    assert!(bench.sent.is_empty());
    bench.pass(Duration::from_millis(100));
    let again = bench.sent();
    // It may have been executed.
    bench.reply(again.request_id, Outcome::FateUnknown);
    assert_eq!(bench.end(), Err(Error::FateUnknown));
    // The source said so.
    bench.start(false);
    let call = bench.sent();
    bench.reply(call.request_id, Outcome::error(ErrorCode::Refused, "not you\u{7}"));
    let text = "not you\u{fffd}".to_owned();
    assert_eq!(bench.end(), Err(Error::Failed { code: ErrorCode::Refused, text }));
    bench.start(false);
    let call = bench.sent();
    bench.reply(call.request_id, Outcome::Busy { retry_after_ms: 70 });
    assert_eq!(bench.end(), Err(Error::Busy { retry_after: Duration::from_millis(70) }));
    bench.pass(TIMEOUT);
    assert!(bench.sent.is_empty() && bench.ended.is_empty());
}

#[test]
fn a_reply_that_makes_no_sense_leaves_the_fate_unknown() {
    let mut bench = Bench::ready(Config::default());
    bench.start(false);
    let call = bench.sent();
    bench.reply(call.request_id, Outcome::NotFound);
    assert_eq!(bench.end(), Err(Error::FateUnknown));
    bench.client.get(99, key("/do"), ValidatorPolicy::Auto, bench.now);
    bench.reply(call.request_id + 1, called(200, b"no item"));
    assert_eq!(bench.client.statistics().full, 0);
    assert_eq!(bench.client.waiting(), 1, "the get is asked again");
}

#[test]
fn time_that_is_up_is_told_by_whether_it_was_sent() {
    let mut bench = Bench::ready(Config::default());
    bench.start(false);
    let call = bench.sent();
    bench.pass(TIMEOUT);
    assert_eq!(bench.end(), Err(Error::FateUnknown));
    bench.reply(call.request_id, called(200, b"late"));
    assert_eq!(bench.client.statistics().late_replies, 1);
    bench.start(true);
    bench.sent();
    bench.pass(TIMEOUT);
    assert!(matches!(bench.end(), Err(Error::TimedOut { .. })));
    bench.lose_session();
    bench.start(false);
    bench.pass(TIMEOUT);
    assert!(matches!(bench.end(), Err(Error::TimedOut { .. })), "it was never sent");
    assert!(bench.sent.is_empty());
}

#[test]
fn a_cancelled_call_is_sent_no_more_and_has_no_end() {
    let mut bench = Bench::ready(Config::default());
    bench.lose_session();
    let ticket = bench.start(false);
    bench.client.cancel(ticket);
    bench.greet(LIMITS, 2);
    assert!(bench.sent.is_empty());
    let ticket = bench.start(true);
    let call = bench.sent();
    bench.client.cancel(ticket);
    bench.lose_session();
    bench.greet(LIMITS, 2);
    bench.reply(call.request_id, called(200, b"late"));
    bench.pass(TIMEOUT);
    assert!(bench.sent.is_empty() && bench.ended.is_empty());
}

#[test]
fn a_router_without_calls_is_not_sent_any() {
    let mut bench = Bench::ready(Config::default());
    bench.lose_session();
    bench.start(false);
    bench.start(true);
    bench.greet(LIMITS, 1);
    assert!(bench.sent.is_empty());
    assert_eq!(bench.ended.len(), 2);
    for (_, end) in bench.ended.drain(..) {
        assert_eq!(end, Err(Error::NoCalls { version: 1 }));
    }
}

#[test]
fn calls_keep_to_the_routers_limit() {
    let mut bench = Bench::ready(Config::default());
    bench.lose_session();
    bench.greet(Limits { in_flight: 2, ..LIMITS }, 2);
    for _ in 0..3 {
        bench.start(false);
    }
    assert_eq!(bench.sent.len(), 2);
    let first = bench.sent.remove(0);
    bench.reply(first.request_id, called(200, b""));
    assert_eq!(bench.sent.len(), 2, "the third one has room now");
}

#[test]
fn a_body_that_is_too_large_is_refused_with_the_limit() {
    let mut bench = Bench::ready(Config::default());
    for (length, allowed) in [(MAX_INLINE_BODY, true), (MAX_INLINE_BODY + 1, false)] {
        bench.next_ticket += 1;
        let body = Bytes::from(vec![0; length]);
        let request = CallRequest { body, ..CallRequest::default() };
        bench.client.call(bench.next_ticket, key("/do"), request, bench.now);
        bench.take();
        assert_eq!(bench.ended.is_empty(), allowed);
    }
    let limit = MAX_INLINE_BODY as u64;
    assert_eq!(bench.end(), Err(Error::CallTooLarge { length: limit + 1, limit }));
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn a_long_answer_comes_on_a_stream_before_or_after_its_frame() {
    let mut bench = Bench::ready(Config::default());
    let bytes = Bytes::from(vec![7; 20_000]);
    let head = Outcome::Called {
        status: 200,
        headers: headers(),
        body: Body::Stream { length: bytes.len() as u64 },
    };
    for early in [false, true] {
        bench.start(false);
        let id = bench.sent().request_id;
        let room = bench.client.handle_body_start(id).unwrap();
        assert!(room >= bytes.len() as u64);
        if early {
            bench.client.handle_body(id, 0, bytes.clone(), bench.now);
            bench.reply(id, head.clone());
        } else {
            bench.reply(id, head.clone());
            bench.client.handle_body(id, 0, bytes.clone(), bench.now);
        }
        bench.take();
        assert_eq!(bench.end().unwrap().bytes, bytes);
    }
}

#[test]
fn an_answer_that_breaks_off_is_not_had_by_calling_again() {
    let head = || Outcome::Called {
        status: 200,
        headers: headers(),
        body: Body::Stream { length: 20_000 },
    };
    let breaks: [fn(&mut Bench, u64); 4] = [
        |bench, id| bench.client.handle_body_failed(Some(id), 5, bench.now),
        |bench, _| bench.client.handle_body_failed(None, 0, bench.now),
        |bench, id| bench.client.handle_body(id, 0, Bytes::from_static(b"short"), bench.now),
        |bench, id| bench.reply(id, Outcome::FateUnknown),
    ];
    for break_off in breaks {
        let mut bench = Bench::ready(Config::default());
        bench.start(false);
        let id = bench.sent().request_id;
        bench.reply(id, head());
        break_off(&mut bench, id);
        bench.take();
        assert_eq!(bench.end(), Err(Error::FateUnknown));
        bench.start(true);
        let id = bench.sent().request_id;
        bench.reply(id, head());
        break_off(&mut bench, id);
        bench.pass(Duration::from_millis(100));
        assert_ne!(bench.sent().request_id, id, "an idempotent one is");
    }
}

#[test]
fn an_answer_that_is_too_large_says_so() {
    let mut bench = Bench::ready(Config { max_body: 10, ..Config::default() });
    bench.start(false);
    let id = bench.sent().request_id;
    bench.reply(id, called(200, b"eleven byte"));
    assert_eq!(bench.end(), Err(Error::TooLarge { length: 11, limit: 10 }));
}

#[test]
fn the_end_of_all_sessions_ends_calls_by_whether_they_were_sent() {
    let mut bench = Bench::ready(Config::default());
    bench.start(false);
    bench.start(true);
    bench.sent.clear();
    bench.client.handle_session_frame(&GoawayReason::Superseded.encode(), bench.now);
    bench.take();
    let ends: Vec<_> = bench.ended.drain(..).map(|(_, end)| end.unwrap_err()).collect();
    assert_eq!(ends, [Error::FateUnknown, Error::Superseded]);
    bench.start(false);
    assert_eq!(bench.end(), Err(Error::Superseded));
}

#[test]
fn a_router_that_shuts_down_may_still_answer() {
    let mut bench = Bench::ready(Config::default());
    bench.start(false);
    let id = bench.sent().request_id;
    bench.client.handle_session_frame(&GoawayReason::Shutdown.encode(), bench.now);
    bench.start(false);
    assert!(bench.sent.is_empty(), "nothing new is sent there");
    bench.reply(id, called(200, b"done"));
    assert!(bench.end().is_ok());
    bench.greet(LIMITS, 2);
    bench.sent();
}

proptest! {
    /// Whatever frames and bodies come, a call ends at most once, and one that may not be repeated
    /// goes out at most once unless the router said that it was not executed.
    #[test]
    fn any_frames_are_survived(
        frames: Vec<(prop::sample::Index, Vec<u8>, bool)>,
        bodies: Vec<(u8, u8, Vec<u8>)>,
    ) {
        let mut bench = Bench::ready(Config::default());
        let tickets = [bench.start(false), bench.start(true)];
        for (kind, payload, lane) in frames {
            let kind = *kind.get(&FrameType::ALL);
            let fill = |out: &mut BytesMut| out.extend_from_slice(&payload);
            let frame = Frame::build(kind, MAX_PAYLOAD, fill);
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
        bench.pass(TIMEOUT);
        let mut ended: Vec<_> = bench.ended.iter().map(|(ticket, _)| *ticket).collect();
        ended.sort_unstable();
        prop_assert_eq!(ended, tickets);
    }
}
