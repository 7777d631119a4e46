//! The arena as a whole: what is given out never changes, and what is held never exceeds the
//! budget.

use super::{Arena, GRAIN};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;

/// A payload that is told from all others by its seed.
fn payload(seed: u32, length: usize) -> Vec<u8> {
    (0..length as u32).map(|at| (seed ^ at.wrapping_mul(0x9e37_79b9)).to_le_bytes()[3]).collect()
}

const PAGE: usize = 32 << 10;
const SMALL: usize = 4 * PAGE;

/// Four short pages.
fn small() -> Arena {
    Arena::with_pages(SMALL, PAGE as u32)
}

impl Arena {
    fn check(&self) {
        assert_eq!(self.places.check(), (self.committed, self.live));
    }
}

#[test]
fn a_payload_is_given_out_as_it_was_stored() {
    let mut arena = small();
    for length in [0, 1, 63, 64, 65, 1000, 1024, 1025, 4096, 5000, PAGE] {
        let stored = arena.store(&payload(1, length), 1).unwrap();
        assert_eq!(stored, payload(1, length));
        assert_eq!(arena.live(), length, "what was dropped before is no longer counted");
    }
    assert!(arena.store(&[0; PAGE + 1], 1).is_none() && arena.vacate(PAGE + 1).is_none());
    arena.check();
}

#[test]
fn the_budget_is_one_of_memory() {
    let mut arena = small();
    let stored: Vec<_> = (0..).map_while(|owner| arena.store(&[1; 640], owner)).collect();
    assert_eq!(arena.committed(), SMALL);
    // Of each page 51 times 640 bytes, which leaves 128.
    assert_eq!((stored.len(), arena.live()), (4 * 51, 4 * 51 * 640));
    assert!(arena.store(&[1; 640], 0).is_none() && arena.store(&[1; 129], 0).is_none());
    assert!(arena.store(&[1; 128], 0).is_some(), "it fits in what is left of a page");
    drop(stored);
    arena.reclaim();
    assert_eq!((arena.committed(), arena.live()), (PAGE, 0), "one page is spared");
    arena.check();
}

#[test]
fn any_payload_that_is_no_longer_than_the_budget_fits() {
    for budget in [1, 63, 64, 100, 5000, PAGE - 1, PAGE, PAGE + 100, SMALL - 1] {
        let mut arena = Arena::with_pages(budget, PAGE as u32);
        let longest = (budget - budget % GRAIN as usize).min(PAGE);
        assert_eq!(arena.store(&vec![1; longest], 0).map(|stored| stored.len()), Some(longest));
        assert!(arena.store(&vec![1; longest + 1], 0).is_none());
        assert!(arena.vacate(longest + 1).is_none() && arena.vacate(0).is_some());
        assert!(arena.committed() <= budget);
        arena.check();
    }
}

#[test]
fn what_others_hold_counts_until_they_drop_it() {
    let mut arena = Arena::with_pages(PAGE, PAGE as u32);
    let stored = arena.store(&[1; PAGE - 1000], 1).unwrap();
    let part = stored.slice(5..6);
    drop(stored);
    assert!(arena.store(&[2; 5000], 2).is_none());
    assert_eq!(arena.vacate(5000), Some(vec![1]));
    assert_eq!(arena.vacate(5000), None, "it was named, and is still held");
    assert_eq!((arena.live(), arena.committed()), (PAGE - 1000, PAGE));
    thread::scope(|scope| {
        scope.spawn(move || drop(part));
    });
    assert_eq!(arena.vacate(5000), Some(Vec::new()), "nothing needs to be dropped any more");
    assert!(arena.store(&[2; 5000], 2).is_some());
    arena.check();
}

#[test]
fn what_was_given_out_outlives_the_arena() {
    let mut arena = small();
    let stored: Vec<_> = (0..9).map(|seed| arena.store(&payload(seed, 9000), seed)).collect();
    drop(arena);
    for (seed, stored) in stored.into_iter().enumerate() {
        assert_eq!(stored.unwrap(), payload(seed as u32, 9000));
    }
}

/// Fills the arena with payloads of one length, by owner.
fn fill(arena: &mut Arena, length: usize) -> HashMap<u32, Bytes> {
    (0..).map_while(|owner| Some((owner, arena.store(&vec![0; length], owner)?))).collect()
}

