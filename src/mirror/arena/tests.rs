//! The arena as a whole: what is given out never changes, and what is held never exceeds the budget.

use super::{Arena, GRAIN, MAX_PAYLOAD, MIN_PAGE};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;

/// A payload that is told from all others by its seed.
fn payload(seed: u32, length: usize) -> Vec<u8> {
    (0..length as u32).map(|at| (seed ^ at.wrapping_mul(0x9e37_79b9)).to_le_bytes()[3]).collect()
}

/// A budget in which a page has the shortest length.
const SMALL: usize = 64 * MIN_PAGE as usize;

impl Arena {
    fn check(&self) {
        assert_eq!(self.places.check(), (self.committed, self.live));
    }
}

#[test]
fn a_payload_is_given_out_as_it_was_stored() {
    let mut arena = Arena::new(SMALL);
    for length in [0, 1, 63, 64, 65, 1000, 1024, 1025, 4096, 5000, 100_000] {
        let stored = arena.store(&payload(1, length), 1).unwrap();
        assert_eq!(stored, payload(1, length));
        assert_eq!(arena.live(), length, "what was dropped before is no longer counted");
    }
    arena.check();
}

#[test]
fn the_budget_is_one_of_memory() {
    let mut arena = Arena::new(SMALL);
    let stored: Vec<_> = (0..).map_while(|owner| arena.store(&[1; 640], owner)).collect();
    assert_eq!(arena.committed(), SMALL);
    // Of each page of 4 KiB, 6 times 640 bytes.
    assert_eq!((stored.len(), arena.live()), (64 * 6, 64 * 6 * 640));
    assert!(arena.store(&[1; 640], 0).is_none());
    assert!(arena.store(&[1; 2000], 0).is_none());
    assert!(arena.store(&[1; 100], 0).is_some(), "it fits in what is left of a page");
    drop(stored);
    arena.reclaim();
    assert_eq!((arena.committed(), arena.live()), (MIN_PAGE as usize, 0), "one page is spared");
    assert!(arena.store(&vec![2; SMALL], 0).is_some(), "for which the spare page is given up");
    assert!(arena.store(&vec![2; SMALL + 1], 0).is_none());
    assert!(arena.store(&vec![2; MAX_PAYLOAD + 1], 0).is_none());
    arena.check();
}

#[test]
fn what_others_hold_counts_until_they_drop_it() {
    let mut arena = Arena::new(SMALL);
    let stored = arena.store(&vec![1; SMALL - 4096], 1).unwrap();
    let part = stored.slice(5..6);
    drop(stored);
    assert!(arena.store(&[2; 5000], 2).is_none());
    assert_eq!(arena.vacate(5000), Some(vec![1]));
    assert_eq!(arena.vacate(5000), None, "it was named, and is still held");
    assert_eq!((arena.live(), arena.committed()), (SMALL - 4096, SMALL - 4096));
    thread::scope(|scope| {
        scope.spawn(move || drop(part));
    });
    assert_eq!(arena.vacate(5000), Some(Vec::new()), "nothing needs to be dropped any more");
    assert!(arena.store(&[2; 5000], 2).is_some());
    arena.check();
}

#[test]
fn what_was_given_out_outlives_the_arena() {
    let mut arena = Arena::new(SMALL);
    let stored: Vec<_> = (0..9).map(|seed| arena.store(&payload(seed, 3000), seed)).collect();
    drop(arena);
    for (seed, stored) in stored.into_iter().enumerate() {
        assert_eq!(stored.unwrap(), payload(seed as u32, 3000));
    }
}

/// Fills the arena with payloads of one length, by owner.
fn fill(arena: &mut Arena, length: usize) -> HashMap<u32, Bytes> {
    (0..).map_while(|owner| Some((owner, arena.store(&vec![0; length], owner)?))).collect()
}

#[test]
fn those_named_make_room_together() {
    for length in [64, 200, 1000, 1024, 1500, 4096, 9000, 100_000, SMALL] {
        for kept in [64, 300, 1000, 2000, 4096, 30_000] {
            let mut arena = Arena::new(SMALL);
            let mut stored = fill(&mut arena, kept);
            while arena.store(&vec![1; length], 0).is_none() {
                let named = arena.vacate(length).expect("all can be dropped");
                assert!(!named.is_empty(), "{length} among those of {kept}");
                for owner in &named {
                    stored.remove(owner).expect("nobody is named twice");
                }
                arena.reclaim();
                arena.check();
                assert!(arena.store(&vec![1; length], 0).is_some(), "{length} among {kept}");
            }
        }
    }
}

