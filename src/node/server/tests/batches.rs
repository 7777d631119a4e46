//! BATCH: each slot decided like a GET without a validator, all in one reply.

use super::bench::{Bench, digest, forward, found, get, tag, version};
use super::*;
use crate::wire::backplane::Forward;
use crate::wire::lane::{
    Batch, BatchRest, Body, ErrorCode, Outcome, Reply, Unchanged, UnchangedHash,
};
use crate::wire::{Frame, HeaderBlock, Tag};

fn batch(slots: impl IntoIterator<Item = u64>) -> Frame {
    Batch::of_slots(5, slots).encode()
}

/// The one reply to a batch of so many slots: which are unchanged, and what is said of others. The
/// hash must be the one of `unchanged`.
fn read(bench: &mut Bench, count: u64, unchanged: &[(u64, Tag)]) -> Vec<(u64, Outcome)> {
    let Outcome::Batch { unchanged: bits, hash, rest } = bench.outcome() else {
        panic!("it is no reply to a batch")
    };
    assert!(bits.is_for(count));
    let mut expected = UnchangedHash::default();
    unchanged.iter().for_each(|(slot, tag)| expected.add(*slot, tag));
    assert_eq!(hash, expected.finish());
    let set = (0..count as usize).filter(|place| bits.contains(*place)).count();
    assert_eq!(set, unchanged.len());
    let bytes = match rest {
        Body::Inline(bytes) => bytes,
        Body::Stream { length } => {
            let body = bench.bodies.remove(0);
            assert_eq!(body.len() as u64, length);
            body
        }
        Body::Unmirrored { .. } => panic!("a batch is mirrored"),
    };
    let (mut rest, mut said) = (BatchRest::new(bytes), Vec::new());
    while let Some((Reply { request_id, outcome }, behind)) = rest.next_reply().expect("replies") {
        said.push(match (outcome, behind) {
            (Outcome::Full { tag, headers, .. }, Some(bytes)) => {
                (request_id, Outcome::Full { tag, headers, body: Body::Inline(bytes) })
            }
            (outcome, _) => (request_id, outcome),
        });
    }
    said
}

fn whole(key: &str, of: &crate::mirror::Version) -> Outcome {
    let (headers, body) = (HeaderBlock::default(), Body::Inline(of.body().clone()));
    Outcome::Full { tag: tag(key, of), headers, body }
}

#[test]
fn each_slot_is_unchanged_or_changed_or_unknown_or_left_out() {
    let mut bench = Bench::new();
    let (old, new) = (version(1, 20), version(2, 20));
    let keys = ["/same", "/new", "/gone", "/failing", "/refused", "/unmirrored"];
    for (slot, key) in keys.into_iter().enumerate() {
        bench.warm(1, slot as u64, key, found(&old));
    }
    bench.ask(1, How::Known, batch(0..7));
    assert!(bench.heard.is_empty(), "the source is asked first");
    bench.answer("/same", Retrieved::Unchanged);
    bench.answer("/new", found(&new));
    bench.answer("/gone", Retrieved::NotFound);
    bench.answer("/failing", Retrieved::Failed("it is broken".into()));
    bench.answer("/refused", Retrieved::Refused("no".into()));
    let headers = HeaderBlock::default();
    bench.answer("/unmirrored", Retrieved::Unmirrored { headers, length: 1 << 40 });
    let said = read(&mut bench, 7, &[(0, tag("/same", &old))]);
    assert_eq!(said, [(1, whole("/new", &new)), (6, Outcome::UnknownSlot)]);
    // What was left out is in the mirror as it was: the client has not heard of it.
    let digests: Vec<_> = bench.mirror(1).into_iter().map(|(_, _, version)| version).collect();
    let (old, new) = (Some(digest(&old)), Some(digest(&new)));
    assert_eq!(digests, [old, new, old, old, old, old]);
    let mirrored: Vec<_> = bench.mirrored.iter().map(|(slot, ..)| *slot).collect();
    assert_eq!(mirrored, [1], "the alternate is told of what has changed");
    let counters = bench.server.view().counters;
    assert_eq!((counters.batches, counters.batched_unchanged), (1, 1));
}

