//! Which servers can be asked.
//!
//! Every worker of every server is asked for a sign of life now and then, and every few
//! milliseconds while an answer is outstanding and nothing is heard. One that owes a sign of life
//! for longer than its round trips explain makes its server *suspect*: its requests are hedged. One
//! that owes it much longer makes it *down*: its clients are taken over. So is a server whose
//! connections are gone. On the way back a server is suspect for a while before it is healthy.
//!
//! Silence alone never takes more than half of the servers: that much silence is this router's own
//! network. And time in which this router itself stood still is nobody's silence.

use super::servers::{HealthState, Server};
use super::{CannotLink, Output, PoolIndex, Router, Stage, hedge};
use crate::assign::ServerIndex;
use crate::wire::backplane::Message;
use crate::wire::{Name, Time};
use std::time::Duration;

/// With an answer outstanding, a worker that was not heard of for so long is asked for a sign of
/// life.
const ASK_SOON: Duration = Duration::from_millis(5);
/// Otherwise it is asked so often.
pub(super) const ASK_SELDOM: Duration = Duration::from_millis(250);
/// A sign of life may be owed for so long at least...
const SUSPECT_AFTER: Duration = Duration::from_millis(10);
/// ...and so many times what round trips explain, before a server is suspect.
const SUSPECT_PATIENCE: u32 = 2;
/// It may be owed for so long at least...
const DOWN_AFTER: Duration = Duration::from_millis(250);
/// ...and so many times what round trips explain, before a server is down...
const DOWN_PATIENCE: u32 = 8;
/// ...but no longer than this.
const DOWN_AT_LAST: Duration = Duration::from_secs(1);
/// How long a suspect server has to show signs of life before it is healthy.
const RECOVERY: Duration = Duration::from_millis(500);
/// A router that is so late to look at its clock first reads what has come meanwhile.
const STOOD_STILL: Duration = Duration::from_millis(4);
/// For so long it reads.
const READING: Duration = Duration::from_millis(1);
/// How soon something is looked at again that cannot be decided now.
const AGAIN: Duration = Duration::from_millis(5);

const _: () = assert!(SUSPECT_AFTER.as_millis() < DOWN_AFTER.as_millis());
const _: () = assert!(DOWN_AFTER.as_millis() < DOWN_AT_LAST.as_millis());
const _: () = assert!(SUSPECT_PATIENCE < DOWN_PATIENCE);

impl Server {
    fn suspect_after(&self) -> Duration {
        let explained = self.round_trip.patience() * SUSPECT_PATIENCE;
        explained.max(SUSPECT_AFTER).min(self.down_after() / 2)
    }

    fn down_after(&self) -> Duration {
        (self.round_trip.patience() * DOWN_PATIENCE).clamp(DOWN_AFTER, DOWN_AT_LAST)
    }

    /// When something about it may have to be decided next.
    fn due(&self) -> Time {
        let since = self.outstanding.since();
        let overdue = self.outstanding.recent.front();
        let overdue = overdue.map(|(asked, _)| *asked + hedge::delay(self.times.percentile()));
        let patience = match self.state {
            HealthState::Healthy => self.suspect_after(),
            HealthState::Suspect => self.down_after(),
            HealthState::Down => Duration::MAX,
        };
        let recovered = (self.state == HealthState::Suspect).then_some(self.alive_since + RECOVERY);
        let pulses = self.pulses.iter().map(|pulse| {
            let asked = pulse.ask_at(since, (ASK_SOON, ASK_SELDOM));
            asked.or(pulse.silent_since().map(|since| since + patience))
        });
        let due = pulses.flatten().chain(overdue).chain(recovered).min();
        due.unwrap_or(Time::from_micros(u64::MAX))
    }
}

impl Router {
    /// The connections to all workers of a server were made, and its name is known, and its pool if
    /// it says so. Returns by what number it is called from now on. `version` is what all of the
    /// connections speak.
    ///
    /// # Errors
    /// The router has no use for the server, and nothing has changed.
    pub fn handle_server_up(
        &mut self,
        now: Time,
        (name, pool): (&Name, Option<&Name>),
        workers: u64,
        version: u64,
    ) -> Result<ServerIndex, CannotLink> {
        let pool = self.pool_named(pool)?;
        let server = self.assignments.shared().names.add(name).ok_or(CannotLink::TooMany)?;
        self.servers.link(server, pool, (workers, version), now);
        self.place_in_pool(name, pool);
        self.due = self.due.min(now + ASK_SOON);
        self.admit_waiting(now);
        self.dispatch_waiting(now, None);
        Ok(server)
    }

