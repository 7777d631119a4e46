//! Models of a shard: every order in which its threads may take turns, and every value that the
//! memory model lets them see. To check them:
//!
//! ```text
//! RUSTFLAGS="--cfg understudy_loom" cargo test --release --no-default-features --lib assign::model
//! ```
//!
//! with a target directory of its own, or everything is built anew each time.
#![cfg(understudy_loom)]

use super::id::Id;
use super::pointer::pin;
use super::shard::Shard;
use super::{Entry, ServerIndex, Title};
use loom::sync::Arc;
use loom::thread;

/// Ids that start at the same slot. Two of them share the first half.
const ONE: Id = Id { first: 1 << 63, second: 1 << 63 };
const TWIN: Id = Id { first: 1 << 63, second: 1 << 63 | 1 };
const OTHER: Id = Id { first: 1 << 63 | 1, second: 1 << 63 | 2 };

fn entry(term: u64) -> Entry {
    Entry::new(term, 0, ServerIndex::new(0).unwrap(), None, Title::Known).unwrap()
}

fn set(shard: &Shard, id: Id, term: u64) -> Option<u64> {
    shard.update(id, |_| Some(entry(term))).0.map(Entry::term)
}

/// One term more; gives the term that it made.
fn raise(shard: &Shard, id: Id) -> u64 {
    let next = |known: Option<Entry>| Some(entry(known.map_or(1, |known| known.term() + 1)));
    shard.update(id, next).1.unwrap().term()
}

fn get(shard: &Shard, id: Id) -> Option<u64> {
    shard.get(id, &pin()).map(Entry::term)
}

/// Runs the parts at once on a shard that `prepare` has made, then `check`.
fn model(
    prepare: fn(&Shard),
    parts: &'static [fn(&Shard)],
    check: impl Fn(&Shard) + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    // Every order there is of two threads. Three would take hours without a limit to how often one
    // is stopped in one run before it has to wait.
    builder.preemption_bound = (parts.len() > 2).then_some(3);
    builder.check(move || {
        let shard = Arc::new(Shard::new());
        prepare(&shard);
        let others: Vec<_> = parts[1..]
            .iter()
            .map(|part| {
                let shard = shard.clone();
                thread::spawn(move || part(&shard))
            })
            .collect();
        parts[0](&shard);
        others.into_iter().for_each(|other| other.join().unwrap());
        check(&shard);
    });
}

fn nothing(_: &Shard) {}

/// An array with room for one more, so that a third client makes it grow.
fn one_client(shard: &Shard) {
    set(shard, ONE, 1);
}

fn full(shard: &Shard) {
    set(shard, ONE, 1);
    set(shard, OTHER, 1);
    assert!(shard.size().1 > 0);
}

#[test]
fn two_that_add_one_client_agree_on_its_slot() {
    let raise_one: fn(&Shard) = |shard| {
        raise(shard, ONE);
    };
    let parts = Box::leak(Box::new([raise_one, raise_one]));
    model(nothing, parts, |shard| {
        assert_eq!(get(shard, ONE), Some(2));
        assert_eq!(shard.size().0, 1);
    });
}

#[test]
fn ids_that_share_a_half_get_a_slot_each() {
    model(
        one_client_of_three,
        &[
            |shard| assert_eq!(set(shard, ONE, 7), None),
            |shard| assert_eq!(set(shard, TWIN, 8), None),
        ],
        |shard| {
            assert_eq!((get(shard, ONE), get(shard, TWIN)), (Some(7), Some(8)));
            assert_eq!(shard.size().0, 3);
        },
    );
}

/// An array with room for more.
fn one_client_of_three(shard: &Shard) {
    set(shard, OTHER, 1);
}

#[test]
fn a_client_is_there_or_not_but_never_in_between() {
    model(
        one_client_of_three,
        &[
            |shard| assert_eq!(set(shard, ONE, 7), None),
            |shard| {
                let first = get(shard, ONE);
                let second = get(shard, ONE);
                assert!(matches!((first, second), (None, None | Some(7)) | (Some(7), Some(7))));
                assert_eq!(get(shard, OTHER), Some(1));
            },
        ],
        |shard| assert_eq!(get(shard, ONE), Some(7)),
    );
}

#[test]
fn changes_to_one_client_are_never_lost() {
    model(
        one_client,
        &[
            |shard| {
                assert!(raise(shard, ONE) < raise(shard, ONE));
            },
            |shard| {
                raise(shard, ONE);
            },
        ],
        |shard| assert_eq!(get(shard, ONE), Some(4)),
    );
}

#[test]
fn growing_loses_no_change_and_hides_no_client() {
    model(
        full,
        &[
            |shard| assert_eq!(set(shard, TWIN, 5), None),
            |shard| assert_eq!(raise(shard, ONE), 2),
            |shard| {
                let first = get(shard, ONE).unwrap();
                assert!(first <= get(shard, ONE).unwrap());
            },
        ],
        |shard| {
            assert_eq!(get(shard, ONE), Some(2));
            assert_eq!(get(shard, OTHER), Some(1));
            assert_eq!(get(shard, TWIN), Some(5));
            assert_eq!(shard.size().0, 3);
        },
    );
}

#[test]
fn two_that_grow_a_shard_both_get_their_clients_in() {
    model(
        one_client,
        &[
            |shard| assert_eq!(set(shard, OTHER, 7), None),
            |shard| assert_eq!(set(shard, TWIN, 8), None),
        ],
        |shard| {
            let known = (get(shard, ONE), get(shard, OTHER), get(shard, TWIN));
            assert_eq!(known, (Some(1), Some(7), Some(8)));
            assert_eq!(shard.size().0, 3);
        },
    );
}

#[test]
fn a_removed_client_comes_back_whole() {
    model(
        full,
        &[
            |shard| {
                let removed = shard.remove_if(ONE, |_| true).map(Entry::term);
                assert!(matches!(removed, Some(1 | 7)));
                assert!(matches!(get(shard, ONE), None | Some(7)));
            },
            |shard| assert!(matches!(set(shard, ONE, 7), None | Some(1))),
        ],
        |shard| {
            let known = get(shard, ONE);
            assert!(matches!(known, None | Some(7)));
            assert_eq!(shard.size().0, 1 + usize::from(known.is_some()));
            assert_eq!(get(shard, OTHER), Some(1));
        },
    );
}

#[test]
fn removing_and_growing_at_once_bring_nobody_back() {
    model(
        full,
        &[
            |shard| assert!(shard.remove_if(ONE, |_| true).is_some()),
            |shard| assert_eq!(set(shard, TWIN, 5), None),
        ],
        |shard| {
            assert_eq!((get(shard, ONE), get(shard, TWIN)), (None, Some(5)));
            assert_eq!(shard.size().0, 2);
        },
    );
}

#[test]
fn one_that_counts_is_removed_once() {
    model(
        one_client,
        &[
            |shard| {
                shard.remove_if(ONE, |known| known.term() == 1);
            },
            |shard| {
                shard.remove_if(ONE, |known| known.term() == 1);
            },
            |shard| {
                raise(shard, ONE);
            },
        ],
        |shard| {
            // Raised and then not removed, or removed and then made anew, which may be removed too.
            assert!(matches!(get(shard, ONE), None | Some(1 | 2)));
            assert_eq!(shard.size().0, usize::from(get(shard, ONE).is_some()));
        },
    );
}
