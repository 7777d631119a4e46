//! Which idle slot goes first.
//!
//! Segmented least recently used (Karedla, Love and Wherry, "Caching strategies to improve disk
//! system performance", 1994). An item that was asked for once stands in front of all that were
//! asked for again, so that one pass over very many items throws out nothing but itself. Those
//! asked for again have half of the budget to themselves. When they need more, the one of them that
//! was used longest ago stands back among the others, by its last use: what was popular once does
//! not stay for ever. So whatever was asked for last and fits half of the budget is held, as in the
//! plain order whatever fits all of it.

use super::Cache;

/// What share of the budget is for items that were asked for again: one in so many parts.
const OFTEN_SHARE: u64 = 2;

/// A slot's place in the order; the lowest goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// It was asked for again while it was held.
    pub(super) often: bool,
    pub(super) last_use: u64,
}

impl Cache {
    /// A slot's key is asked for.
    pub(super) fn note_use(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        if let Some(held) = slot.held.as_ref().filter(|_| !slot.rank.often) {
            slot.rank.often = true;
            self.often_cost += held.cost;
        }
    }

    /// Makes a slot that holds something idle, as the one used last.
    pub(super) fn rest(&mut self, number: u32) {
        self.uses += 1;
        self.slots[number as usize].rank.last_use = self.uses;
        self.stand(number);
        let often = Rank { often: true, last_use: 0 };
        while self.often_cost > self.max_cost / OFTEN_SHARE {
            let Some((rank, number)) = self.idle.range(often..).next() else {
                return;
            };
            let (rank, number) = (*rank, *number);
            self.idle.remove(&rank);
            self.droppable.remove(&rank);
            self.forget_often(number);
            self.stand(number);
        }
    }

    /// Puts an idle slot in its place.
    fn stand(&mut self, number: u32) {
        let slot = &self.slots[number as usize];
        self.idle.insert(slot.rank, number);
        if slot.held.as_ref().is_some_and(|held| held.is_droppable()) {
            self.droppable.insert(slot.rank, number);
        }
    }

    /// A slot counts as one that was asked for once.
    pub(super) fn forget_often(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        if std::mem::take(&mut slot.rank.often) {
            self.often_cost -= slot.held.as_ref().map_or(0, |held| held.cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Room;
    use super::*;
    use crate::wire::types::fingerprint;
    use crate::wire::{HeaderBlock, Key};
    use bytes::Bytes;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use std::collections::{BTreeMap, HashMap, VecDeque};

    const KEYS: usize = 5_000;
    const HELD: usize = 500;
    const LENGTH: usize = 60_000;

    /// Keys by how often they are asked for: one in proportion to 1/place to the power of 0.9.
    /// Where there are scans, each tenth part is followed by one pass over many other keys; where
    /// there is drift, other keys become popular all the time.
    fn trace(scans: bool, drift: bool) -> Vec<usize> {
        let mut random = StdRng::seed_from_u64(9);
        let mut sum = 0.0;
        let weigh = |place: usize| (1.0 + place as f64).powf(-0.9);
        let sums: Vec<f64> = (0..KEYS)
            .map(|place| {
                sum += weigh(place);
                sum
            })
            .collect();
        let mut trace = Vec::new();
        for step in 0..LENGTH {
            let point = random.random_range(0.0..sum);
            let place = sums.partition_point(|sum| *sum < point);
            let offset = if drift { step / 20 } else { 0 };
            trace.push((place + offset) % KEYS);
            if scans && step % (LENGTH / 10) == 0 {
                trace.extend(KEYS + step..KEYS + step + 3 * HELD);
            }
        }
        trace
    }

    /// How many of a trace the cache has.
    fn hits(trace: &[usize]) -> usize {
        let bytes = Bytes::from(vec![0; 1_000]);
        let headers = HeaderBlock::default();
        let print = fingerprint(headers.as_bytes(), &bytes);
        let key = |number: &usize| -> Key { format!("/{number:06}").parse().unwrap() };
        let max_cost = HELD as u64 * super::super::cost(&key(&0), &headers, &print);
        let mut cache = Cache::new(max_cost, u64::MAX, false);
        let room = Room { slots: 1 << 20, may_evict: true };
        let mut out = VecDeque::new();
        let mut hits = 0;
        for key in trace.iter().map(key) {
            let number = cache.bind(&key, 0, room, &mut out).unwrap();
            if cache.held(number).is_some() {
                hits += 1;
            } else {
                let tag = key.tag(&print.digest);
                cache.store(number, (&headers, &bytes), (print, tag), &mut out);
            }
            cache.release(number, &mut out);
            assert!(cache.size().1 <= max_cost && cache.often_cost <= max_cost / OFTEN_SHARE);
        }
        assert_eq!(cache.size().0, HELD);
        hits
    }

    /// How many the plain order by last use has.
    fn plain_hits(trace: &[usize]) -> usize {
        let (mut last_use, mut order) = (HashMap::new(), BTreeMap::new());
        let mut hits = 0;
        for (step, key) in trace.iter().enumerate() {
            order.insert(step, *key);
            if let Some(before) = last_use.insert(*key, step) {
                hits += 1;
                order.remove(&before);
            } else if order.len() > HELD {
                let (_, key) = order.pop_first().unwrap();
                last_use.remove(&key);
            }
        }
        hits
    }

    #[test]
    fn scans_and_popular_items_fare_better_than_in_the_plain_order() {
        for (scans, drift, gain) in
            [(false, false, 3.0), (true, false, 3.0), (false, true, 0.0), (true, true, 0.0)]
        {
            let trace = trace(scans, drift);
            let percent = |hits: usize| 100.0 * hits as f64 / trace.len() as f64;
            let (plain, found) = (percent(plain_hits(&trace)), percent(hits(&trace)));
            println!("scans {scans}, drift {drift}: {plain:.1} %, now {found:.1} %");
            assert!(found >= plain + gain, "scans {scans}, drift {drift}: {plain} {found}");
        }
    }

    #[test]
    fn one_long_scan_throws_out_nothing_that_is_used_again() {
        let often = (0..HELD / 2).chain(0..HELD / 2);
        let scan = KEYS..KEYS + 10_000;
        let before: Vec<_> = often.clone().chain(scan.clone()).collect();
        let all: Vec<_> = before.iter().copied().chain(0..HELD / 2).collect();
        assert_eq!(hits(&all) - hits(&before), HELD / 2);
        assert_eq!(plain_hits(&all) - plain_hits(&before), 0);
    }
}
