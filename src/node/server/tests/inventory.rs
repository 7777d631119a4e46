//! INVENTORY: a client's word for what it holds, at the primary and at the alternate.

use super::bench::{Bench, digest, found, get, tag, version};
use super::*;
use crate::wire::lane::{ErrorCode, Inventory, InventoryEntry, Outcome};
use crate::wire::{Fingerprint, Frame};

fn entry(slot: u64, key: &str, version: Fingerprint) -> InventoryEntry {
    InventoryEntry { slot, key: key.parse().expect("a key"), version }
}

fn inventory(entries: impl Into<Vec<InventoryEntry>>) -> Frame {
    Inventory { request_id: 5, entries: entries.into() }.encode()
}

#[test]
fn what_a_client_says_it_holds_is_known_here_and_at_the_alternate() {
    let mut bench = Bench::new();
    let (one, other) = (version(1, 20), version(2, 20));
    bench.warm(1, 0, "/a", found(&one));
    let entries = [("/a", 0, &one), ("/b", 3, &other)]
        .map(|(key, slot, it)| entry(slot, key, *it.fingerprint()));
    bench.ask(1, How::Known, inventory(entries.clone()));
    assert_eq!(bench.outcome(), Outcome::Noted);
    let expected =
        [(0, "/a".to_owned(), Some(digest(&one))), (3, "/b".to_owned(), Some(digest(&other)))];
    assert_eq!(bench.mirror(1), expected);
    let told: Vec<_> = bench.mirrored.drain(..).map(|(slot, ..)| slot).collect();
    assert_eq!(told, [3], "the other one was known");
    assert_eq!(bench.server.view().counters.listed_entries, 1);
    // From now on the mirror alone decides.
    bench.ask(1, How::Known, get(3, None, Validator::None));
    bench.answer("/b", found(&other));
    assert_eq!(bench.outcome(), Outcome::UseCached { tag: tag("/b", &other) });
    // Said twice, it changes nothing.
    bench.ask(1, How::Known, inventory(entries));
    assert_eq!((bench.outcome(), bench.mirrored.len()), (Outcome::Noted, 0));
    assert!(bench.asked.is_empty(), "no item was retrieved for it");
}

#[test]
fn a_list_with_a_slot_beyond_the_limit_is_refused_as_a_whole() {
    let mut bench = Bench::new();
    let one = version(1, 20);
    bench.warm(1, 0, "/a", found(&one));
    let before = bench.mirror(1);
    let print = *one.fingerprint();
    let beyond = inventory([entry(1, "/b", print), entry(8, "/c", print)]);
    let garbage = Frame::build(FrameType::Inventory, 9, |out| out.extend([5, 9, 9]));
    for inner in [beyond, garbage] {
        bench.ask(1, How::Known, inner);
        let outcome = bench.outcome();
        let malformed = matches!(outcome, Outcome::Error { code: ErrorCode::Malformed, .. });
        assert!(malformed, "{outcome:?}");
    }
    assert_eq!(bench.mirror(1), before);
    assert!(bench.mirrored.is_empty());
}

#[test]
fn a_standby_takes_nobodys_word() {
    let mut bench = Bench::new();
    let one = version(1, 20);
    bench.warm(1, 0, "/a", found(&one));
    let before = bench.mirror(1);
    bench.ask(1, How::Standby, inventory([entry(1, "/b", *one.fingerprint())]));
    assert_eq!(bench.outcome(), Outcome::Noted);
    assert_eq!(bench.mirror(1), before);
    assert!(bench.mirrored.is_empty());
}

#[test]
fn a_client_that_lies_is_brought_what_it_does_not_hold() {
    let mut bench = Bench::new();
    let (one, other) = (version(1, 20), version(2, 20));
    bench.warm(1, 0, "/a", found(&one));
    bench.ask(1, How::Known, inventory([entry(0, "/a", *other.fingerprint())]));
    bench.outcome();
    bench.ask(1, How::Known, get(0, None, Validator::None));
    bench.answer("/a", found(&one));
    let outcome = bench.outcome();
    assert!(matches!(outcome, Outcome::Full { .. }), "{outcome:?}");
    assert_eq!(bench.mirror(1), [(0, "/a".to_owned(), Some(digest(&one)))]);
}

#[test]
fn the_list_of_a_client_that_is_not_served_is_nobodys() {
    let mut bench = Bench::new();
    let list = inventory([entry(0, "/a", *version(1, 20).fingerprint())]);
    for how in [How::Known, How::Takeover, How::Standby] {
        bench.ask(1, how, list.clone());
        let refused = |it: &&Message| matches!(it, Message::NotOwner { .. });
        assert_eq!(bench.heard.iter().filter(refused).count(), 1, "{how:?}");
        assert!(bench.outcomes().is_empty());
    }
    assert!(bench.mirror(1).is_empty());
}
