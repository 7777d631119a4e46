//! DELTA: made once, of what anybody may have, against what the client holds.

use super::bench::{Bench, digest, forward, found, get, strong, tag, version};
use super::*;
use crate::mirror::Version;
use crate::wire::Digest;
use crate::wire::backplane::Forward;
use crate::wire::lane::{Body, Outcome};

/// A server with so many clients that hold `old` as `/a` in slot 0.
fn holding(clients: u8, old: &Version) -> Bench {
    let mut bench = Bench::new();
    for of in 1..=clients {
        bench.warm(of, 0, "/a", found(old));
    }
    bench
}

/// A client asks for what is in slot 0, of which the source then has `new`.
fn ask_again(bench: &mut Bench, of: u8, validator: Validator, new: &Version) {
    bench.ask(of, How::Known, get(0, None, validator));
    bench.answer("/a", found(new));
}

fn is_whole(outcome: &Outcome, of: &Version) -> bool {
    matches!(outcome, Outcome::Full { tag: found, body: Body::Inline(bytes), .. }
        if *found == tag("/a", of) && bytes == of.body())
}

/// What a DELTA says: from which version, to which, and the difference.
fn parts(outcome: &Outcome) -> (Digest, crate::wire::Tag, u64, Bytes) {
    match outcome {
        Outcome::Delta { tag, base, length, body: Body::Inline(bytes), .. } => {
            (*base, *tag, *length, bytes.clone())
        }
        other => panic!("{other:?} is no difference"),
    }
}

#[test]
fn a_difference_is_made_once_for_all_who_hold_the_old_version() {
    let (old, new) = (version(1, 2000), version(2, 2000));
    let mut bench = holding(4, &old);
    (1..=3).for_each(|of| ask_again(&mut bench, of, Validator::None, &new));
    assert!(bench.heard.is_empty(), "all wait for it");
    let [(pair, from, to)] = &bench.differs[..] else { panic!("{:?}", bench.differs) };
    assert_eq!(*pair, Pair { old: digest(&old), new: digest(&new) });
    assert_eq!((from, to), (old.body(), new.body()));
    let made = bench.differ(true);
    let expected = (digest(&old), tag("/a", &new), 2000, made);
    let outcomes = bench.outcomes();
    assert_eq!(outcomes.iter().map(parts).collect::<Vec<_>>(), vec![expected.clone(); 3]);
    ask_again(&mut bench, 4, Validator::None, &new);
    assert_eq!(parts(&bench.outcome()), expected);
    assert!(bench.differs.is_empty());
    assert!((1..=4).all(|of| bench.mirror(of)[0].2 == Some(digest(&new))));
    let counters = bench.server.view().counters;
    assert_eq!((counters.deltas, counters.delta_full_bytes), (4, 8000));
}

#[test]
fn what_saves_nothing_goes_out_whole_to_all_who_waited_and_is_not_made_again() {
    let (old, new) = (version(1, 2000), version(2, 2000));
    let mut bench = holding(3, &old);
    (1..=2).for_each(|of| ask_again(&mut bench, of, Validator::None, &new));
    bench.differ(false);
    let outcomes = bench.outcomes();
    assert!(outcomes.len() == 2 && outcomes.iter().all(|it| is_whole(it, &new)), "{outcomes:?}");
    ask_again(&mut bench, 3, Validator::None, &new);
    assert!(is_whole(&bench.outcome(), &new) && bench.differs.is_empty());
}

#[test]
fn nothing_of_a_private_item_is_in_a_difference() {
    let (public, private) = (version(1, 2000), version(2, 2000).private());
    // The fresh version is private.
    let mut bench = holding(1, &public);
    ask_again(&mut bench, 1, Validator::None, &private);
    assert!(is_whole(&bench.outcome(), &private) && bench.differs.is_empty());
    // What the client holds is private: the server does not keep it, whoever names it.
    bench.warm(2, 0, "/a", found(&private));
    let fresh = version(3, 2000);
    for (of, validator) in [(1, Validator::None), (2, strong(&private)), (1, strong(&private))] {
        let shareable = fresh.clone();
        ask_again(&mut bench, of, validator, &shareable);
        let outcome = bench.outcome();
        let known = matches!(outcome, Outcome::UseCached { .. });
        assert!(known || is_whole(&outcome, &fresh), "{outcome:?}");
        assert!(bench.differs.is_empty());
    }
}

