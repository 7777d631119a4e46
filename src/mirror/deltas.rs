//! Differences between versions, each made once and shared by all clients that hold the old one.

use super::makings::{Making, Makings, Size};
use crate::wire::Digest;
use bytes::Bytes;

/// From which version to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// What the client holds.
    pub old: Digest,
    /// What it is to have.
    pub new: Digest,
}

/// What is known of the difference between two versions.
pub type Difference = Making<Bytes>;

/// Differences as far as the budget goes, and those in work.
pub type Deltas = Makings<Pair, Bytes>;

impl Size for Bytes {
    fn size(&self) -> usize {
        self.len()
    }
}
