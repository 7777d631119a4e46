//! Which server a new client is given.
//!
//! Both policies pass over servers at or above their threshold as long as there are others, then
//! over those at their capacity; if there are only such, one of them is asked and says BUSY itself.

use super::Board;
use super::board::Member;
use super::choice::millionths;
use crate::wire::Name;
use crate::wire::backplane::Status;

/// How a new client gets its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The next one in the order of names.
    #[default]
    Next,
    /// Of two drawn at random, the one that is less full relative to its capacity. As good as the
    /// least loaded of all within a small factor, and routers that do not know of each other do not
    /// all choose the same one (Mitzenmacher, "The power of two choices", 2001).
    LeastLoaded,
}

impl Board {
    /// The server for a new client. `last` is the one that was given to the client before it, and
    /// `draw` is random.
    pub fn choose_primary(&self, policy: Policy, last: Option<&Name>, draw: u64) -> Option<&Name> {
        let ready = || self.members().filter(|(_, member)| member.is_ready());
        let below = |limit: fn(&Status) -> u64| {
            let has_room = move |member: &Member| {
                let status = member.status.as_ref();
                status.is_some_and(|status| member.primary_clients() < limit(status))
            };
            ready().filter(|(_, member)| has_room(member)).collect()
        };
        let mut candidates: Vec<_> = below(|status| status.threshold);
        if candidates.is_empty() {
            candidates = below(|status| status.capacity);
        }
        if candidates.is_empty() {
            candidates = ready().collect();
        }
        match policy {
            Policy::Next => {
                let next = candidates.iter().find(|(name, _)| Some(*name) > last);
                next.or(candidates.first()).map(|(name, _)| *name)
            }
            Policy::LeastLoaded => less_loaded(&candidates, draw),
        }
    }
}

fn less_loaded<'a>(candidates: &[(&'a Name, &Member)], draw: u64) -> Option<&'a Name> {
    let count = candidates.len() as u64;
    if count < 2 {
        return candidates.first().map(|(name, _)| *name);
    }
    let first = (draw >> 32) % count;
    // Any but the first one.
    let second = (first + 1 + (draw & u64::from(u32::MAX)) % (count - 1)) % count;
    let load = |place: u64| {
        let (_, member) = candidates[place as usize];
        let capacity = member.status.as_ref().map_or(1, |status| status.capacity);
        millionths(member.primary_clients(), capacity)
    };
    let chosen = if load(second) < load(first) { second } else { first };
    Some(candidates[chosen as usize].0)
}

#[cfg(test)]
mod tests {
    use super::super::choice::tests::{board, name};
    use super::*;
    use crate::wire::Time;

    fn next(board: &Board, last: Option<&Name>) -> Option<Name> {
        board.choose_primary(Policy::Next, last, 0).cloned()
    }

    #[test]
    fn the_next_in_order_that_has_room() {
        let mut board = board(&[("a", "x", 0, 0), ("b", "x", 5, 0), ("c", "x", 4, 0)]);
        assert_eq!(next(&board, None), Some(name("a")));
        assert_eq!(next(&board, Some(&name("a"))), Some(name("c")), "b is at its threshold of 5");
        assert_eq!(next(&board, Some(&name("c"))), Some(name("a")));
        (0..5).for_each(|_| board.count_sent(&name("a")));
        board.count_sent(&name("c"));
        assert_eq!(next(&board, Some(&name("a"))), Some(name("b")), "all are at their threshold");
        for server in ["a", "b", "c"] {
            (0..5).for_each(|_| board.count_sent(&name(server)));
        }
        assert_eq!(next(&board, Some(&name("a"))), Some(name("b")), "b will say that it is full");
    }

    #[test]
    fn the_less_loaded_of_two() {
        let board = board(&[("a", "x", 4, 0), ("b", "x", 1, 0), ("c", "x", 2, 0)]);
        let mut taken = [0; 3];
        for draw in 0..30_u64 {
            let draw = ((draw % 3) << 32) | (draw / 3);
            let chosen = board.choose_primary(Policy::LeastLoaded, None, draw).unwrap();
            taken[["a", "b", "c"].iter().position(|it| name(it) == *chosen).unwrap()] += 1;
        }
        assert_eq!(taken[0], 0, "one of two is always less loaded than a");
        assert!(taken[1] > taken[2] && taken[2] > 0, "{taken:?}");
    }

    #[test]
    fn load_is_relative_to_capacity() {
        let mut board = board(&[("a", "x", 4, 0)]);
        let mut large = board.member(&name("a")).unwrap().status.clone().unwrap();
        (large.name, large.primary_clients) = (name("b"), 50);
        (large.threshold, large.capacity) = (500, 1000);
        board.set_reachable(&name("b"), true);
        board.take(Time::default(), large);
        for draw in [0, 1 << 32] {
            let chosen = board.choose_primary(Policy::LeastLoaded, None, draw);
            assert_eq!(chosen, Some(&name("b")));
        }
        assert_eq!(Board::default().choose_primary(Policy::LeastLoaded, None, 7), None);
    }
}
