//! Which servers can be asked.
//!
//! A server is down when one of its connections is, or when one of its workers has been silent for
//! a while although it was asked for a sign of life. Silence alone never takes more than half of
//! the servers: that much silence is this router's own network.

use super::servers::HealthState;
use super::{Output, Router, Stage};
use crate::assign::ServerIndex;
use crate::wire::backplane::Message;
use crate::wire::{Name, Time};
use std::time::Duration;

/// How often each worker of each server is asked for a sign of life.
pub(super) const PING_INTERVAL: Duration = Duration::from_millis(100);
/// A server that was silent for so long is under suspicion.
const SUSPECT_AFTER: Duration = Duration::from_millis(250);
/// A server that was silent for so long is down.
const DOWN_AFTER: Duration = Duration::from_millis(500);
/// A router whose own loop stood still for so long blames nobody for the silence.
const OWN_PAUSE: Duration = Duration::from_millis(200);

const _: () = assert!(PING_INTERVAL.as_millis() * 2 < SUSPECT_AFTER.as_millis());
const _: () = assert!(SUSPECT_AFTER.as_millis() < DOWN_AFTER.as_millis());

impl Router {
    /// The connections to all workers of a server were made, and its name is known. Returns by what
    /// number it is called from now on; `None` if there are more servers than can be told apart.
    pub fn handle_server_up(
        &mut self,
        now: Time,
        name: &Name,
        workers: u64,
    ) -> Option<ServerIndex> {
        let server = self.assignments.shared().names.add(name)?;
        self.servers.link(server, workers, now);
        self.board.set_reachable(name, true);
        self.admit_waiting(now);
        self.dispatch_waiting(now, None);
        Some(server)
    }

    /// A connection to a server is gone, and what was sent over it lately may be lost.
    pub fn handle_server_down(&mut self, now: Time, server: ServerIndex) {
        if let Some(known) = self.servers.get_mut(server) {
            known.linked = false;
            known.state = HealthState::Down;
        }
        self.lose_server(now, server);
    }

    /// Membership says that a server is gone: nobody reaches it, or it left. Of one that answers on
    /// its own links that is not believed.
    pub fn handle_server_gone(&mut self, now: Time, name: &Name) {
        let Some(server) = self.assignments.shared().names.find(name) else {
            return;
        };
        let Some(known) = self.servers.get_mut(server) else {
            return;
        };
        let answers = known.linked && now.since(known.last_heard()) < SUSPECT_AFTER;
        if answers || known.state == HealthState::Down {
            return;
        }
        known.state = HealthState::Down;
        self.lose_server(now, server);
    }

    /// Time passed: call at the moment of [`Router::poll_timeout`] at the latest.
    pub fn handle_timeout(&mut self, now: Time) {
        let paused = self.last_turn.is_some_and(|last| now.since(last) >= OWN_PAUSE);
        self.last_turn = Some(now);
        if paused {
            self.servers.iter_mut().for_each(|(_, server)| server.heard.fill(now));
        }
        self.judge_silence(now);
        self.expire_resolutions(now);
        self.expire_requests(now);
        self.dispatch_waiting(now, None);
        self.admit_waiting(now);
        self.forget_departed(now);
        let number = self.number();
        for (server, known) in self.servers.iter().filter(|(_, known)| known.linked) {
            for worker in 0..known.heard.len() as u64 {
                let frame = Message::Ping { number }.encode();
                self.outputs.push_back(Output::ToServer { server, worker, frame });
            }
        }
    }

    /// When [`Router::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Time {
        self.last_turn.map_or(Time::default(), |last| last + PING_INTERVAL)
    }

    /// Servers that can be asked.
    pub(super) fn usable_servers(&self) -> impl Iterator<Item = ServerIndex> {
        let usable = self.servers.iter().filter(|(_, known)| known.state != HealthState::Down);
        usable.map(|(server, _)| server)
    }

    pub(super) fn heard_from(&mut self, now: Time, server: ServerIndex, worker: u64) {
        // A message that came before its connections were given up may be read after.
        let Some(known) = self.servers.get_mut(server).filter(|known| known.linked) else {
            return;
        };
        if let Some(heard) = usize::try_from(worker).ok().and_then(|at| known.heard.get_mut(at)) {
            *heard = now;
        }
        if known.state == HealthState::Healthy || now.since(known.last_heard()) >= SUSPECT_AFTER {
            return;
        }
        let was_down = known.state == HealthState::Down;
        known.state = HealthState::Healthy;
        if was_down {
            let name = self.assignments.name(server).clone();
            self.board.set_reachable(&name, true);
            self.dispatch_waiting(now, None);
        }
    }

    fn judge_silence(&mut self, now: Time) {
        let linked = self.servers.iter().filter(|(_, known)| known.linked);
        let (linked, mut silent) = linked.fold((0, 0), |(linked, silent), (_, known)| {
            (linked + 1, silent + usize::from(known.state == HealthState::Down))
        });
        let mut lost = Vec::new();
        for (server, known) in self.servers.iter_mut() {
            let silence = now.since(known.last_heard());
            if !known.linked || known.state == HealthState::Down || silence < SUSPECT_AFTER {
                continue;
            }
            known.state = HealthState::Suspect;
            if silence >= DOWN_AFTER && (silent + 1) * 2 <= linked {
                known.state = HealthState::Down;
                silent += 1;
                lost.push(server);
            }
        }
        lost.into_iter().for_each(|server| self.lose_server(now, server));
    }

    /// Sends what a lost server was asked elsewhere.
    fn lose_server(&mut self, now: Time, lost: ServerIndex) {
        let name = self.assignments.name(lost).clone();
        self.board.set_reachable(&name, false);
        let asked = |stage: &Stage| match stage {
            Stage::Asked { entry } => entry.primary() == lost,
            Stage::Body { server, .. } => *server == lost,
            Stage::Waiting => false,
        };
        let requests = self.requests.iter().filter(|(_, request)| asked(&request.stage));
        let numbers: Vec<_> = requests.map(|(number, _)| number).collect();
        for number in numbers {
            let Some(request) = self.requests.remove(number) else {
                continue;
            };
            if matches!(request.stage, Stage::Body { .. }) {
                self.outputs.push_back(Output::AbandonBody { request_id: number });
                // Takes back the FULL that announced the body: the client asks again.
                let text = "the server was lost while it sent the body".to_owned();
                self.answer_unavailable(request, text);
            } else {
                self.dispatch_again(now, request);
            }
        }
        self.stop_awaiting(now, lost);
    }
}
