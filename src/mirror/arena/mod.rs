//! Where the payloads of a worker lie.
//!
//! A server's payloads are of all sizes, live for seconds or for days, and are sent while others
//! replace them. A general allocator that keeps them for long ends up with holes that nothing fits
//! in, and nobody can say how much memory that is. The arena has a budget of memory, not of
//! payloads, and a way to use the holes: whoever may drop payloads is told *which* of them make room
//! together.
//!
//! - `page`: memory, and the right to a range of it. A payload is copied once, and given out as
//!   `Bytes`; its range returns when the last clone is dropped, on whatever thread that is.
//! - `places`: which ranges are free. There are no classes of size: a payload gets the shortest free
//!   range that it fits in (best fit), and ranges that are free grow together again.
//! - [`Arena`]: the budget, and what to drop.
//!
//! Classes of size waste some of each range, and a page of one class is of no use when payloads of
//! another size come into fashion, until all that is on it was dropped. Here a few neighbours are
//! enough, wherever they are cheapest.
//!
//! Payloads above a quarter of a page that no hole fits get a page of their own, in multiples of
//! 4 KiB. A page whose last payload is gone is returned, but for one that is kept as a spare.
//!
//! The only unsafe code is in `page.rs`, which is sound whatever the rest of the arena does. Threads
//! meet in `Arc`, `Weak`, the counts of `Bytes` and a queue of crossbeam only, so there is no
//! algorithm of our own for loom to check. Miri can run the tests (epochs play no part in the
//! queue), and they are kept short for it; so can valgrind:
//!
//! ```text
//! cargo +nightly miri test --no-default-features --lib mirror::arena
//! valgrind --error-exitcode=1 --leak-check=full target/debug/deps/understudy-… mirror::arena
//! ```
//!
//! `cargo bench --bench arena` shows a day of churn.

mod page;
mod places;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use page::{Returns, Space};
use places::Places;
use std::fmt;
use std::sync::Arc;

/// The longest payload.
pub const MAX_PAYLOAD: usize = 64 << 20;

/// The longest page that payloads share, and the shortest.
const MAX_PAGE: u32 = 1 << 20;
const MIN_PAGE: u32 = 4 << 10;
/// Into how many pages the budget goes, if that is no less than the shortest and no more than the
/// longest allows.
const PAGES: usize = 64;
/// Lengths of ranges are multiples of it.
const GRAIN: u32 = 64;
/// Lengths of pages, and of ranges above a quarter of a page, are multiples of it.
const SYSTEM_PAGE: u32 = 4 << 10;

const _: () = {
    assert!(MAX_PAYLOAD + SYSTEM_PAGE as usize <= u32::MAX as usize);
    assert!(MIN_PAGE.is_multiple_of(SYSTEM_PAGE) && SYSTEM_PAGE.is_multiple_of(GRAIN));
};

/// Payloads of one owner thread, in pages that never take more than a budget.
///
/// When one does not fit, its owner drops others, which it chooses itself or which [`Arena::vacate`]
/// names, and tries again:
///
/// ```
/// # use understudy::mirror::Arena;
/// let mut arena = Arena::new(1 << 20);
/// let mut kept: Vec<_> =
///     (0..).map_while(|owner| arena.store(&[7; 3000], owner).map(Some)).collect();
/// let stored = loop {
///     if let Some(stored) = arena.store(&[8; 50_000], 0) {
///         break stored;
///     }
///     for owner in arena.vacate(50_000).expect("nobody else holds any") {
///         kept[owner as usize] = None;
///     }
/// };
/// assert_eq!(stored, [8; 50_000][..]);
/// assert!(arena.committed() <= 1 << 20 && kept.iter().flatten().count() > 310);
/// ```
pub struct Arena {
    places: Places,
    returns: Arc<Returns>,
    budget: usize,
    /// Bytes of all pages.
    committed: usize,
    /// Bytes of all payloads.
    live: usize,
    /// How long a page is that payloads share.
    page: u32,
    /// A page without payloads.
    spare: Option<u32>,
}

impl Arena {
    /// Pages take at most `budget` bytes. Records are not counted: about 100 bytes a payload.
    pub fn new(budget: usize) -> Self {
        Self {
            places: Places::default(),
            returns: Arc::new(Returns::new()),
            budget,
            committed: 0,
            live: 0,
            page: page_length(budget),
            spare: None,
        }
    }

    /// Copies a payload of at most [`MAX_PAYLOAD`] bytes. `None` if there is no room for it now.
    ///
    /// `owner` is what [`Arena::vacate`] calls it by. The place is free again when the last clone or
    /// slice of the result is dropped, on any thread; they stay valid when the arena is gone.
    pub fn store(&mut self, payload: &[u8], owner: u32) -> Option<Bytes> {
        self.reclaim();
        if payload.is_empty() {
            return Some(Bytes::new());
        }
        let length = self.length_for(payload.len())?;
        if !self.places.fits(length) {
            self.commit(length)?;
        }
        // It fits in a u32, as its rounded length does.
        let (place, page, space) = self.places.take(length, payload.len() as u32, owner)?;
        if self.spare == Some(page) {
            self.spare = None;
        }
        self.live += payload.len();
        Some(space.fill(payload, place))
    }

