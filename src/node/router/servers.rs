//! What a router knows of the life of each server, by its place in the table's list of names.

use super::PoolIndex;
use super::answer_times::AnswerTimes;
use super::pulse::{Pulse, RoundTrip};
use crate::assign::ServerIndex;
use crate::wire::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// What a router thinks of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthState {
    /// It answers.
    Healthy,
    /// It owes a sign of life, or owed one a moment ago.
    Suspect,
    /// It is gone, or silent for too long.
    Down,
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    /// Whether there are connections to all of its workers.
    pub(super) linked: bool,
    /// When there last were none any more.
    pub(super) lost_at: Time,
    pub(super) state: HealthState,
    /// The pool that it is of.
    pub(super) pool: PoolIndex,
    /// The protocol version that is spoken with it.
    pub(super) version: u64,
    /// Since when it has shown signs of life again, while it is suspect.
    pub(super) alive_since: Time,
    /// Its workers.
    pub(super) pulses: Vec<Pulse>,
    pub(super) round_trip: RoundTrip,
    pub(super) times: AnswerTimes,
    pub(super) outstanding: Outstanding,
}

/// Requests that a server was asked, oldest first. Those that have ended are found out later: to
/// end a request costs nothing here.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// When each was asked; not yet overdue when last looked at.
    pub(super) recent: VecDeque<(Time, u64)>,
    /// Those that were not answered in the usual time.
    pub(super) overdue: VecDeque<(Time, u64)>,
    /// How many overdue requests there were when all of them were last looked at.
    swept: usize,
}

/// With so few overdue requests nothing needs to be swept.
const SWEPT_AT_LEAST: usize = 64;

impl Outstanding {
    pub(super) fn push(&mut self, now: Time, number: u64) {
        self.recent.push_back((now, number));
    }

    /// Lets go of what has ended; gives those that have just become overdue.
    pub(super) fn turn(&mut self, overdue_before: Time, is_open: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut late = Vec::new();
        while let Some((asked, number)) = self.recent.front().copied() {
            let open = is_open(number);
            if open && asked > overdue_before {
                break;
            }
            self.recent.pop_front();
            if open {
                self.overdue.push_back((asked, number));
                late.push(number);
            }
        }
        if self.overdue.len() > SWEPT_AT_LEAST.max(self.swept * 2) {
            self.overdue.retain(|(_, number)| is_open(*number));
            self.swept = self.overdue.len();
        }
        while self.overdue.pop_front_if(|(_, number)| !is_open(*number)).is_some() {}
        late
    }

    /// When the oldest request was asked.
    pub(super) fn since(&self) -> Option<Time> {
        self.overdue.front().or(self.recent.front()).map(|(asked, _)| *asked)
    }

    /// All of them, some of which may have ended.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.overdue.iter().chain(&self.recent).map(|(_, number)| *number).collect()
    }
}

impl Server {
    fn new(pool: PoolIndex, workers: u64, version: u64, now: Time) -> Self {
        let workers = usize::try_from(workers.max(1)).unwrap_or(1);
        Self {
            linked: true,
            lost_at: Time::default(),
            state: HealthState::Healthy,
            pool,
            version,
            alive_since: now,
            pulses: (0..workers).map(|_| Pulse::new(now)).collect(),
            round_trip: RoundTrip::default(),
            times: AnswerTimes::default(),
            outstanding: Outstanding::default(),
        }
    }

    /// For how long the worker that has owed a sign of life for the longest time has owed it.
    pub(super) fn silence(&self, now: Time) -> Duration {
        self.pulses.iter().map(|pulse| pulse.silence(now)).max().unwrap_or_default()
    }
}

/// All servers that this worker was ever linked to.
#[derive(Debug, Default)]
pub(super) struct Servers(Vec<Option<Server>>);

impl Servers {
    /// A server's connections were made: to so many workers, which speak this version.
    pub(super) fn link(
        &mut self,
        server: ServerIndex,
        pool: PoolIndex,
        (workers, version): (u64, u64),
        now: Time,
    ) {
        if self.0.len() <= server.get() {
            self.0.resize_with(server.get() + 1, || None);
        }
        self.0[server.get()] = Some(Server::new(pool, workers, version, now));
    }

    pub(super) fn get(&self, server: ServerIndex) -> Option<&Server> {
        self.0.get(server.get())?.as_ref()
    }

    pub(super) fn get_mut(&mut self, server: ServerIndex) -> Option<&mut Server> {
        self.0.get_mut(server.get())?.as_mut()
    }

    /// Whether a server can be asked.
    pub(super) fn is_usable(&self, server: ServerIndex) -> bool {
        self.get(server).is_some_and(|server| server.state != HealthState::Down)
    }

    /// Whether a server can be asked, and there is no doubt about it.
    pub(super) fn is_healthy(&self, server: ServerIndex) -> bool {
        self.get(server).is_some_and(|server| server.state == HealthState::Healthy)
    }

    /// Whether a server speaks a version of the protocol.
    pub(super) fn speaks(&self, server: ServerIndex, version: u64) -> bool {
        self.get(server).is_some_and(|server| server.version >= version)
    }

    /// How many workers a server had when it was last linked.
    pub(super) fn workers(&self, server: ServerIndex) -> u64 {
        self.get(server).map_or(1, |server| server.pulses.len() as u64)
    }

    /// How many are linked, and how many of these are in a state.
    pub(super) fn count(&self, state: HealthState) -> (usize, usize) {
        let linked = self.0.iter().flatten().filter(|server| server.linked);
        linked.fold((0, 0), |(linked, such), server| {
            (linked + 1, such + usize::from(server.state == state))
        })
    }

    /// All of them, by their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ServerIndex, &Server)> {
        self.0
            .iter()
            .enumerate()
            .filter_map(|(place, server)| Some((ServerIndex::new(place)?, server.as_ref()?)))
    }

    /// All of them, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ServerIndex, &mut Server)> {
        self.0
            .iter_mut()
            .enumerate()
            .filter_map(|(place, server)| Some((ServerIndex::new(place)?, server.as_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_let_go_and_what_is_late_is_given_once() {
        let at = |millis: u64| Time::from_micros(millis * 1000);
        let mut outstanding = Outstanding::default();
        (0..300).for_each(|number| outstanding.push(at(number), number));
        assert_eq!(outstanding.turn(at(9), |number| number % 2 == 1), [1, 3, 5, 7, 9]);
        assert_eq!(outstanding.since(), Some(at(1)));
        assert_eq!(outstanding.turn(at(9), |number| number > 4), [] as [u64; 0]);
        assert_eq!(outstanding.since(), Some(at(5)));
        let late = outstanding.turn(at(299), |number| number == 5 || number >= 290);
        assert_eq!(late.len(), 10);
        assert_eq!(outstanding.numbers().len(), 13, "7 and 9 are behind 5, which goes on");
        outstanding.turn(at(300), |_| false);
        assert_eq!((outstanding.since(), outstanding.numbers().len()), (None, 0));
    }
}
