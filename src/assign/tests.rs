//! The whole table: against a map, and with threads.
#![cfg(not(understudy_loom))]

use super::{Entry, ServerIndex, Table, Title};
use crate::wire::ClientId;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

fn entry(term: u64, change: u64) -> Entry {
    let server = ServerIndex::new((term % 1000) as usize).unwrap();
    Entry::new(term, change, server, None, Title::Known).unwrap()
}

fn client(number: u128) -> ClientId {
    ClientId(number.to_be_bytes())
}

#[derive(Clone, Debug)]
enum Step {
    Set(u128, u64),
    Raise(u128, u64),
    Remove(u128),
    RemoveIfEven(u128),
    Get(u128),
}

/// Few ids, so that steps meet; in both halves, so that halves are zero or shared.
fn id() -> impl Strategy<Value = u128> {
    let low = 0..40u128;
    let high = (0..40u128).prop_map(|number| number << 64);
    let both = (0..6u128, 0..6u128).prop_map(|(high, low)| high << 64 | low);
    prop_oneof![low, high, both, any::<u128>()]
}

fn step() -> impl Strategy<Value = Step> {
    let term = 1..50u64;
    prop_oneof![
        3 => (id(), term.clone()).prop_map(|(id, term)| Step::Set(id, term)),
        2 => (id(), term).prop_map(|(id, term)| Step::Raise(id, term)),
        2 => id().prop_map(Step::Remove),
        1 => id().prop_map(Step::RemoveIfEven),
        2 => id().prop_map(Step::Get),
    ]
}

fn is_even(entry: Entry) -> bool {
    entry.term().is_multiple_of(2)
}

proptest! {
    #[test]
    fn a_table_is_a_map(steps in prop::collection::vec(step(), 0..400)) {
        let table = Table::new();
        let mut model: HashMap<u128, Entry> = HashMap::new();
        for step in steps {
            match step {
                Step::Set(id, term) => {
                    let entry = entry(term, 0);
                    prop_assert_eq!(table.set(client(id), entry), model.insert(id, entry));
                }
                Step::Raise(id, term) => {
                    let known = model.get(&id).copied();
                    let higher = |known: Option<Entry>| {
                        known.is_none_or(|known| known.term() < term).then(|| entry(term, 1))
                    };
                    if let Some(raised) = higher(known) {
                        model.insert(id, raised);
                    }
                    let changed = table.update(client(id), higher);
                    prop_assert_eq!(changed, (known, model.get(&id).copied()));
                }
                Step::Remove(id) => {
                    prop_assert_eq!(table.remove(&client(id)), model.remove(&id));
                }
                Step::RemoveIfEven(id) => {
                    let even = model.get(&id).copied().filter(|entry| is_even(*entry));
                    prop_assert_eq!(table.remove_if(&client(id), is_even), even);
                    if even.is_some() {
                        model.remove(&id);
                    }
                }
                Step::Get(id) => {
                    prop_assert_eq!(table.get(&client(id)), model.get(&id).copied());
                }
            }
            prop_assert_eq!(table.len(), model.len());
        }
        for (id, entry) in &model {
            prop_assert_eq!(table.reader().get(&client(*id)), Some(*entry));
        }
    }
}

/// Bytes for each client, without what a table costs that has none.
fn bytes_each(table: &Table) -> usize {
    (table.bytes() - Table::new().bytes()).div_ceil(table.len())
}

#[test]
fn a_table_takes_32_bytes_a_client_while_it_grows_and_while_it_shrinks() {
    const CLIENTS: u128 = 200_000;
    let table = Table::new();
    for number in 0..CLIENTS {
        assert_eq!(table.set(client(number), entry(1, 0)), None);
        if number > 50_000 && number.is_multiple_of(1000) {
            assert!(bytes_each(&table) <= 32, "{} at {number}", bytes_each(&table));
        }
    }
    assert_eq!(table.len() as u128, CLIENTS);
    // As many come as go: what they leave behind is cleaned up.
    for number in 0..CLIENTS {
        assert_eq!(table.remove(&client(number)), Some(entry(1, 0)));
        assert_eq!(table.set(client(number + CLIENTS), entry(2, 0)), None);
        if number.is_multiple_of(1000) {
            assert!(bytes_each(&table) <= 32, "{} at {number}", bytes_each(&table));
        }
    }
    for number in CLIENTS..2 * CLIENTS {
        assert_eq!(table.remove(&client(number)), Some(entry(2, 0)));
        if table.len() > 50_000 && number.is_multiple_of(1000) {
            assert!(bytes_each(&table) <= 32, "{} at {number}", bytes_each(&table));
        }
    }
    assert!(table.is_empty());
    assert_eq!(table.bytes(), Table::new().bytes(), "an empty table costs what a new one does");
}

#[test]
fn changes_of_many_threads_are_all_counted() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 200;
    const CLIENTS: u128 = 300;
    let table = Table::new();
    let count = |seed: u64| {
        for round in 0..ROUNDS {
            for number in 0..CLIENTS {
                // Each thread in an order of its own; 7 and 300 have no common factor.
                let number = (number * 7 + u128::from(seed * round)) % CLIENTS;
                let next = |known: Option<Entry>| {
                    Some(entry(known.map_or(1, |known| known.term() + 1), seed))
                };
                let (before, after) = table.update(client(number << 64), next);
                let term = |entry: Option<Entry>| entry.map_or(0, Entry::term);
                assert_eq!(term(before) + 1, term(after));
                assert!(term(table.get(&client(number << 64))) >= term(after), "never back");
                // Clients that come and go make the arrays of all shards grow, shrink and be
                // cleaned.
                let passing = client(1 << 100 | u128::from(seed) << 64 | number);
                if table.set(passing, entry(1, seed)).is_some() {
                    assert_eq!(table.remove(&passing), Some(entry(1, seed)));
                }
            }
        }
    };
    thread::scope(|scope| {
        for seed in 1..=THREADS {
            scope.spawn(move || count(seed));
        }
    });
    for number in 0..CLIENTS {
        let known = table.get(&client(number << 64)).unwrap();
        assert_eq!(known.term(), THREADS * ROUNDS, "client {number}");
    }
}

#[test]
fn readers_never_miss_a_client_that_is_there_however_the_table_grows() {
    const STAYING: u128 = 500;
    const PASSING: u128 = 100_000;
    let table = Table::new();
    for number in 0..STAYING {
        table.set(client(number), entry(1, 0));
    }
    let done = AtomicBool::new(false);
    let newest = AtomicU64::new(1);
    let read = || {
        let mut reads = 0u64;
        while !done.load(Ordering::Relaxed) {
            let reader = table.reader();
            let floor = newest.load(Ordering::Acquire);
            for number in 0..STAYING {
                let known = reader.get(&client(number)).expect("it is never removed");
                assert!(known.term() >= floor, "a change holds for every read after it");
                reads += 1;
            }
        }
        reads
    };
    thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        for number in 0..PASSING {
            table.set(client(STAYING + number), entry(1, 0));
            if number.is_multiple_of(1000) {
                let term = 2 + number as u64 / 1000;
                (0..STAYING).for_each(|staying| {
                    table.set(client(staying), entry(term, 0));
                });
                newest.store(term, Ordering::Release);
            }
        }
        for number in 0..PASSING {
            assert_eq!(table.remove(&client(STAYING + number)), Some(entry(1, 0)));
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    assert_eq!(table.len() as u128, STAYING);
}