    /// A connection to a server is gone, and what was sent over it lately may be lost.
    pub fn handle_server_down(&mut self, now: Time, server: ServerIndex) {
        if let Some(known) = self.servers.get_mut(server) {
            (known.linked, known.lost_at) = (false, now);
            known.state = HealthState::Down;
        }
        self.lose_server(now, server);
    }

    /// Time passed: call at the moment of [`Router::poll_timeout`] at the latest.
    pub fn handle_timeout(&mut self, now: Time) {
        let late = now.since(self.due);
        if late >= STOOD_STILL && !self.was_late {
            self.was_late = true;
            let pulses = self.servers.iter_mut().flat_map(|(_, server)| &mut server.pulses);
            pulses.for_each(|pulse| pulse.excuse(late));
            self.pools.excuse(late);
            self.due = now + READING;
            return;
        }
        self.was_late = false;
        if now >= self.slow_due {
            self.slow_due = now + ASK_SELDOM;
            self.turn_slowly(now);
        }
        self.hedge_overdue(now);
        self.judge_silence(now);
        self.ask_for_life(now);
        let servers = self.servers.iter().filter(|(_, server)| server.linked);
        let due = servers.map(|(_, server)| Some(server.due()).filter(|due| *due > now));
        let due = due.map(|due| due.unwrap_or(now + AGAIN)).min();
        self.due = due.map_or(self.slow_due, |due| due.min(self.slow_due));
    }

    /// What need not be looked at often.
    fn turn_slowly(&mut self, now: Time) {
        self.servers.iter_mut().for_each(|(_, server)| server.times.refresh());
        self.pools.expire(now);
        self.expire_resolutions(now);
        self.expire_requests(now);
        self.dispatch_waiting(now, None);
        self.admit_waiting(now);
        self.forget_departed(now);
        self.renew_tokens(now);
    }