    /// The owners whose payloads, when dropped, make room for one of `length` bytes, at the cost of
    /// few bytes; none of them if there is room. `None` if nothing that could be named makes room.
    ///
    /// They must be dropped: no payload is named twice. So the same call made again, because someone
    /// still holds a clone of one of them, names others. If its owner dropped one before, and it
    /// lives by a clone, it is named all the same.
    pub fn vacate(&mut self, length: usize) -> Option<Vec<u32>> {
        self.reclaim();
        let mut owners = Vec::new();
        let length = self.length_for(length)?;
        if self.places.fits(length) || self.has_budget_for(length) {
            return Some(owners);
        }
        let run = self.places.cheapest_run(length);
        // Whole pages only when they may be cheaper, which takes a payload of many neighbours.
        let pages = match run {
            Some(_) if length <= self.page / 4 => None,
            _ => self.cheapest_pages(length),
        };
        let cost = pages.iter().flatten().map(|page| page.cost).sum::<u64>();
        let runs = match (run, pages) {
            (Some(run), Some(pages)) if cost < run.cost => pages,
            (Some(run), _) => vec![run],
            (None, pages) => pages?,
        };
        runs.into_iter().for_each(|run| self.places.name(run, &mut owners));
        Some(owners)
    }

    /// The owners whose payloads, when dropped, make pages go back until no more are held than the
    /// budget allows; none of them if that is so. As [`Arena::vacate`].
    pub fn shrink(&mut self) -> Option<Vec<u32>> {
        self.reclaim();
        let mut owners = Vec::new();
        if self.committed > self.budget {
            self.give_back_spare();
        }
        let missing = self.committed.saturating_sub(self.budget);
        if missing > 0 {
            let runs = self.places.cheapest_pages(missing as u64)?;
            runs.into_iter().for_each(|run| self.places.name(run, &mut owners));
        }
        Some(owners)
    }

    /// Takes back the places of all that was dropped, and returns the pages that this empties, as
    /// [`Arena::store`] and [`Arena::vacate`] do at first.
    pub fn reclaim(&mut self) {
        while let Some((place, space)) = self.returns.pop() {
            let (bytes, empty) = self.places.free(place, space);
            self.live -= bytes as usize;
            match empty {
                Some((page, true)) if self.spare.is_none() => self.spare = Some(page),
                Some((page, _)) => self.give_back(page),
                None => {}
            }
        }
    }

    /// From now on pages take at most `budget` bytes. If they take more, nothing is stored that
    /// needs a new page until enough of them were emptied: [`Arena::shrink`] names whom to drop.
    pub fn set_budget(&mut self, budget: usize) {
        self.budget = budget;
        self.page = page_length(budget);
        self.reclaim();
        if self.committed > budget {
            self.give_back_spare();
        }
    }

    /// Bytes of all pages held, also those that live by what others still hold of them.
    pub fn committed(&self) -> usize {
        self.committed
    }

    /// Bytes of all payloads whose places have not been taken back.
    pub fn live(&self) -> usize {
        self.live
    }

    /// The length of the place of a payload.
    fn length_for(&self, payload: usize) -> Option<u32> {
        let length = u32::try_from(payload).ok().filter(|_| payload <= MAX_PAYLOAD)?;
        let grain = if length > self.page / 4 { SYSTEM_PAGE } else { GRAIN };
        Some(length.next_multiple_of(grain))
    }

    /// The length of a new page for a place.
    fn page_for(&self, place: u32) -> u32 {
        if place > self.page / 4 { place } else { self.page }
    }

    /// Whether the budget allows for the page that a place of that length needs, if need be
    /// without the spare one.
    fn has_budget_for(&self, place: u32) -> bool {
        let spare = self.spare.map_or(0, |page| self.places.page_length(page) as usize);
        self.committed - spare + self.page_for(place) as usize <= self.budget
    }

    fn commit(&mut self, place: u32) -> Option<()> {
        if !self.has_budget_for(place) {
            return None;
        }
        let length = self.page_for(place);
        if self.committed + length as usize > self.budget {
            self.give_back_spare();
        }
        self.committed += length as usize;
        self.places.add(Space::new(length, &self.returns), length == self.page);
        Some(())
    }

    /// Pages to vacate for a page that a place of that length needs.
    fn cheapest_pages(&self, place: u32) -> Option<Vec<places::Run>> {
        let needed = self.page_for(place) as usize;
        let missing = (self.committed + needed).saturating_sub(self.budget);
        self.places.cheapest_pages(missing as u64)
    }

    fn give_back_spare(&mut self) {
        if let Some(spare) = self.spare.take() {
            self.give_back(spare);
        }
    }

    fn give_back(&mut self, page: u32) {
        // All spaces of the page have become one again: with it goes the memory.
        let space = self.places.remove(page);
        self.committed -= space.length() as usize;
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { budget, committed, live, .. } = self;
        let mut shown = formatter.debug_struct("Arena");
        shown.field("budget", budget).field("committed", committed).field("live", live);
        shown.finish_non_exhaustive()
    }
}

fn page_length(budget: usize) -> u32 {
    let share = (budget / PAGES).clamp(MIN_PAGE as usize, MAX_PAGE as usize);
    1 << share.ilog2()
}