#[test]
fn those_named_make_room_together() {
    for length in [64, 200, 1000, 1024, 1500, 4096, 9000, PAGE] {
        for kept in [64, 300, 1000, 2000, 4096, 30_000] {
            let mut arena = small();
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
    let mut arena = small();
    let mut stored = fill(&mut arena, 512);
    // Neighbours of which one is gone are cheapest.
    stored.remove(&77);
    let named = arena.vacate(1024).unwrap();
    assert_eq!(named.len(), 1);
    assert!([76, 78].contains(&named[0]), "{named:?}");
    stored.remove(&named[0]);
    assert!(arena.store(&[1; 1024], 0).is_some());
    // So are many of which half are gone.
    stored.retain(|owner, _| !(130..170).contains(owner) || owner % 2 == 0);
    let named = arena.vacate(20 * 512).unwrap();
    assert_eq!(named.len(), 10);
    assert!(named.iter().all(|owner| (130..170).contains(owner)), "{named:?}");
}

#[test]
fn what_is_pinned_is_named_once_and_then_others_are() {
    let mut arena = small();
    let mut stored = fill(&mut arena, 1024);
    let pins: Vec<_> = (0..128).filter(|at| at % 5 < 2).map(|at| stored[&at].clone()).collect();
    let (mut named_in_all, mut placed) = (0, Vec::new());
    while let Some(named) = arena.vacate(1024) {
        // Those that are placed are not dropped at all.
        named.iter().for_each(|owner| drop(stored.remove(owner)));
        named_in_all += named.len();
        placed.extend(arena.store(&[1; 1024], 1000));
    }
    assert_eq!(arena.vacate(PAGE), None);
    assert_eq!((stored.len(), placed.len()), (0, 128 - pins.len()));
    assert_eq!(named_in_all, 128 + placed.len(), "each of them once");
    assert!(pins.iter().all(|pin| pin == &[0; 1024][..]));
    assert!(placed.iter().all(|placed| placed == &[1; 1024][..]));
    arena.check();
}

#[test]
fn a_lower_budget_takes_whole_pages() {
    let mut arena = small();
    let mut stored = fill(&mut arena, 1000);
    let cheapest = 32..96;
    stored.retain(|owner, _| !cheapest.contains(owner) || owner % 2 == 0);
    arena.set_budget(SMALL / 2);
    assert_eq!(arena.committed(), SMALL, "what is stored stays");
    assert!(arena.store(&[1; 1000], 0).is_none(), "there is room, but too much of it");
    let pin = stored[&40].clone();
    let named = arena.vacate(1000).unwrap();
    assert_eq!(named.len(), 32, "two pages that are half full");
    assert!(named.iter().all(|owner| cheapest.contains(owner)));
    stored.retain(|owner, _| !named.contains(owner));
    assert!(arena.store(&[1; 1000], 0).is_none(), "a page is held by one that is pinned");
    let named = arena.vacate(1000).unwrap();
    assert_eq!(named.len(), 32, "then another one has to go");
    stored.retain(|owner, _| !named.contains(owner));
    assert!(arena.store(&[1; 1000], 0).is_some(), "beside the one that is pinned");
    assert_eq!((arena.committed(), &pin), (SMALL / 2, &Bytes::from_static(&[0; 1000])));
    arena.check();
}

#[test]
fn a_higher_budget_is_used_where_pages_were_short() {
    let mut arena = Arena::with_pages(PAGE / 2, PAGE as u32);
    let mut stored = fill(&mut arena, 1000);
    arena.set_budget(PAGE);
    stored.insert(100, arena.store(&[1; PAGE / 2], 100).unwrap());
    assert_eq!(arena.committed(), PAGE, "two pages of half the length");
    assert!(arena.store(&[1; PAGE], 0).is_none());
    let named = arena.vacate(PAGE).unwrap();
    assert_eq!(named.len(), stored.len());
    stored.clear();
    assert!(arena.store(&[1; PAGE], 0).is_some());
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
    prop_oneof![4 => 1..200_usize, 8 => 200..2000_usize, 3 => 2000..9000_usize, 1 => 0..PAGE]
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
                let goes = |seed: u32| named.contains(&seed) && !seed.is_multiple_of(pinned);
                self.held.retain(|(seed, _)| !goes(*seed));
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
        let arena = small();
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
        assert!(world.arena.committed() <= PAGE, "no more than a spare page is left");
    }
}

#[test]
fn readers_elsewhere_see_no_later_payload() {
    let (rounds, readers) = if cfg!(miri) { (30, 2) } else { (3000, 2) };
    let mut arena = Arena::with_pages(32 << 10, 8 << 10);
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
    assert!(arena.live() == 0 && arena.committed() <= 8 << 10);
}
