//! For how long a source's answer holds, and the way to take that back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// For how long an answer of the source may be given again without asking, counted from when it was
/// asked.
///
/// What says nothing is asked for every time: that is the default.
#[derive(Clone, Debug, Default)]
pub struct Freshness {
    lasts: Duration,
    lease: Option<Lease>,
}

impl Freshness {
    /// It never changes.
    pub fn forever() -> Self {
        Self::lasting(Duration::MAX)
    }

    /// It holds for so long, whatever happens.
    pub fn lasting(lasts: Duration) -> Self {
        Self { lasts, lease: None }
    }

    /// It holds for so long, or until the lease is revoked.
    ///
    /// The source must be able to revoke it before it looks at the item: then a change that comes
    /// while it looks does so too.
    pub fn leased(lasts: Duration, lease: Lease) -> Self {
        Self { lasts, lease: Some(lease) }
    }

    /// For how long it holds at the most.
    pub fn lasts(&self) -> Duration {
        self.lasts
    }

    /// What it depends on.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Whether it has not been taken back.
    pub fn holds(&self) -> bool {
        self.lease.as_ref().is_none_or(Lease::holds)
    }
}

/// A promise of a source that an answer holds, which it can take back at any moment, for all who
/// have it: clones are the same lease.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    revoked: Arc<AtomicBool>,
}

impl Lease {
    /// One that holds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes it back, for ever.
    pub fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }

    /// Whether it has not been taken back. One load: cheap enough for every request.
    pub fn holds(&self) -> bool {
        !self.revoked.load(Ordering::Acquire)
    }

    /// Whether anybody else has it, so that a source need not remember those that nobody has.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.revoked) > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_back_from_all_who_have_it() {
        let lease = Lease::new();
        assert!(!lease.is_shared());
        let freshness = Freshness::leased(Duration::from_secs(1), lease.clone());
        let other = freshness.clone();
        assert!(lease.is_shared() && other.holds() && lease.holds());
        lease.revoke();
        assert!(!other.holds() && !freshness.holds() && !lease.holds());
        drop((freshness, other));
        assert!(!lease.is_shared());
    }

    #[test]
    fn what_says_nothing_does_not_last() {
        assert_eq!(Freshness::default().lasts(), Duration::ZERO);
        assert!(Freshness::forever().holds() && Freshness::forever().lease().is_none());
    }
}
