//! HTTP answers, counted by their status and by the version of HTTP that they went over.

use crate::wire::lane::{MAX_STATUS, MIN_STATUS};
use std::cell::Cell;

/// Versions of HTTP, as answers are counted by them.
const VERSIONS: [&str; 3] = ["1.1", "2", "3"];
/// How many final statuses there are.
const STATUSES: usize = (MAX_STATUS - MIN_STATUS) as usize + 1;

/// How many answers there were of each kind. A worker counts its own, in a place that is there for
/// each kind from the start: 19 KiB.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StatusCounts([Box<[Cell<u64>]>; VERSIONS.len()]);

impl Default for StatusCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| vec![Cell::new(0); STATUSES].into()))
    }
}

impl StatusCounts {
    /// Counts an answer with a final status. `version` is that of HTTP, as in [`VERSIONS`]; what is
    /// older counts as `1.1`. A status that is none is not counted.
    pub(crate) fn count(&self, version: &str, status: u16) {
        let row = VERSIONS.iter().position(|known| *known == version).unwrap_or(0);
        let place = status.checked_sub(MIN_STATUS).map(usize::from);
        if let Some(count) = place.and_then(|place| self.0[row].get(place)) {
            count.set(count.get() + 1);
        }
    }

    /// Adds what another worker counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter().flatten().zip(other.0.iter().flatten()) {
            count.set(count.get() + more.get());
        }
    }

    /// Version, status and number of all that were counted, by version and status.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u16, u64)> {
        VERSIONS.into_iter().zip(&self.0).flat_map(|(version, row)| {
            let counted = (MIN_STATUS..).zip(row).filter(|(_, count)| count.get() > 0);
            counted.map(move |(status, count)| (version, status, count.get()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_counts_are_added_up() {
        let (mut one, other) = (StatusCounts::default(), StatusCounts::default());
        assert_eq!(one.iter().count(), 0);
        one.count("3", 304);
        one.count("3", 304);
        one.count("1.0", 200);
        other.count("3", 304);
        other.count("2", 999);
        other.count("1.1", 200);
        for none in [0, 103, 199, 1000, u16::MAX] {
            other.count("2", none);
        }
        one.add(&other);
        let counted: Vec<_> = one.iter().collect();
        assert_eq!(counted, [("1.1", 200, 2), ("2", 999, 1), ("3", 304, 3)]);
    }
}