#[test]
fn few_bytes_are_lost_to_make_room() {
    let mut arena = Arena::new(SMALL);
    let mut stored = fill(&mut arena, 512);
    // Neighbours of which one is gone are cheapest.
    stored.remove(&77);
    let named = arena.vacate(1024).unwrap();
    assert_eq!(named.len(), 1);
    assert!([76, 78].contains(&named[0]), "{named:?}");
    stored.remove(&named[0]);
    assert!(arena.store(&[1; 1024], 0).is_some());
    // So are pages: those that are already half empty.
    let half_empty = 8 * 20..8 * 30;
    stored.retain(|owner, _| !half_empty.contains(owner) || owner % 2 == 0);
    let named = arena.vacate(9 * 4096).unwrap();
    assert_eq!(named.len(), 9 * 4);
    assert!(named.iter().all(|owner| half_empty.contains(owner)), "{named:?}");
}

#[test]
fn what_is_pinned_is_named_once_and_then_others_are() {
    let mut arena = Arena::new(SMALL);
    let mut stored = fill(&mut arena, 1024);
    let pins: Vec<_> =
        (0..256).filter(|owner| owner % 5 < 2).map(|at| stored[&at].clone()).collect();
    let (mut named_in_all, mut placed) = (0, Vec::new());
    while let Some(named) = arena.vacate(1024) {
        // Those that are placed are not dropped at all.
        named.iter().for_each(|owner| drop(stored.remove(owner)));
        named_in_all += named.len();
        placed.extend(arena.store(&[1; 1024], 1000));
    }
    // The page of the longest place cannot be had either.
    assert_eq!(arena.vacate(SMALL), None);
    assert_eq!((stored.len(), placed.len()), (0, 256 - pins.len()));
    assert_eq!(named_in_all, 256 + placed.len(), "each of them once");
    assert!(pins.iter().all(|pin| pin == &[0; 1024][..]));
    assert!(placed.iter().all(|placed| placed == &[1; 1024][..]));
    arena.check();
}

#[test]
fn a_budget_can_be_lowered() {
    let mut arena = Arena::new(SMALL);
    let mut stored = fill(&mut arena, 1000);
    arena.set_budget(SMALL / 2);
    assert_eq!(arena.committed(), SMALL, "what is stored stays");
    drop(stored.remove(&0));
    assert!(arena.store(&[1; 1000], 0).is_some(), "it needs no page");
    assert!(arena.store(&[1; 5000], 0).is_none());
    let named = arena.vacate(4 * 4096).unwrap();
    assert!(named.len() >= 4 * (32 + 4) - 1, "as many as are above the budget, and four");
    stored.retain(|owner, _| !named.contains(owner));
    assert!(arena.store(&[1; 4 * 4096], 0).is_some());
    assert!(arena.committed() <= SMALL / 2);
    arena.check();
}

#[derive(Debug, Clone)]
enum Step {
    Store(usize),
    Clone(usize),
    Drop(usize),
    /// By another thread, at some time.
    DropElsewhere(usize),
    /// Makes room; one in so many is held by somebody else.
    Vacate(usize, u32),
    Budget(usize),
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..200_usize, 8 => 200..2000_usize, 3 => 2000..9000_usize, 1 => 0..60_000_usize]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => length().prop_map(Step::Store),
        2 => any::<usize>().prop_map(Step::Clone),
        3 => any::<usize>().prop_map(Step::Drop),
        3 => any::<usize>().prop_map(Step::DropElsewhere),
        2 => (length(), 2..9_u32).prop_map(|(length, pinned)| Step::Vacate(length, pinned)),
        1 => (1..4_usize).prop_map(|pages| Step::Budget(pages * SMALL / 4)),
    ]
}

/// An arena, and what it has to agree with.
struct World {
    arena: Arena,
    budget: usize,
    /// What lives, with its seed, which is its owner too.
    held: Vec<(u32, Bytes)>,
    seed: u32,
}