#[test]
fn what_does_not_fit_is_left_out_and_the_mirror_keeps_what_it_had() {
    let mut bench = Bench::new();
    let old = version(1, 20);
    for (slot, key) in ["/a", "/b", "/c"].into_iter().enumerate() {
        bench.warm(1, slot as u64, key, found(&old));
    }
    bench.ask(1, How::Known, batch(0..3));
    let large = [version(2, 9 << 20), version(3, 9 << 20), version(4, 20_000)];
    for (key, version) in ["/a", "/b", "/c"].into_iter().zip(&large) {
        bench.answer(key, found(version));
    }
    let said = read(&mut bench, 3, &[]);
    assert_eq!(said, [(0, whole("/a", &large[0])), (2, whole("/c", &large[2]))]);
    let digests: Vec<_> = bench.mirror(1).into_iter().map(|(_, _, version)| version).collect();
    assert_eq!(digests, [Some(digest(&large[0])), Some(digest(&old)), Some(digest(&large[2]))]);
}

#[test]
fn a_private_item_is_retrieved_for_each_client_that_asks_many() {
    let mut bench = Bench::new();
    let of_one = version(1, 200).private();
    bench.warm(1, 0, "/private", found(&of_one));
    bench.warm(2, 0, "/private", found(&version(2, 200).private()));
    let now = bench.now;
    for of in 1..=2 {
        let inner = batch([0]);
        let forward = Forward { inner, ..forward(of, How::Known) };
        bench.server.handle_message(now, &ROUTER, Message::Forward(forward));
    }
    bench.drain();
    bench.answer("/private", found(&of_one));
    // The first one asked, and is told that it has that; the second one joined in vain.
    assert_eq!(read(&mut bench, 1, &[(0, tag("/private", &of_one))]), []);
    assert_eq!(bench.asked.len(), 1);
    let fresh = version(3, 200).private();
    bench.answer("/private", found(&fresh));
    assert_eq!(read(&mut bench, 1, &[]), [(0, whole("/private", &fresh))]);
    assert!(bench.differs.is_empty(), "and comes whole");
}

#[test]
fn what_the_source_need_not_be_asked_for_is_answered_at_once() {
    let mut bench = Bench::new();
    let lasting = version(1, 20);
    bench.ask(1, How::HandedOn, get(3, Some("/lasting"), Validator::None));
    let (ticket, ..) = bench.asked.remove(0);
    bench.server.handle_retrieved(bench.now, ticket, found(&lasting), Freshness::forever());
    bench.drain();
    bench.outcome();
    bench.mirrored.clear();
    bench.ask(1, How::Known, batch([3]));
    assert_eq!(read(&mut bench, 1, &[(3, tag("/lasting", &lasting))]), []);
    assert!(bench.asked.is_empty() && bench.mirrored.is_empty());
}

#[test]
fn slots_beyond_the_limit_are_refused_and_nobody_is_asked() {
    let mut bench = Bench::new();
    bench.warm(1, 0, "/a", found(&version(1, 20)));
    for inner in [batch([0, 8]), Frame::build(FrameType::Batch, 9, |out| out.extend([5, 0]))] {
        bench.ask(1, How::Known, inner);
        let outcome = bench.outcome();
        let malformed = matches!(outcome, Outcome::Error { code: ErrorCode::Malformed, .. });
        assert!(malformed, "{outcome:?}");
    }
    assert!(bench.asked.is_empty());
}

