//! Routers that fall silent, and those that only wait for a slow source.

use super::*;
use crate::wire::session::{GoawayReason, Ping, VERSION};

/// A client with a session at the first of so many routers, all of which know PING, whose greeting
/// took a millisecond.
fn ready(routers: usize) -> Bench {
    let mut bench = Bench::new(Config { routers, ..Config::default() });
    greet(&mut bench);
    bench
}

fn greet(bench: &mut Bench) {
    bench.client.handle_connected(bench.now);
    let hello = bench.take();
    assert!(
        matches!(&hello[..], [Output::SendSession(hello), ..] if hello.kind() == FrameType::Hello)
    );
    bench.now += Duration::from_millis(1);
    bench.session(&welcome_frame_of(VERSION, LIMITS));
    assert!(bench.client.is_ready());
    bench.outputs.extend(hello.into_iter().skip(1));
}

/// Lets time pass to when the client wants to be called, and returns how long that was and what it
/// did.
fn next(bench: &mut Bench) -> (u64, Vec<Output>) {
    let due = bench.client.poll_timeout().expect("something is due");
    let passed = due.since(bench.now).as_millis() as u64;
    bench.now = due;
    bench.client.handle_timeout(due);
    (passed, bench.take())
}

fn pinged(outputs: &[Output]) -> Ping {
    match outputs {
        [Output::SendSession(frame)] if frame.kind() == FrameType::Ping => {
            Ping::decode(frame.payload()).unwrap()
        }
        other => panic!("{other:?} is no PING"),
    }
}

/// Makes the client suspect its router, while it waits for `/a`; returns the PING.
fn suspect(bench: &mut Bench, then: usize) -> Ping {
    bench.start("/a", ValidatorPolicy::Auto);
    assert!(matches!(bench.take()[..], [Output::SendLane(_)]));
    let (silence, outputs) = next(bench);
    let ping = pinged(&outputs);
    let (patience, outputs) = next(bench);
    assert_eq!(outputs, [Output::Connect { router: then }]);
    assert_eq!((silence, patience), (100, 150));
    ping
}

#[test]
fn who_waits_for_nothing_asks_nothing() {
    let mut bench = ready(2);
    assert_eq!(bench.client.poll_timeout(), None);
    bench.now += Duration::from_secs(60);
    // A silence before the request is none.
    bench.start("/a", ValidatorPolicy::Auto);
    assert!(matches!(bench.take()[..], [Output::SendLane(_)]));
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + Duration::from_millis(100)));
}

#[test]
fn who_waits_for_a_call_asks_too() {
    let mut bench = ready(2);
    bench.now += Duration::from_secs(60);
    let (headers, body) = (HeaderBlock::default(), Bytes::new());
    let request = CallRequest { headers, body, idempotent: false };
    bench.client.call(1, key("/do"), request, bench.now);
    assert!(matches!(bench.take()[..], [Output::SendLane(_)]));
    let (silence, outputs) = next(&mut bench);
    pinged(&outputs);
    assert_eq!(silence, 100);
}

#[test]
fn a_slow_source_costs_a_ping_now_and_then_and_no_session() {
    let mut bench = ready(2);
    bench.start("/a", ValidatorPolicy::Auto);
    bench.take();
    let mut silences = Vec::new();
    while silences.iter().sum::<u64>() < 8_000 {
        let (silence, outputs) = next(&mut bench);
        silences.push(silence);
        let ping = pinged(&outputs);
        bench.session(&ping.answer());
        assert_eq!(bench.take(), []);
    }
    assert_eq!(silences[..6], [100, 200, 400, 800, 1_600, 1_600]);
    assert_eq!(bench.client.statistics().suspicions, 0);
}

#[test]
fn a_silent_router_is_left_for_the_next_one_and_all_is_asked_again_there() {
    let mut bench = ready(2);
    suspect(&mut bench, 1);
    assert!(bench.client.is_ready(), "the session goes on meanwhile");
    bench.now += Duration::from_millis(2);
    bench.client.handle_connected(bench.now);
    let outputs = bench.take();
    let [Output::SendSession(hello), Output::SendLane(again)] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    let hello = Hello::decode(hello.payload()).unwrap();
    assert_eq!(hello.token, Some(Bytes::from_static(b"token-1")));
    assert_eq!(Get::decode(again.payload()).unwrap().key, Some(key("/a")));
    let counted = bench.client.statistics();
    assert_eq!((counted.suspicions, counted.lost_sessions), (1, 1));
    // Nothing is left of the old one: the new router has all the time that HELLO may take.
    assert!(bench.client.poll_timeout().unwrap() > bench.now + Duration::from_secs(1));
}

