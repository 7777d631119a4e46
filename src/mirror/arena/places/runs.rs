//! Which payloads to drop: those that make room together at the least cost.

use super::{Content, NONE, Page, Places, number};

/// How many places are weighed against each other, if that many are enough to find some to name.
const WEIGHED_PLACES: usize = 512;

/// Neighbours that can be vacated, as `[first, end)` in the list of a page.
#[derive(Clone, Copy)]
pub(in crate::mirror::arena) struct Run {
    page: u32,
    first: u32,
    end: u32,
    /// Bytes of their payloads.
    pub(in crate::mirror::arena) cost: u64,
}

impl Places {
    /// The cheapest run of `length` bytes among the next places, and as many more as it takes to
    /// find one.
    pub(in crate::mirror::arena) fn cheapest_run(&mut self, length: u32) -> Option<Run> {
        let mut cheapest = None::<Run>;
        let mut run = None;
        // Twice around: the first time begins in the middle of what may be one.
        for weighed in 0..2 * self.places.len() {
            if cheapest.is_some() && weighed >= WEIGHED_PLACES {
                break;
            }
            if self.hand == NONE {
                self.hand = self.pages.iter().next()?.1.first;
            }
            let place = &self.places[self.hand as usize];
            let (page, end) = (place.page, place.after);
            run = self.longer(run, self.hand, length);
            if let Some((found, _)) = run.filter(|(_, covered)| *covered >= length)
                && cheapest.is_none_or(|cheapest| found.cost < cheapest.cost)
            {
                cheapest = Some(found);
            }
            self.hand = end;
            if end == NONE {
                run = None;
                let next = self.pages.iter().find(|(number, _)| *number > page as usize);
                self.hand = next.map_or(NONE, |(_, page)| page.first);
            }
        }
        cheapest
    }

    /// Whole pages that together have `length` bytes: each time the one that costs least for what
    /// is still missing. Nothing if there are not enough.
    pub(in crate::mirror::arena) fn cheapest_pages(&self, length: u64) -> Option<Vec<Run>> {
        let (mut missing, mut picked) = (length, Vec::new());
        let mut left: Vec<_> = self.pages.iter().filter(|(_, page)| page.named == 0).collect();
        while missing > 0 {
            let price = |page: &Page| {
                // In bytes that are lost for 1 MiB that is of use.
                (page.live << 20) / u64::from(page.length).min(missing)
            };
            let (at, _) = left.iter().enumerate().min_by_key(|(_, (_, page))| price(page))?;
            let (page, record) = left.swap_remove(at);
            missing = missing.saturating_sub(u64::from(record.length));
            let (page, first) = (number(page), record.first);
            picked.push(Run { page, first, end: NONE, cost: record.live });
        }
        Some(picked)
    }

    /// Adds the owners of the payloads in a run to `owners`. They are never named again.
    pub(in crate::mirror::arena) fn name(&mut self, run: Run, owners: &mut Vec<u32>) {
        let mut at = run.first;
        while at != run.end {
            let place = &mut self.places[at as usize];
            if let Content::Payload { owner, named, .. } = &mut place.content {
                assert!(!*named, "owner {owner} was named before");
                *named = true;
                self.pages[run.page as usize].named += 1;
                owners.push(*owner);
            }
            at = place.after;
        }
    }

    /// A run, and how long it is, with the place behind it added, and without those in front that
    /// it does not need to be of `length` bytes. Nothing if the place cannot be vacated.
    fn longer(&self, run: Option<(Run, u32)>, next: u32, length: u32) -> Option<(Run, u32)> {
        let place = &self.places[next as usize];
        let (page, lost) = (place.page, place.cost()?);
        let none = (Run { page, first: next, end: next, cost: 0 }, 0);
        let (mut run, mut covered) = run.unwrap_or(none);
        run.end = place.after;
        run.cost += lost;
        covered += place.length;
        loop {
            let first = &self.places[run.first as usize];
            if covered - first.length < length {
                return Some((run, covered));
            }
            covered -= first.length;
            run.cost -= first.cost().expect("a run has only what can be vacated");
            run.first = first.after;
        }
    }
}