    /// When [`Router::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Time {
        self.due
    }

    /// A request was sent to a server: it is looked at when it may have become overdue, or the
    /// server silent.
    pub(super) fn watch(&mut self, now: Time, server: ServerIndex, number: u64) {
        let Some(known) = self.servers.get_mut(server) else {
            return;
        };
        known.outstanding.push(now, number);
        let soon = hedge::delay(known.times.percentile()).min(ASK_SOON);
        self.due = self.due.min(now + soon);
    }

    /// A body is to come from a server, perhaps another one than was asked first.
    pub(super) fn watch_body(&mut self, server: ServerIndex, number: u64) {
        let asked_at = self.requests.get(number).map(|request| request.asked_at);
        if let (Some(known), Some(asked_at)) = (self.servers.get_mut(server), asked_at) {
            known.outstanding.overdue.push_back((asked_at, number));
        }
    }

    /// Whether a request is outstanding at a server.
    fn is_outstanding(&self, number: u64, server: ServerIndex) -> bool {
        self.requests.get(number).is_some_and(|request| match &request.stage {
            Stage::Asked { entry, .. } => entry.primary() == server,
            Stage::Body { server: from, .. } => *from == server,
            Stage::Waiting => false,
        })
    }

    fn hedge_overdue(&mut self, now: Time) {
        for server in self.linked_servers() {
            let Some(known) = self.servers.get_mut(server) else {
                continue;
            };
            let usual = hedge::delay(known.times.percentile()).as_micros() as u64;
            let overdue_before = Time::from_micros(now.as_micros().saturating_sub(usual));
            let mut outstanding = std::mem::take(&mut known.outstanding);
            let late =
                outstanding.turn(overdue_before, |number| self.is_outstanding(number, server));
            if let Some(known) = self.servers.get_mut(server) {
                known.outstanding = outstanding;
            }
            self.hedge_all(now, late);
        }
    }

    fn linked_servers(&self) -> Vec<ServerIndex> {
        self.servers.iter().filter(|(_, known)| known.linked).map(|(server, _)| server).collect()
    }

    fn ask_for_life(&mut self, now: Time) {
        let mut questions = Vec::new();
        for (server, known) in self.servers.iter_mut().filter(|(_, known)| known.linked) {
            let since = known.outstanding.since();
            for (worker, pulse) in (0..).zip(&mut known.pulses) {
                let due = pulse.ask_at(since, (ASK_SOON, ASK_SELDOM));
                if due.is_some_and(|due| due <= now) {
                    self.next_number += 1;
                    pulse.ask(now, self.next_number);
                    questions.push((server, worker, self.next_number));
                }
            }
        }
        for (server, worker, number) in questions {
            let frame = Message::Ping { number }.encode();
            self.outputs.push_back(Output::ToServer { server, worker, frame });
        }
    }

    /// Servers of a pool that can be asked.
    pub(super) fn usable_servers(&self, pool: PoolIndex) -> impl Iterator<Item = ServerIndex> {
        let all = self.servers.iter().filter(move |(_, known)| known.pool == pool);
        let usable = all.filter(|(_, known)| known.state != HealthState::Down);
        usable.map(|(server, _)| server)
    }

    /// A worker of a server sent something, perhaps the answer to a question for a sign of life.
    pub(super) fn heard_from(
        &mut self,
        now: Time,
        server: ServerIndex,
        worker: u64,
        answer: Option<u64>,
    ) {
        // A message that came before its connections were given up may be read after.
        let Some(known) = self.servers.get_mut(server).filter(|known| known.linked) else {
            return;
        };
        let pulse = usize::try_from(worker).ok().and_then(|at| known.pulses.get_mut(at));
        if let Some(pulse) = pulse {
            pulse.hear(now);
            let sample = answer.and_then(|number| pulse.answer(now, number));
            // What was answered after a pause says nothing about round trips.
            if let Some(sample) = sample.filter(|_| known.state != HealthState::Down) {
                known.round_trip.take(sample);
            }
        }
        if known.state == HealthState::Down && known.silence(now) < known.suspect_after() {
            // All of its workers are alive again.
            known.state = HealthState::Suspect;
            known.alive_since = now;
            self.due = self.due.min(now + ASK_SOON);
            self.set_reachable(server, true);
            self.dispatch_waiting(now, None);
        }
    }

    fn judge_silence(&mut self, now: Time) {
        let (linked, mut down) = self.servers.count(HealthState::Down);
        let (mut doubted, mut lost) = (Vec::new(), Vec::new());
        for (server, known) in self.servers.iter_mut().filter(|(_, known)| known.linked) {
            let silence = known.silence(now);
            if silence < known.suspect_after() {
                let alive_for = now.since(known.alive_since);
                if known.state == HealthState::Suspect && alive_for >= RECOVERY {
                    known.state = HealthState::Healthy;
                }
                continue;
            }
            known.alive_since = now;
            if known.state == HealthState::Healthy {
                known.state = HealthState::Suspect;
                doubted.push(server);
            }
            let allowed = (down + 1) * 2 <= linked;
            if known.state == HealthState::Suspect && silence >= known.down_after() && allowed {
                known.state = HealthState::Down;
                down += 1;
                lost.push(server);
            }
        }
        for server in doubted {
            let numbers = self.servers.get(server).map(|known| known.outstanding.numbers());
            self.hedge_all(now, numbers.unwrap_or_default());
        }
        lost.into_iter().for_each(|server| self.lose_server(now, server));
    }

    /// Sends what a lost server was asked elsewhere.
    pub(super) fn lose_server(&mut self, now: Time, lost: ServerIndex) {
        self.set_reachable(lost, false);
        let hedged: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| {
                matches!(request.stage, Stage::Asked { hedge: Some(at), .. } if at == lost)
            })
            .map(|(number, _)| number)
            .collect();
        hedged.into_iter().for_each(|number| self.end_hedge(number));
        let numbers: Vec<_> = self
            .requests
            .iter()
            .map(|(number, _)| number)
            .filter(|number| self.is_outstanding(*number, lost))
            .collect();
        if let Some(known) = self.servers.get_mut(lost) {
            known.outstanding = Default::default();
        }
        for number in numbers {
            self.move_elsewhere(now, number);
        }
        self.stop_awaiting(now, lost);
    }
}
