//! The atomics that a shard is made of, which loom replaces by its own when it checks the models.

#[cfg(all(test, understudy_loom))]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(not(all(test, understudy_loom)))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64};

pub(super) use std::sync::atomic::Ordering;

/// What an atomic holds that nobody else can reach.
pub(super) fn peek(atomic: &mut AtomicU64) -> u64 {
    #[cfg(all(test, understudy_loom))]
    return atomic.with_mut(|value| *value);
    #[cfg(not(all(test, understudy_loom)))]
    return *atomic.get_mut();
}
