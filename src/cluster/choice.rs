//! Choosing a server: the alternate of a client, and the second server that must serve it.
//!
//! Both look at all servers that are ready and compare how full they are relative to their
//! capacity. Among equals the next one after the chooser in the order of names wins, so that
//! servers that start together do not all choose the same one.

use super::Board;
use crate::wire::Name;
use crate::wire::backplane::Status;
use std::sync::Arc;

/// A server that could have been chosen, and what was weighed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighed {
    /// Which server.
    pub name: Name,
    /// Whether it is in another zone than the chooser.
    pub other_zone: bool,
    /// Its clients as primary.
    pub primary_clients: u64,
    /// Its clients as alternate.
    pub alternate_clients: u64,
    /// Its capacity.
    pub capacity: u64,
    /// Clients sent its way since its status.
    pub sent_since: u64,
    /// Whether the client was taken from it, and it has not let go yet: it may not be there.
    pub is_former: bool,
}

/// A choice, and all that was weighed for it, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The servers, the chosen one first. Never empty.
    pub weighed: Vec<Weighed>,
}

impl Choice {
    /// The server that was chosen.
    pub fn chosen(&self) -> &Name {
        &self.weighed[0].name
    }
}

/// How full a server is, in millionths of its capacity.
pub(super) fn millionths(clients: u64, capacity: u64) -> u64 {
    let parts = u128::from(clients) * 1_000_000 / u128::from(capacity.max(1));
    u64::try_from(parts).unwrap_or(u64::MAX)
}

impl Board {
    /// The best alternate for a client of the server `own`: not one of the `former` servers that
    /// still have to let go of it, if there is another; in another zone if there is one; then the
    /// least loaded, its clients in either role counted.
    pub fn choose_alternate(
        &self,
        own: &Name,
        zone: Option<&Name>,
        former: &[Name],
    ) -> Option<Arc<Choice>> {
        let load = |weighed: &Weighed| {
            let clients = weighed.primary_clients + weighed.alternate_clients + weighed.sent_since;
            let rank = (weighed.is_former, !weighed.other_zone);
            (rank, millionths(clients, weighed.capacity), 0)
        };
        self.choose(own, (zone, former), |_| true, load).map(Arc::new)
    }

    /// The server that must serve a client which `own`, over its threshold, hands on: below its
    /// capacity, the least loaded as primary, then as alternate.
    pub fn choose_second(&self, own: &Name) -> Option<Choice> {
        let has_room =
            |weighed: &Weighed| weighed.primary_clients + weighed.sent_since < weighed.capacity;
        self.choose(own, (None, &[]), has_room, |weighed| {
            let primary = weighed.primary_clients + weighed.sent_since;
            let alternate = millionths(weighed.alternate_clients, weighed.capacity);
            ((false, false), millionths(primary, weighed.capacity), alternate)
        })
    }

    fn choose(
        &self,
        own: &Name,
        (zone, former): (Option<&Name>, &[Name]),
        admits: impl Fn(&Weighed) -> bool,
        load: impl Fn(&Weighed) -> ((bool, bool), u64, u64),
    ) -> Option<Choice> {
        let weigh = |name: &Name, status: &Status, sent_since| Weighed {
            name: name.clone(),
            other_zone: zone.is_some() && status.zone.is_some() && status.zone.as_ref() != zone,
            primary_clients: status.primary_clients,
            alternate_clients: status.alternate_clients,
            capacity: status.capacity,
            sent_since,
            is_former: former.contains(name),
        };
        let mut weighed: Vec<_> = self
            .members()
            .filter(|(name, member)| *name != own && member.is_ready())
            .filter_map(|(name, member)| Some((name, member.status.as_ref()?, member.sent_since)))
            .map(|(name, status, sent_since)| weigh(name, status, sent_since))
            .filter(admits)
            .collect();
        // Names after the chooser's come first, then those before it: `false` sorts first.
        weighed.sort_by_cached_key(|weighed| {
            (load(weighed), weighed.name < *own, weighed.name.clone())
        });
        (!weighed.is_empty()).then_some(Choice { weighed })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::Time;
    use crate::wire::backplane::SelfState;
    use std::time::Duration;

    pub(in crate::cluster) fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    pub(in crate::cluster) fn board(servers: &[(&str, &str, u64, u64)]) -> Board {
        let mut board = Board::default();
        for (server, zone, primary_clients, alternate_clients) in servers {
            board.set_reachable(&name(server), true);
            board.take(
                Time::default(),
                Status {
                    name: name(server),
                    incarnation: 1,
                    sequence: 1,
                    zone: Some(name(zone)),
                    state: SelfState::Ready,
                    primary_clients: *primary_clients,
                    alternate_clients: *alternate_clients,
                    threshold: 5,
                    capacity: 10,
                    handed_on_clients: 0,
                    must_served_clients: 0,
                    released_clients: 0,
                    pid: 1,
                    admin: String::new(),
                },
            );
        }
        board
    }

    #[test]
    fn an_alternate_in_another_zone_comes_first_then_the_least_loaded() {
        let board =
            board(&[("a", "x", 0, 0), ("b", "x", 0, 0), ("c", "y", 9, 9), ("d", "y", 9, 8)]);
        let choice = board.choose_alternate(&name("a"), Some(&name("x")), &[]).unwrap();
        let order: Vec<_> = choice.weighed.iter().map(|weighed| weighed.name.as_str()).collect();
        assert_eq!(order, ["d", "c", "b"]);
        let lost = [name("d"), name("c")];
        let choice = board.choose_alternate(&name("a"), Some(&name("x")), &lost).unwrap();
        assert_eq!(*choice.chosen(), name("b"), "d and c may not be there");
    }

    #[test]
    fn whose_status_is_too_old_is_not_chosen() {
        let mut board = board(&[("a", "x", 0, 0), ("b", "x", 0, 0)]);
        let at = |millis: u64| Time::from_micros(millis * 1000);
        let chosen = |board: &Board| board.choose_second(&name("a"));
        board.expire(at(3_000));
        assert!(chosen(&board).is_some());
        board.expire(at(4_000));
        assert_eq!(chosen(&board), None);
        let mut status = board.member(&name("b")).unwrap().status.clone().unwrap();
        status.sequence += 1;
        assert!(board.take(at(5_000), status));
        assert!(chosen(&board).is_some());
        board.excuse(Duration::from_secs(55));
        board.expire(at(60_001));
        assert!(chosen(&board).is_some(), "we stood still, not they");
    }

    #[test]
    fn equals_are_taken_in_order_after_the_chooser() {
        let board = board(&[("a", "x", 0, 0), ("b", "x", 0, 0), ("c", "x", 0, 0)]);
        let choose = |own| board.choose_alternate(&name(own), None, &[]).unwrap();
        let chosen = |own| choose(own).chosen().clone();
        assert_eq!([chosen("a"), chosen("b"), chosen("c")], [name("b"), name("c"), name("a")]);
    }

    #[test]
    fn a_second_server_has_room_and_clients_on_their_way_count() {
        let mut board = board(&[("a", "x", 5, 0), ("b", "x", 10, 0), ("c", "x", 7, 0)]);
        let own = name("a");
        for _ in 0..3 {
            assert_eq!(*board.choose_second(&own).unwrap().chosen(), name("c"));
            board.count_sent(&name("c"));
        }
        assert_eq!(board.choose_second(&own), None, "b and c are at their capacity");
        board.set_reachable(&name("c"), false);
        assert_eq!(board.choose_alternate(&own, None, &[]).unwrap().chosen(), &name("b"));
    }
}
