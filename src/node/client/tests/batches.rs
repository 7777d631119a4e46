//! Batches by hand: what is left of them when they are not answered, or not as they should be.

use super::*;
use crate::wire::lane::{Batch, Inventory, Unchanged, UnchangedHash};
use crate::wire::session::VERSION;

/// A client that holds one item in each of so many slots, in a session of the newest version.
fn holding(count: usize, limits: Limits, config: Config) -> Bench {
    let mut bench = Bench::new(config);
    bench.client.handle_connected(bench.now);
    bench.take();
    bench.session(&welcome_frame_of(VERSION, Limits { in_flight: 4000, ..limits }));
    for number in 0..count {
        let name = format!("/{number}");
        bench.fetch(&name, ValidatorPolicy::Auto, full(&name, b"held"));
    }
    bench.client.handle_disconnected("a new session", bench.now);
    bench.client.handle_connected(bench.now);
    bench.take();
    bench.session(&welcome_frame_of(VERSION, limits));
    bench.take();
    bench
}

/// Asks for so many items at once, every `step`th; returns the batches that were sent.
fn batches(bench: &mut Bench, count: usize, step: usize) -> Vec<Batch> {
    let keys = (0..count).map(|number| key(&format!("/{}", number * step)));
    let gets = keys.map(|key| {
        bench.next_ticket += 1;
        (bench.next_ticket, key)
    });
    let gets = gets.collect();
    bench.client.get_many(gets, bench.now);
    sent(bench, FrameType::Batch).iter().map(|it| Batch::decode(it.payload()).unwrap()).collect()
}

/// The frames of this kind that were sent, everything else kept for later.
fn sent(bench: &mut Bench, kind: FrameType) -> Vec<Frame> {
    let outputs = bench.take();
    let wanted = |output: &Output| match output {
        Output::SendLane(frame) if frame.kind() == kind => Some(frame.clone()),
        _ => None,
    };
    let frames = outputs.iter().filter_map(wanted).collect();
    bench.outputs = outputs.into_iter().filter(|output| wanted(output).is_none()).collect();
    frames
}

/// A reply that calls so many slots changed, and brings `rest` of them.
fn all_changed(count: usize, rest: Body) -> Outcome {
    let unchanged = Unchanged::new(vec![false; count].into_iter());
    Outcome::Batch { unchanged, hash: UnchangedHash::default().finish(), rest }
}

#[test]
fn slots_that_are_too_many_for_one_batch_go_with_the_next() {
    let limits = Limits { slots: 8000, ..LIMITS };
    let config = Config { max_slots: 8000, max_waiting: 10_000, ..Config::default() };
    let mut bench = holding(3000, limits, config);
    let sent = batches(&mut bench, 1500, 2);
    let counts: Vec<_> = sent.iter().map(Batch::count).collect();
    assert_eq!(counts, [1024, 476]);
    assert!(bench.requests().is_empty(), "none is asked for by itself");
}

#[test]
fn a_batch_whose_gets_timed_out_is_given_up_like_any_request() {
    let mut bench = holding(3, Limits { in_flight: 2, ..LIMITS }, Config::default());
    assert_eq!(batches(&mut bench, 2, 1).len(), 1);
    bench.start("/new", ValidatorPolicy::Auto);
    assert_eq!(bench.requests().len(), 1);
    bench.pass(Duration::from_secs(15));
    assert_eq!(bench.answers().len(), 3);
    // Both places are taken by what is never answered.
    assert!(matches!(bench.take()[..], [.., Output::Close { .. }] | [Output::Close { .. }, ..]));
}

#[test]
fn the_late_reply_to_a_batch_frees_its_place_once() {
    let mut bench = holding(3, Limits { in_flight: 3, ..LIMITS }, Config::default());
    let id = batches(&mut bench, 2, 1)[0].request_id;
    bench.pass(Duration::from_secs(15));
    assert_eq!(bench.answers().len(), 2);
    bench.take();
    let start = |bench: &mut Bench| {
        for name in ["/x", "/y", "/z"] {
            bench.start(name, ValidatorPolicy::Auto);
        }
        bench.requests().len()
    };
    assert_eq!(start(&mut bench), 2, "the router still has the batch on its list");
    bench.reply(id, all_changed(2, Body::Inline(Bytes::new())));
    bench.reply(id, all_changed(2, Body::Inline(Bytes::new())));
    assert_eq!(bench.requests().len(), 1, "it had one place");
    assert_eq!(bench.client.statistics().late_replies, 2);
}

#[test]
fn a_body_that_starts_anywhere_but_at_its_beginning_breaks_a_batch_and_leaves_its_place_taken() {
    let mut bench = holding(2, Limits { in_flight: 2, ..LIMITS }, Config::default());
    let id = batches(&mut bench, 2, 1)[0].request_id;
    bench.client.handle_body(id, 7, Bytes::from_static(b"rest"), bench.now);
    assert_eq!(bench.requests().len(), 1, "the frame of the batch is still to come");
    bench.reply(id, all_changed(2, Body::Stream { length: 4 }));
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn what_nobody_asked_for_ends_what_a_batch_brings() {
    let mut bench = holding(2, LIMITS, Config::default());
    let id = batches(&mut bench, 2, 1)[0].request_id;
    let unasked = LaneReply { request_id: 90, outcome: Outcome::UnknownSlot }.encode();
    let mut rest = unasked.bytes().repeat(1000);
    let wanted = LaneReply { request_id: 0, outcome: full("/0", b"new") }.encode();
    rest.extend_from_slice(wanted.bytes());
    bench.reply(id, all_changed(2, Body::Inline(rest.into())));
    assert_eq!(bench.client.statistics().unknown_replies, 1, "the others are not looked at");
    assert_eq!(bench.requests().len(), 2, "both are asked for");
}

#[test]
fn a_list_that_is_never_answered_leaves_room_for_requests() {
    let ask_cold = |in_flight| {
        let mut bench = holding(3, Limits { in_flight, ..LIMITS }, Config::default());
        let id = batches(&mut bench, 2, 1)[0].request_id;
        let unknown = |slot| LaneReply { request_id: slot, outcome: Outcome::UnknownSlot }.encode();
        let rest = [unknown(0).bytes(), unknown(1).bytes()].concat();
        bench.reply(id, all_changed(2, Body::Inline(rest.into())));
        let mut answered = 0;
        while answered < 2 {
            for frame in sent(&mut bench, FrameType::Get) {
                let get = Get::decode(frame.payload()).unwrap();
                bench.reply(get.request_id, use_cached(get.key.unwrap().as_str(), b"held"));
                bench.answer().unwrap();
                answered += 1;
            }
        }
        bench
    };
    let mut bench = ask_cold(2);
    let listed = sent(&mut bench, FrameType::Inventory);
    assert_eq!(Inventory::decode(listed[0].payload()).unwrap().entries.len(), 3);
    bench.start("/0", ValidatorPolicy::Auto);
    assert_eq!(bench.requests().len(), 1);
    let mut bench = ask_cold(1);
    assert!(sent(&mut bench, FrameType::Inventory).is_empty(), "it could be the last frame");
    bench.start("/0", ValidatorPolicy::Auto);
    assert_eq!(bench.requests().len(), 1);
}