#[test]
fn a_sign_of_life_drops_the_attempt() {
    let signs: [fn(&mut Bench, Ping); 3] = [
        |bench, ping| bench.session(&ping.answer()),
        |bench, _| bench.client.handle_packets(bench.now),
        |bench, _| {
            let outcome = Outcome::NotFound;
            let frame = LaneReply { request_id: 0, outcome }.encode();
            bench.client.handle_lane_frame(&frame, bench.now);
        },
    ];
    for (number, sign) in signs.into_iter().enumerate() {
        let mut bench = ready(2);
        let ping = suspect(&mut bench, 1);
        bench.now += Duration::from_millis(50);
        sign(&mut bench, ping);
        assert_eq!(bench.take()[0], Output::StopConnecting, "sign {number}");
        assert!(bench.client.is_ready());
        assert_eq!(bench.client.statistics().lost_sessions, 0);
    }
}

#[test]
fn a_router_that_was_slow_to_answer_is_given_more_time() {
    let mut bench = ready(2);
    let ping = suspect(&mut bench, 1);
    bench.now += Duration::from_millis(50);
    bench.session(&ping.answer());
    assert_eq!(bench.take(), [Output::StopConnecting]);
    let (silence, outputs) = next(&mut bench);
    pinged(&outputs);
    // That PONG took 200 ms.
    let (patience, outputs) = next(&mut bench);
    assert_eq!((silence, patience), (200, 800));
    assert_eq!(outputs, [Output::Connect { router: 1 }]);
}

#[test]
fn packets_are_as_good_as_an_answer_to_a_ping_but_do_not_delay_it() {
    let mut bench = ready(2);
    bench.start("/a", ValidatorPolicy::Auto);
    bench.take();
    bench.now += Duration::from_millis(60);
    bench.client.handle_packets(bench.now);
    let (silence, outputs) = next(&mut bench);
    pinged(&outputs);
    assert_eq!(silence, 40);
    bench.now += Duration::from_millis(149);
    bench.client.handle_packets(bench.now);
    let (patience, outputs) = next(&mut bench);
    assert_eq!((patience, outputs), (150, vec![Output::Connect { router: 1 }]));
}

#[test]
fn attempts_go_round_and_slow_down() {
    let mut bench = ready(2);
    suspect(&mut bench, 1);
    bench.client.handle_unreachable(None, "nobody listens", bench.now);
    // The silent router itself may have been started anew.
    assert_eq!(bench.take(), [Output::Connect { router: 0 }]);
    // An attempt that never ends is given up in time.
    let (passed, outputs) = next(&mut bench);
    assert_eq!((passed, outputs), (3_000, vec![Output::StopConnecting]));
    let (waited, outputs) = next(&mut bench);
    assert!((50..=100).contains(&waited), "{waited}");
    assert_eq!(outputs, [Output::Connect { router: 1 }]);
    assert_eq!(bench.client.statistics().suspicions, 1);
    // The session counts as lost only when the transport says so; what is under way goes on.
    bench.client.handle_disconnected("it does not answer", bench.now);
    assert_eq!(bench.take(), []);
    greet(&mut bench);
    let asked = bench.take();
    assert!(matches!(&asked[..], [Output::SendLane(_)]), "{asked:?}");
}

#[test]
fn the_only_router_is_tried_anew() {
    let mut bench = ready(1);
    suspect(&mut bench, 0);
    greet(&mut bench);
}

#[test]
fn an_attempt_that_outlives_the_session_may_fail_too() {
    let mut bench = ready(3);
    suspect(&mut bench, 1);
    bench.client.handle_disconnected("it does not answer", bench.now);
    assert_eq!(bench.take(), []);
    bench.client.handle_unreachable(None, "nobody listens", bench.now);
    assert_eq!(bench.take(), [Output::Connect { router: 2 }]);
}

#[test]
fn a_client_that_is_superseded_gives_up_its_attempt() {
    let mut bench = ready(2);
    suspect(&mut bench, 1);
    // It takes two to say so: the frame is a sign of life first.
    bench.session(&GoawayReason::Superseded.encode());
    let outputs = bench.take();
    let stops = outputs.iter().filter(|output| **output == Output::StopConnecting);
    assert_eq!(stops.count(), 1, "{outputs:?}");
    let mut bench = ready(2);
    suspect(&mut bench, 1);
    bench.client.handle_closed(CloseCode::Superseded.code().into(), "superseded", bench.now);
    assert!(bench.take().contains(&Output::StopConnecting));
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn a_router_of_the_first_version_is_never_asked() {
    let mut bench = Bench::ready(Config { routers: 2, ..Config::default() });
    bench.start("/a", ValidatorPolicy::Auto);
    bench.take();
    assert!(bench.client.poll_timeout().unwrap() > bench.now + Duration::from_secs(1));
    // And one that asks has it wrong.
    bench.session(&Ping { number: 1 }.encode());
    assert_eq!(bench.client.statistics().violations, 1);
}
