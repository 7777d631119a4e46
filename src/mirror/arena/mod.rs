//! Where the payloads of a worker lie.
//!
//! A server's payloads are of all sizes, live for seconds or for days, and are sent while others
//! replace them. A general allocator that keeps them for long ends up with holes that nothing fits
//! in, and nobody can say how much memory that is. The arena has a budget of memory, not of
//! payloads, and a way to use the holes: whoever may drop payloads is told *which* of them make
//! room together.
//!
//! - `page`: memory, and the right to a range of it. A payload is copied once, and given out as
//!   `Bytes`; its range returns when the last clone is dropped, on whatever thread that is.
//! - `places`: which ranges are free. There are no classes of size: a payload gets the shortest
//!   free range that it fits in (best fit), and ranges that are free grow together again.
//! - [`Arena`]: the budget, and what to drop.
//!
//! Classes of size waste some of each range, and a page of one class is of no use when payloads of
//! another size come into fashion, until all that is on it was dropped. Here a few neighbours are
//! enough, wherever they are cheapest.
//!
//! Pages are so long that any payload fits in one, and memory is used again without the allocator.
//! Pages of 1 MiB, and one for each longer payload, were tried: then the allocator had the holes
//! instead, and the process twice the memory of its pages. A long page costs nothing where it was
//! never written to. One whose last payload is gone is returned, but for one that is kept as a
//! spare.
//!
//! The only unsafe code is in `page.rs`, which is sound whatever the rest of the arena does.
//! Threads meet in `Arc`, `Weak`, the counts of `Bytes` and a queue of crossbeam only, so there is
//! no algorithm of our own for loom to check. Miri can run the tests (epochs play no part in the
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

/// The longest payload, and page.
pub const MAX_PAYLOAD: usize = 64 << 20;

/// Lengths of ranges are multiples of it.
const GRAIN: u32 = 64;

const _: () = assert!(MAX_PAYLOAD < u32::MAX as usize && MAX_PAYLOAD.is_multiple_of(64));

/// Payloads of one owner thread, in pages that never take more than a budget.
///
/// When one does not fit, its owner drops others, which it chooses itself or which
/// [`Arena::vacate`] names, and tries again:
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
    /// How long a page is, if the budget allows.
    page: u32,
    /// A page without payloads.
    spare: Option<u32>,
}

impl Arena {
    /// Pages take at most `budget` bytes. Records are not counted: about 100 bytes a payload.
    pub fn new(budget: usize) -> Self {
        Self::with_pages(budget, MAX_PAYLOAD as u32)
    }

    fn with_pages(budget: usize, page: u32) -> Self {
        let (places, returns) = (Places::new(), Arc::new(Returns::new()));
        Self { places, returns, budget, committed: 0, live: 0, page, spare: None }
    }

    /// Copies a payload of at most [`MAX_PAYLOAD`] bytes. `None` if there is no room for it now.
    ///
    /// `owner` is what [`Arena::vacate`] calls it by. The place is free again when the last clone
    /// or slice of the result is dropped, on any thread; they stay valid when the arena is gone.
    pub fn store(&mut self, payload: &[u8], owner: u32) -> Option<Bytes> {
        self.reclaim();
        if payload.is_empty() {
            return Some(Bytes::new());
        }
        let length = self.length_for(payload.len())?;
        if self.committed > self.budget {
            return None;
        }
        if !self.places.fits(length) {
            self.commit(length)?;
        }
        // The length fits in a u32, as the one of the place does.
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
    /// They must be dropped: no payload is named twice. So the same call made again, because
    /// someone still holds a clone of one of them, names others. If its owner dropped one before,
    /// and it lives by a clone, it is named all the same.
    pub fn vacate(&mut self, length: usize) -> Option<Vec<u32>> {
        self.reclaim();
        let mut owners = Vec::new();
        let length = self.length_for(length)?;
        let above = self.committed > self.budget;
        if length == 0 || !above && (self.places.fits(length) || self.page_for(length).is_some()) {
            return Some(owners);
        }
        let run = if above { None } else { self.places.cheapest_run(length) };
        let runs = match run {
            Some(run) => vec![run],
            // Above the budget, or each page is too short, because the budget was.
            None => {
                let needed = self.committed + if above { 0 } else { length as usize };
                self.places.cheapest_pages(needed.checked_sub(self.budget)? as u64)?
            }
        };
        runs.into_iter().for_each(|run| self.places.name(run, &mut owners));
        Some(owners)
    }

    /// Takes back the places of all that was dropped, and returns the pages that this empties, as
    /// [`Arena::store`] and [`Arena::vacate`] do at first.
    pub fn reclaim(&mut self) {
        while let Some((place, space)) = self.returns.pop() {
            let (bytes, empty) = self.places.free(place, space);
            self.live -= bytes as usize;
            match empty {
                Some(page) if self.spare.is_none() && self.committed <= self.budget => {
                    self.spare = Some(page);
                }
                Some(page) => self.give_back(page),
                None => {}
            }
        }
    }

    /// From now on pages take at most `budget` bytes. If they take more, nothing is stored until
    /// enough of them were emptied: [`Arena::vacate`] names whom to drop.
    pub fn set_budget(&mut self, budget: usize) {
        self.budget = budget;
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
        let length = u32::try_from(payload).ok()?.checked_next_multiple_of(GRAIN)?;
        (length <= self.page).then_some(length)
    }

    /// The length of a page that the budget allows for, if need be without the spare one, if a
    /// place of `length` bytes fits in it.
    fn page_for(&self, length: u32) -> Option<u32> {
        let spare = self.spare.map_or(0, |page| self.places.page_length(page) as usize);
        let page =
            (self.budget + spare).checked_sub(self.committed)?.min(self.page as usize) as u32;
        Some(page - page % GRAIN).filter(|page| *page >= length)
    }

    fn commit(&mut self, length: u32) -> Option<()> {
        let page = self.page_for(length)?;
        if self.committed + page as usize > self.budget {
            self.give_back_spare();
        }
        self.committed += page as usize;
        self.places.add(Space::new(page, &self.returns));
        Some(())
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