#[test]
fn who_takes_none_or_disproves_the_mirror_gets_no_difference_to_what_it_says() {
    let (old, new) = (version(1, 2000), version(2, 2000));
    let (other, nothing) = (version(7, 2000), Digest([0; 16]));
    for validator in [
        Validator::Strong { crc: 0, digest: nothing },
        Validator::Crc { crc: other.fingerprint().crc, length: 2000 },
        strong(&other),
    ] {
        let mut bench = holding(1, &old);
        ask_again(&mut bench, 1, validator, &new);
        assert!(is_whole(&bench.outcome(), &new) && bench.differs.is_empty());
        assert_eq!(bench.server.view().counters.drifted_entries, 1);
    }
    let mut bench = holding(1, &old);
    bench.ask_with(Forward { takes_deltas: false, ..forward(1, How::Known) });
    bench.answer("/a", found(&new));
    assert!(is_whole(&bench.outcome(), &new) && bench.differs.is_empty());
}

#[test]
fn a_difference_is_to_what_the_client_says_it_holds_if_that_is_at_hand() {
    let [first, second, third] = [1, 2, 3].map(|letter| version(letter, 2000));
    let mut bench = holding(2, &first);
    // The mirror believes in the second version; the reply was lost.
    bench.warm(1, 0, "/a", found(&first));
    ask_again(&mut bench, 1, Validator::None, &second);
    bench.differ(true);
    bench.outcome();
    ask_again(&mut bench, 1, strong(&first), &third);
    let made = bench.differ(true);
    assert_eq!(parts(&bench.outcome()), (digest(&first), tag("/a", &third), 2000, made));
}

#[test]
fn who_waits_for_a_difference_in_vain_is_refused_or_dropped() {
    let (old, new) = (version(1, 2000), version(2, 2000));
    let mut bench = holding(3, &old);
    bench.ask_with(Forward { deadline_ms: 100, ..forward(1, How::Known) });
    bench.answer("/a", found(&new));
    (2..=3).for_each(|of| ask_again(&mut bench, of, Validator::None, &new));
    bench.release(2);
    bench.heard.clear();
    bench.now = now(150);
    bench.differ(true);
    let refused = bench.heard.iter().filter(|it| matches!(it, Message::NotOwner { .. }));
    assert_eq!(refused.count(), 1);
    assert_eq!(parts(&bench.outcome()).0, digest(&old), "of the three, one is answered");
    assert_eq!(bench.mirror(1)[0].2, Some(digest(&old)), "the late one has not heard of it");
    assert_eq!(bench.mirror(3)[0].2, Some(digest(&new)));
    assert!(bench.mirror(2).is_empty());
}

#[test]
fn a_slot_that_got_another_key_meanwhile_is_left_alone() {
    let (old, new) = (version(1, 2000), version(2, 2000));
    let mut bench = holding(1, &old);
    ask_again(&mut bench, 1, Validator::None, &new);
    bench.ask(1, How::Known, get(0, Some("/b"), Validator::None));
    bench.answer("/b", found(&old));
    bench.outcome();
    bench.differ(true);
    assert!(is_whole(&bench.outcome(), &new), "nothing is known of what the client holds");
    assert_eq!(bench.mirror(1), [(0, "/b".to_owned(), Some(digest(&old)))]);
}

#[test]
fn bytes_that_are_gone_are_retrieved_only_to_be_sent() {
    // Room for one payload.
    let mut bench = Bench::with_memory(6000);
    let (one, other) = (version(1, 3000), version(2, 3000));
    bench.warm(1, 0, "/a", found(&one));
    bench.warm(1, 1, "/b", found(&other));
    bench.ask(1, How::Known, get(0, None, Validator::None));
    assert!(matches!(bench.asked[..], [(_, _, true)]), "it is known: {:?}", bench.asked);
    bench.answer("/a", Retrieved::Unchanged);
    assert_eq!(bench.outcome(), Outcome::UseCached { tag: tag("/a", &one) });
    assert!(bench.asked.is_empty(), "the bytes are not needed");
    // Two who hold nothing share one retrieval of the bytes.
    for of in 2..=3 {
        let inner = get(0, Some("/a"), Validator::None);
        let forward = Forward { inner, ..forward(of, How::HandedOn) };
        bench.server.handle_message(bench.now, &ROUTER, Message::Forward(forward));
    }
    bench.drain();
    bench.answer("/a", Retrieved::Unchanged);
    assert!(bench.heard.iter().all(|it| !matches!(it, Message::Reply { .. })));
    assert!(matches!(bench.asked[..], [(_, _, false)]), "{:?}", bench.asked);
    bench.answer("/a", found(&one));
    let outcomes = bench.outcomes();
    assert!(outcomes.len() == 2 && outcomes.iter().all(|it| is_whole(it, &one)), "{outcomes:?}");
}
