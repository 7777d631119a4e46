use super::{Check, Counts, Failed, regressions, run};
use crate::node::{Fault, Planted};
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds within which every planted fault must be found.
const FAULT_SEEDS: u64 = 1_000;
/// Seeds that must pass on every commit.
const SEEDS: u64 = 300;

/// Tells many stories, two at a time, and returns the failure of the lowest seed that fails, and
/// what happened in the others.
fn tell_all(seeds: u64, planted: Planted) -> (Option<Failed>, Counts) {
    let (next, lowest) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let try_seeds = || {
        let (mut failure, mut counts): (Option<Failed>, _) = (None, Counts::default());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || seed > lowest.load(Ordering::Relaxed) {
                return (failure, counts);
            }
            match run(seed, planted) {
                Ok(passed) => counts.add(&passed.counts),
                Err(failed) => {
                    lowest.fetch_min(seed, Ordering::Relaxed);
                    failure = Some(failed);
                }
            }
        }
    };
    let told = std::thread::scope(|scope| {
        let other = scope.spawn(try_seeds);
        [try_seeds(), other.join().expect("panics are caught inside")]
    });
    let mut total = Counts::default();
    told.iter().for_each(|(_, counts)| total.add(counts));
    let failures = told.into_iter().filter_map(|(failure, _)| failure);
    (failures.min_by_key(|failed| failed.seed), total)
}

/// The check that finds a planted fault first, within the seeds that are allowed.
fn found_by(fault: Fault) -> Check {
    let (failed, _) = tell_all(FAULT_SEEDS, Planted::new(fault));
    let failed = failed.unwrap_or_else(|| panic!("{fault:?} is not found in {FAULT_SEEDS} seeds"));
    println!("{fault:?}: {failed}");
    failed.check
}

#[test]
fn many_seeds_pass() {
    let (failure, total) = tell_all(SEEDS, Planted::default());
    if let Some(failed) = failure {
        panic!("{}\n{failed}", failed.last_events.join("\n"));
    }
    // The stories were worth something.
    println!("{total:?}");
    assert!(total.deltas > 100 && total.batched_unchanged > 1_000, "{total:?}");
    assert!(total.listed_items > 100 && total.retrieved_again > 100, "{total:?}");
    assert!(total.http_answers > 1_000 && total.not_modified > 100, "{total:?}");
    assert!(total.taken_back > 100, "{total:?}");
}

#[test]
fn seeds_that_once_failed_pass() {
    for (seed, why) in regressions::SEEDS {
        if let Err(failed) = run(seed, Planted::default()) {
            panic!("{}\n{failed}\nonce it was: {why}", failed.last_events.join("\n"));
        }
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in 0..10 {
        let told = run(seed, Planted::default()).unwrap();
        assert_eq!(run(seed, Planted::default()).unwrap(), told, "seed {seed}");
    }
}

#[test]
fn a_missing_epoch_check_is_found() {
    let check = found_by(Fault::NoEpochCheck);
    let found = matches!(
        check,
        Check::Epoch
            | Check::TwoPrimaries
            | Check::Alternate
            | Check::Failover
            | Check::Drain
            | Check::Rest
    );
    assert!(found, "by {check}");
}

#[test]
fn a_missing_tag_check_is_found() {
    assert_eq!(found_by(Fault::NoTagCheck), Check::WrongBytes);
}

#[test]
fn a_lost_release_is_found() {
    let check = found_by(Fault::LostRelease);
    assert!(matches!(check, Check::TwoPrimaries | Check::Alternate), "by {check}");
}

#[test]
fn a_stale_slot_is_found() {
    assert_eq!(found_by(Fault::StaleSlot), Check::Mirror);
}

#[test]
fn a_call_that_is_sent_again_is_found() {
    assert_eq!(found_by(Fault::ResentCall), Check::CallRepeated);
}

#[test]
fn a_router_that_answers_no_pings_is_found() {
    assert_eq!(found_by(Fault::NoPong), Check::Suspicion);
}

#[test]
fn a_worker_that_serves_the_clients_of_another_is_found() {
    assert_eq!(found_by(Fault::WrongOwner), Check::ServerState);
}

#[test]
fn a_call_that_is_hedged_is_found() {
    assert_eq!(found_by(Fault::HedgedCall), Check::CallRepeated);
}

#[test]
fn a_body_that_goes_on_with_another_version_is_found() {
    assert_eq!(found_by(Fault::ResumesAnyVersion), Check::Body);
}

#[test]
fn a_drain_that_forgets_clients_is_found() {
    let check = found_by(Fault::DrainForgetsClient);
    assert!(matches!(check, Check::Drain | Check::Failover), "by {check}");
}

#[test]
fn an_alternate_that_is_kept_though_it_drains_is_found() {
    assert_eq!(found_by(Fault::KeepsDrained), Check::Drain);
}

#[test]
fn a_batch_in_which_all_is_called_unchanged_is_found() {
    let check = found_by(Fault::BlindBatch);
    assert!(matches!(check, Check::Misunderstood | Check::Rest | Check::Failover), "by {check}");
}

#[test]
fn a_missing_look_at_the_hash_of_a_batch_is_found() {
    assert_eq!(found_by(Fault::NoHashCheck), Check::WrongBytes);
}

#[test]
fn a_difference_to_what_the_client_does_not_hold_is_found() {
    let check = found_by(Fault::DeltaFromMirror);
    assert!(matches!(check, Check::WrongError | Check::Rest), "by {check}");
}

#[test]
fn an_inventory_that_the_alternate_is_not_told_is_found() {
    assert_eq!(found_by(Fault::UntoldInventory), Check::Alternate);
}

#[test]
fn an_answer_to_a_request_that_was_taken_back_is_found() {
    assert_eq!(found_by(Fault::KeepsCancelled), Check::EndsOnce);
}

#[test]
fn a_304_for_any_condition_is_found() {
    assert_eq!(found_by(Fault::BlindCondition), Check::WrongBytes);
}

#[test]
fn a_post_that_is_sent_again_is_found() {
    assert_eq!(found_by(Fault::ResentPost), Check::CallRepeated);
}