impl World {
    fn step(&mut self, step: &Step, elsewhere: &mpsc::Sender<Bytes>) {
        let before = self.arena.committed();
        let pick = |at: usize, held: &[_]| (!held.is_empty()).then(|| at % held.len());
        match *step {
            Step::Store(length) => {
                self.seed += 1;
                if let Some(stored) = self.arena.store(&payload(self.seed, length), self.seed) {
                    self.held.push((self.seed, stored));
                }
            }
            Step::Clone(at) => self.held.extend(pick(at, &self.held).map(|at| {
                let (seed, bytes) = &self.held[at];
                (*seed, bytes.clone())
            })),
            Step::Drop(at) => {
                pick(at, &self.held).map(|at| self.held.swap_remove(at));
            }
            Step::DropElsewhere(at) => {
                if let Some(at) = pick(at, &self.held) {
                    elsewhere.send(self.held.swap_remove(at).1).unwrap();
                }
            }
            Step::Vacate(length, pinned) => {
                let named = self.arena.vacate(length).unwrap_or_default();
                let goes = |seed| named.contains(&seed) && seed % pinned != 0;
                self.held.retain(|(seed, _)| !goes(*seed));
                if named.iter().all(|seed| seed % pinned != 0) && !named.is_empty() {
                    // What else lives is clones that are on their way to their end.
                    self.arena.reclaim();
                }
            }
            Step::Budget(budget) => {
                self.budget = budget;
                self.arena.set_budget(budget);
            }
        }
        self.arena.check();
        assert!(self.arena.committed() <= self.budget.max(before), "above {}", self.budget);
    }

    /// What lives has the bytes that it was made of, and shares them with no other.
    fn check_held(&self) {
        let mut ranges = HashMap::new();
        for (seed, bytes) in &self.held {
            let expected = payload(*seed, bytes.len());
            assert!(*bytes == expected, "payload {seed} of {} bytes changed", bytes.len());
            if !bytes.is_empty() {
                let start = bytes.as_ptr() as usize;
                ranges.insert(start, (start + bytes.len(), *seed));
            }
        }
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            let ((_, (end, first)), (start, (_, second))) = (pair[0], pair[1]);
            assert!(end <= start, "payloads {first} and {second} overlap");
        }
        let held: std::collections::BTreeMap<_, _> =
            self.held.iter().map(|(seed, bytes)| (seed, bytes.len())).collect();
        assert!(self.arena.live() >= held.values().sum(), "what is held is counted");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 128 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_changes_or_overlaps_and_all_returns(
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 40 } else { 300 }),
    ) {
        let arena = Arena::new(SMALL);
        let mut world = World { arena, budget: SMALL, held: Vec::new(), seed: 0 };
        let (elsewhere, dropped) = mpsc::channel::<Bytes>();
        thread::scope(|scope| {
            let (elsewhere, world) = (elsewhere, &mut world);
            scope.spawn(move || dropped.into_iter().for_each(drop));
            for (at, step) in steps.iter().enumerate() {
                world.step(step, &elsewhere);
                if at % 16 == 0 {
                    world.check_held();
                }
            }
        });
        world.check_held();
        world.held.clear();
        world.arena.reclaim();
        world.arena.check();
        assert_eq!(world.arena.live(), 0);
        assert!(world.arena.committed() <= MIN_PAGE as usize, "no more than a spare page is left");
    }
}

#[test]
fn readers_elsewhere_see_no_later_payload() {
    let (rounds, readers) = if cfg!(miri) { (30, 2) } else { (3000, 2) };
    let mut arena = Arena::new(32 << 10);
    thread::scope(|scope| {
        let queues: Vec<_> = (0..readers)
            .map(|_| {
                let (sender, receiver) = mpsc::sync_channel::<(u32, Bytes)>(8);
                scope.spawn(move || {
                    for (seed, bytes) in receiver {
                        assert_eq!(bytes, payload(seed, bytes.len()));
                    }
                });
                sender
            })
            .collect();
        let mut kept = HashMap::new();
        for seed in 0..rounds {
            let length = 1 + seed as usize * 37 % 2000;
            let stored = loop {
                match arena.store(&payload(seed, length), seed) {
                    Some(stored) => break stored,
                    None => match arena.vacate(length) {
                        Some(named) => named.iter().for_each(|owner| drop(kept.remove(owner))),
                        // All that is left is being read.
                        None => thread::yield_now(),
                    },
                }
            };
            queues[seed as usize % readers].send((seed, stored.clone())).unwrap();
            kept.insert(seed, stored);
            assert!(arena.committed() <= 32 << 10);
        }
    });
    arena.reclaim();
    arena.check();
    assert!(arena.live() == 0 && arena.committed() <= MIN_PAGE.max(GRAIN) as usize);
}