#[test]
fn a_standby_batch_changes_no_mirror() {
    let mut bench = Bench::new();
    bench.warm(1, 0, "/a", found(&version(1, 20)));
    let before = bench.mirror(1);
    bench.ask(1, How::Standby, batch([0]));
    let new = version(2, 20);
    bench.answer("/a", found(&new));
    assert_eq!(read(&mut bench, 1, &[]), [(0, whole("/a", &new))]);
    assert_eq!(bench.mirror(1), before);
    assert!(bench.mirrored.is_empty());
}

#[test]
fn a_standby_that_does_not_know_a_slot_does_not_speak_for_the_primary() {
    let mut bench = Bench::new();
    bench.warm(1, 0, "/a", found(&version(1, 20)));
    bench.ask(1, How::Standby, batch([0, 1]));
    assert_eq!(bench.outcome(), Outcome::UnknownSlot);
    assert!(bench.asked.is_empty());
}

#[test]
fn a_slot_for_which_it_is_too_late_is_left_out() {
    let mut bench = Bench::new();
    let old = version(1, 20);
    bench.warm(1, 0, "/a", found(&old));
    bench.warm(1, 1, "/b", found(&old));
    bench.ask(1, How::Known, batch(0..2));
    bench.answer("/a", Retrieved::Unchanged);
    bench.now = now(1500);
    (1..=15).for_each(|turn| bench.server.handle_timeout(now(turn * 100)));
    bench.drain();
    bench.answer("/b", found(&version(2, 20)));
    assert_eq!(read(&mut bench, 2, &[(0, tag("/a", &old))]), []);
    assert_eq!(bench.mirror(1)[1].2, Some(digest(&old)));
}

#[test]
fn a_batch_of_a_client_that_was_taken_meanwhile_is_refused_once() {
    let mut bench = Bench::new();
    bench.warm(1, 0, "/a", found(&version(1, 20)));
    bench.warm(1, 1, "/b", found(&version(1, 20)));
    bench.ask(1, How::Known, batch(0..2));
    bench.release(1);
    bench.heard.clear();
    bench.answer("/a", Retrieved::Unchanged);
    bench.answer("/b", found(&version(2, 20)));
    assert!(matches!(bench.heard[..], [Message::NotOwner { request_id: 7, .. }]));
}

#[test]
fn the_bitmap_is_in_the_order_of_the_slots() {
    let mut bench = Bench::new();
    let old = version(1, 20);
    for slot in [1, 2, 5, 7] {
        bench.warm(1, slot, &format!("/{slot}"), found(&old));
    }
    bench.ask(1, How::Known, batch([1, 2, 5, 7]));
    // The source answers in another order.
    for (key, unchanged) in [("/7", true), ("/2", true), ("/5", false), ("/1", false)] {
        let answer = if unchanged { Retrieved::Unchanged } else { Retrieved::NotFound };
        bench.answer(key, answer);
    }
    let Outcome::Batch { unchanged, .. } = &bench.outcome() else { panic!("no reply to a batch") };
    assert_eq!(*unchanged, Unchanged::new([false, true, false, true].into_iter()));
}

#[test]
fn too_many_slots_at_one_time_are_refused_and_fewer_are_served_again() {
    let mut bench = Bench::new();
    let item = version(1, 20);
    for slot in 0..8 {
        bench.warm(1, slot, &format!("/{slot}"), found(&item));
    }
    let most = batch::MAX_OPEN_SLOTS / 8;
    (0..most).for_each(|_| bench.ask(1, How::Known, batch(0..8)));
    assert_eq!(bench.outcomes(), [], "all of them wait for the source");
    bench.ask(1, How::Known, batch(0..8));
    assert!(matches!(bench.outcome(), Outcome::Busy { .. }));
    (0..8).for_each(|slot| bench.answer(&format!("/{slot}"), found(&item)));
    assert!(matches!(bench.outcome(), Outcome::Batch { .. }));
    bench.ask(1, How::Known, batch(0..8));
    assert_eq!(bench.outcomes(), [], "there is room for one more");
}
