//! HTTP requests: what is known of an item answers them, and what an HTTP origin says is kept as
//! far as it allows.

use super::bench::{Bench, forward, found, version};
use super::*;
use crate::http::cache::{Exchange, decide};
use crate::http::etag::own_tag;
use crate::mirror::{Response, Version};
use crate::wire::backplane::Resume;
use crate::wire::http::{
    Fields, HttpAnswer, HttpBody, HttpRequest, RequestBody, RequestTarget, Scheme,
};
use crate::wire::lane::Outcome;
use crate::wire::{Frame, HeaderBlock};

pub(super) fn request(method: &str, target: &'static str, fields: &[(&str, &str)]) -> HttpRequest {
    HttpRequest {
        request_id: 5,
        idempotent: method != "POST",
        method: method.to_owned(),
        scheme: Scheme::Https,
        authority: "localhost".to_owned(),
        target: RequestTarget::new(Bytes::from_static(target.as_bytes())).unwrap(),
        fields: Fields::of(fields.iter().copied()),
        body: RequestBody::None,
    }
}

pub(super) fn read(target: &'static str, fields: &[(&str, &str)]) -> Frame {
    request("GET", target, fields).encode()
}

pub(super) fn http(outcome: Outcome) -> HttpAnswer {
    match outcome {
        Outcome::Http(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn status_of(bench: &mut Bench) -> u16 {
    http(bench.outcome()).status
}

mod items {
    use super::*;

    #[test]
    fn an_item_is_answered_in_http_and_its_own_tag_gets_304() {
        let mut bench = Bench::new();
        let item = version(b'x', 100);
        bench.ask(1, How::Assign, read("/a", &[]));
        bench.answer("/a", found(&item));
        let whole = http(bench.outcome());
        let tag = own_tag(item.fingerprint());
        assert_eq!((whole.status, whole.fields.only("etag")), (200, Some(tag.as_str())));
        assert_eq!(whole.body, HttpBody::Inline(item.body().clone()));
        bench.ask(1, How::Known, read("/a", &[("if-none-match", &tag)]));
        bench.answer("/a", Retrieved::Unchanged);
        let same = http(bench.outcome());
        assert_eq!((same.status, same.body), (304, HttpBody::None));
        bench.ask(1, How::Known, read("/a", &[("range", "bytes=10-19")]));
        bench.answer("/a", Retrieved::Unchanged);
        let part = http(bench.outcome());
        assert_eq!((part.status, part.body), (206, HttpBody::Inline(item.body().slice(10..20))));
        assert!(bench.mirror(1).is_empty(), "HTTP clients have no slots");
    }

    #[test]
    fn what_there_is_not_and_what_may_not_be_done_is_said() {
        let mut bench = Bench::new();
        for (retrieved, status) in [
            (Retrieved::NotFound, 404),
            (Retrieved::Refused("no".into()), 403),
            (Retrieved::Failed("no".into()), 502),
        ] {
            bench.ask(1, How::Assign, read("/a", &[]));
            bench.answer("/a", retrieved);
            assert_eq!(status_of(&mut bench), status);
        }
        for (method, target, status) in
            [("DELETE", "/a", 405), ("OPTIONS", "/a", 204), ("GET", "//a", 400), ("PUT", "*", 405)]
        {
            bench.ask(1, How::Assign, request(method, target, &[]).encode());
            assert_eq!(status_of(&mut bench), status, "{method} {target}");
        }
    }

    #[test]
    fn a_long_body_has_a_stream_and_goes_on_where_it_broke_off_elsewhere() {
        let mut bench = Bench::new();
        let item = version(b'x', 50_000);
        bench.ask(1, How::Assign, read("/a", &[("range", "bytes=1000-")]));
        bench.answer("/a", found(&item));
        let HttpBody::Stream { length, tag: Some(tag) } = http(bench.outcome()).body else {
            panic!("it is long");
        };
        assert_eq!((length, bench.bodies.remove(0)), (49_000, item.body().slice(1000..)));
        let resumed = |tag| Forward {
            resume: Some(Resume { offset: 600, tag }),
            inner: read("/a", &[("range", "bytes=1000-")]),
            ..forward(1, How::Known)
        };
        bench.ask_with(resumed(tag));
        bench.answer("/a", Retrieved::Unchanged);
        assert_eq!(http(bench.outcome()).status, 206);
        assert_eq!(bench.bodies.remove(0), item.body().slice(1600..));
        bench.ask_with(resumed(crate::wire::Tag([1; 16])));
        bench.answer("/a", Retrieved::Unchanged);
        assert!(matches!(bench.outcome(), Outcome::Error { .. }), "it is another version");
    }
}

mod origin {
    use super::*;

    /// A server that passes HTTP requests to its origin, which is played by hand.
    struct Played {
        bench: Bench,
        asked: Vec<(u64, HttpRequest, bool, bool)>,
        cancelled: Vec<u64>,
    }

    impl Played {
        fn new() -> Self {
            let mut bench = Bench::new();
            bench.server.config.passes_http = true;
            Self { bench, asked: Vec::new(), cancelled: Vec::new() }
        }

        fn ask(&mut self, of: u8, inner: Frame) {
            let forward = Forward { inner, ..forward(of, How::HandedOn) };
            let now = self.bench.now;
            self.bench.server.handle_message(now, &ROUTER, Message::Forward(forward));
            self.drain();
        }

        fn drain(&mut self) {
            while let Some(output) = self.bench.server.poll_output() {
                match output {
                    Output::Exchange { ticket, request, known, shared, .. } => {
                        self.asked.push((ticket, *request, known.is_some(), shared));
                    }
                    Output::CancelExchange { ticket } => self.cancelled.push(ticket),
                    Output::Reply { request_id, by, reply, .. } => {
                        let (assignment, inner) = (None, reply.encode());
                        let message = Message::Reply { request_id, assignment, by, inner };
                        self.bench.heard.push(message);
                    }
                    Output::Send { to: ROUTER, message } => self.bench.heard.push(*message),
                    _ => {}
                }
            }
        }

        fn answer(&mut self, exchanged: Exchanged) {
            let (ticket, ..) = self.asked.remove(0);
            let now = self.bench.now;
            self.bench.server.handle_exchanged(now, ticket, exchanged);
            self.drain();
        }

        fn statuses(&mut self) -> Vec<u16> {
            self.bench.outcomes().into_iter().map(|outcome| http(outcome).status).collect()
        }
    }

    /// An answer that may be kept.
    fn kept(bench: &Bench, letter: u8, fields: &[(&str, &str)]) -> Exchanged {
        let fields = Fields::of(fields.iter().copied());
        let request = Fields::default();
        let at = bench.now.as_secs();
        let exchange = Exchange {
            method: "GET",
            request: &request,
            status: 200,
            response: &fields,
            asked_s: at,
            answered_s: at,
        };
        let storage = decide(&exchange);
        assert!(storage.storable, "{storage:?}");
        let vary = storage.vary.clone();
        let response = Arc::new(Response { status: 200, fields, storage });
        let version = Version::new(HeaderBlock::default(), Bytes::copy_from_slice(&[letter; 20]));
        Exchanged::Kept { version: version.with_response(response), vary }
    }

    fn passed(status: u16) -> Exchanged {
        Exchanged::Passed { status, fields: Fields::default(), body: PassedBody::None }
    }

    #[test]
    fn what_may_be_kept_answers_others_until_it_is_old() {
        let mut played = Played::new();
        played.ask(1, read("/a", &[]));
        let answer =
            kept(&played.bench, b'x', &[("cache-control", "max-age=9"), ("etag", "\"1\"")]);
        played.answer(answer);
        played.ask(2, read("/a", &[]));
        played.ask(2, read("/a", &[("if-none-match", "W/\"1\"")]));
        assert_eq!((played.statuses(), played.asked.len()), (vec![200, 200, 304], 0));
        for asks in ["no-cache", "max-age=0"] {
            played.ask(1, read("/a", &[("cache-control", asks)]));
            let (_, _, known, shared) = played.asked[0];
            assert!(known && shared, "{asks}");
            played.answer(Exchanged::Failed { status: 502, text: "down".into() });
            assert_eq!(played.statuses(), [200], "what is fresh may stand for a failure");
        }
        played.ask(1, read("/b", &[]));
        let answer =
            kept(&played.bench, b'x', &[("cache-control", "max-age=1"), ("etag", "\"1\"")]);
        played.answer(answer);
        for _ in 0..3 {
            // In steps, for a server whose loop stands still takes itself for paused.
            played.bench.now += Duration::from_millis(900);
            played.bench.server.handle_timeout(played.bench.now);
        }
        played.ask(1, read("/b", &[]));
        played.answer(Exchanged::Failed { status: 504, text: "slow".into() });
        assert_eq!(played.statuses(), [200, 504]);
    }

    #[test]
    fn variants_are_told_apart_by_what_vary_names() {
        let mut played = Played::new();
        let fields =
            [("cache-control", "max-age=9"), ("vary", "accept-language"), ("etag", "\"1\"")];
        for (language, letter) in [("de", b'd'), ("en", b'e')] {
            played.ask(1, read("/a", &[("accept-language", language)]));
            let answer = kept(&played.bench, letter, &fields);
            played.answer(answer);
        }
        played.bench.outcomes();
        for (language, letter) in [("de", b'd'), ("en", b'e')] {
            played.ask(2, read("/a", &[("accept-language", language)]));
            let body = http(played.bench.outcome()).body;
            assert_eq!(body, HttpBody::Inline(Bytes::copy_from_slice(&[letter; 20])));
        }
        played.ask(2, read("/a", &[("accept-language", "fr")]));
        assert_eq!(played.asked.len(), 1, "that one is not known");
        let mut other_host = request("GET", "/a", &[("accept-language", "de")]);
        other_host.authority = "example.org".to_owned();
        played.ask(2, other_host.encode());
        assert_eq!(played.asked.len(), 2, "nor is that of another host");
    }

    #[test]
    fn what_is_for_one_is_not_for_those_who_waited_for_the_same_answer() {
        let mut played = Played::new();
        let now = played.bench.now;
        for of in [1, 2, 3] {
            let inner = read("/a", &[]);
            let forward = Forward { inner, ..forward(of, How::HandedOn) };
            played.bench.server.handle_message(now, &ROUTER, Message::Forward(forward));
        }
        played.drain();
        assert_eq!(played.asked.len(), 1, "one question for all of them");
        played.answer(passed(200));
        assert_eq!(
            (played.statuses().len(), played.asked.len()),
            (1, 2),
            "each of the others asks"
        );
        assert!(played.asked.iter().all(|(_, _, _, shared)| !shared));
        played.answer(passed(200));
        played.answer(passed(200));
        assert_eq!(played.statuses().len(), 2);
    }

    #[test]
    fn a_change_makes_what_is_kept_old() {
        let mut played = Played::new();
        let fields = [("cache-control", "max-age=9"), ("etag", "\"1\"")];
        played.ask(1, read("/a", &[]));
        let answer = kept(&played.bench, b'x', &fields);
        played.answer(answer);
        played.ask(1, request("POST", "/a", &[]).encode());
        played.answer(passed(201));
        assert_eq!(played.statuses(), [200, 201]);
        played.ask(2, read("/a", &[]));
        assert_eq!(played.asked.len(), 1, "what was kept is not found any more");
    }

    /// What the origin says of a version that is known.
    fn unchanged(bench: &Bench, fields: &[(&str, &str)]) -> Exchanged {
        let fields = Fields::of(fields.iter().copied());
        let at = bench.now.as_secs();
        let exchange = Exchange {
            method: "GET",
            request: &Fields::default(),
            status: 200,
            response: &fields,
            asked_s: at,
            answered_s: at,
        };
        let storage = decide(&exchange);
        Exchanged::Unchanged { response: Arc::new(Response { status: 200, fields, storage }) }
    }

    #[test]
    fn what_is_said_to_one_with_a_confirmation_is_kept_for_nobody() {
        let mut played = Played::new();
        let always = [("cache-control", "max-age=9"), ("etag", "\"1\"")];
        played.ask(1, read("/a", &[]));
        let answer = kept(&played.bench, b'x', &always);
        played.answer(answer);
        played.bench.outcomes();
        // The first client asks anew, and is given a cookie with the confirmation.
        played.ask(1, read("/a", &[("cache-control", "no-cache")]));
        let cookie = [always[0], always[1], ("set-cookie", "session=1")];
        let answer = unchanged(&played.bench, &cookie);
        played.answer(answer);
        assert!(http(played.bench.outcome()).fields.has("set-cookie"), "it is hers");
        played.ask(2, read("/a", &[]));
        let other = http(played.bench.outcome());
        assert_eq!((other.status, other.fields.has("set-cookie")), (200, false));
    }

    #[test]
    fn one_answer_that_is_for_one_does_not_end_sharing_for_good() {
        let mut played = Played::new();
        let fields = [("cache-control", "max-age=1"), ("etag", "\"1\"")];
        played.ask(1, read("/a", &[]));
        played.answer(passed(302));
        for _ in 0..13 {
            played.bench.now += Duration::from_millis(800);
            played.bench.server.handle_timeout(played.bench.now);
        }
        played.ask(1, read("/a", &[]));
        assert!(played.asked[0].3, "it may be kept again");
        let answer = kept(&played.bench, b'x', &fields);
        played.answer(answer);
        played.ask(1, read("/a", &[]));
        assert_eq!((played.statuses(), played.asked.len()), (vec![302, 200, 200], 0));
    }

    #[test]
    fn an_answer_from_before_a_change_is_not_kept() {
        let mut played = Played::new();
        let fields = [("cache-control", "max-age=9"), ("etag", "\"1\"")];
        played.ask(1, read("/a", &[]));
        played.ask(1, request("POST", "/a", &[]).encode());
        let slow = played.asked.remove(0);
        played.answer(passed(201));
        played.asked.push(slow);
        let answer = kept(&played.bench, b'x', &fields);
        played.answer(answer);
        assert_eq!(played.statuses(), [201, 200]);
        played.ask(1, read("/a", &[]));
        assert_eq!(played.asked.len(), 1, "the origin is asked for what it has now");
    }

    #[test]
    fn one_clients_fault_is_no_answer_to_others() {
        let mut played = Played::new();
        let now = played.bench.now;
        for of in [1, 2] {
            let forward = Forward { inner: read("/a", &[]), ..forward(of, How::HandedOn) };
            played.bench.server.handle_message(now, &ROUTER, Message::Forward(forward));
        }
        played.drain();
        played.answer(Exchanged::Failed { status: 400, text: "no".into() });
        assert_eq!((played.statuses(), played.asked.len()), (vec![400], 1));
    }

    #[test]
    fn a_change_is_never_hedged() {
        let mut played = Played::new();
        played.ask(1, read("/a", &[]));
        played.answer(passed(200));
        played.bench.outcomes();
        let inner = request("PUT", "/a", &[]).encode();
        let hedge = Forward { inner, ..forward(1, How::Standby) };
        let now = played.bench.now;
        played.bench.server.handle_message(now, &ROUTER, Message::Forward(hedge));
        played.drain();
        assert!(played.asked.is_empty());
    }

    #[test]
    fn nobody_executes_for_a_client_of_another_server() {
        let mut played = Played::new();
        let inner = request("POST", "/a", &[]).encode();
        let now = played.bench.now;
        let known = Forward { inner: inner.clone(), ..forward(1, How::Known) };
        played.bench.server.handle_message(now, &ROUTER, Message::Forward(known));
        played.drain();
        assert!(played.asked.is_empty());
        let refused = |message: &Message| matches!(message, Message::NotOwner { .. });
        assert!(played.bench.heard.iter().any(refused), "{:?}", played.bench.heard);
        played.bench.heard.clear();
        // What was executed is answered, also when the client was taken over meanwhile.
        played.ask(1, inner);
        played.bench.release(1);
        played.answer(passed(201));
        assert_eq!(played.statuses(), [201]);
        // A read goes to whom the client has now.
        played.ask(2, read("/b", &[]));
        played.bench.release(2);
        played.answer(passed(200));
        assert!(matches!(played.bench.heard.last(), Some(Message::NotOwner { .. })));
    }

    #[test]
    fn what_nobody_waits_for_is_given_up_at_the_origin() {
        let mut played = Played::new();
        played.ask(1, read("/a", &[]));
        let ticket = played.asked[0].0;
        let now = played.bench.now;
        let cancel = Message::Cancel { request_id: 7 };
        played.bench.server.handle_message(now, &ROUTER, cancel);
        played.drain();
        assert_eq!(played.cancelled, [ticket]);
        played.answer(passed(200));
        assert!(played.statuses().is_empty());
    }

    #[test]
    fn who_joined_a_question_that_was_given_up_asks_anew() {
        let mut played = Played::new();
        let now = played.bench.now;
        for (of, request_id, cookie) in [(1, 7, "1"), (2, 8, "2"), (3, 9, "3")] {
            let inner = read("/a", &[("cookie", cookie)]);
            let asked = Forward { request_id, inner, ..forward(of, How::HandedOn) };
            played.bench.server.handle_message(now, &ROUTER, Message::Forward(asked));
        }
        played.drain();
        assert_eq!(played.asked.len(), 1);
        let cancel = Message::Cancel { request_id: 7 };
        played.bench.server.handle_message(now, &ROUTER, cancel);
        played.drain();
        assert_eq!(played.cancelled, [played.asked.remove(0).0]);
        // What the first would have got may have been for him alone.
        assert_eq!(played.asked.len(), 1);
        assert_eq!(played.asked[0].1.fields.only("cookie"), Some("2"));
        played.answer(passed(200));
        assert_eq!(played.statuses(), [200]);
        assert_eq!(played.asked[0].1.fields.only("cookie"), Some("3"));
    }
}
