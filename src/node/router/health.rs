//! Which servers can be asked.
//!
//! A server is down when its connection is, or when it has been silent for a while although it was
//! asked for a sign of life. Silence alone never takes more than half of the servers: that much
//! silence is this router's own network.

use super::{Output, Router, Stage};
use crate::wire::backplane::Message;
use crate::wire::{Name, Time};
use std::time::Duration;

/// How often each server is asked for a sign of life.
pub(super) const PING_INTERVAL: Duration = Duration::from_millis(100);
/// A server that was silent for so long is under suspicion.
const SUSPECT_AFTER: Duration = Duration::from_millis(250);
/// A server that was silent for so long is down.
const DOWN_AFTER: Duration = Duration::from_millis(500);
/// A router whose own loop stood still for so long blames nobody for the silence.
const OWN_PAUSE: Duration = Duration::from_millis(200);

const _: () = assert!(PING_INTERVAL.as_millis() * 2 < SUSPECT_AFTER.as_millis());
const _: () = assert!(SUSPECT_AFTER.as_millis() < DOWN_AFTER.as_millis());

/// What a router thinks of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// It answers.
    Healthy,
    /// It has been silent for a moment.
    Suspect,
    /// It is gone, or silent for too long.
    Down,
}

/// What a router knows of a server's life.
#[derive(Debug)]
pub(super) struct Health {
    connected: bool,
    last_heard: Time,
    pub(super) state: HealthState,
}

impl Router {
    /// A connection to a server was made, and its name is known.
    pub fn handle_server_up(&mut self, now: Time, name: &Name) {
        let state = HealthState::Healthy;
        self.health.insert(name.clone(), Health { connected: true, last_heard: now, state });
        self.board.set_reachable(name, true);
        self.admit_waiting(now);
        self.dispatch_waiting(now, None);
    }

    /// The connection to a server is gone, and what was sent over it lately may be lost.
    pub fn handle_server_down(&mut self, now: Time, name: &Name) {
        if let Some(health) = self.health.get_mut(name) {
            health.connected = false;
            health.state = HealthState::Down;
        }
        self.lose_server(now, name);
    }

    /// Time passed: call at the moment of [`Router::poll_timeout`] at the latest.
    pub fn handle_timeout(&mut self, now: Time) {
        let paused = self.last_turn.is_some_and(|last| now.since(last) >= OWN_PAUSE);
        self.last_turn = Some(now);
        if paused {
            self.health.values_mut().for_each(|health| health.last_heard = now);
        }
        self.judge_silence(now);
        self.expire_resolutions(now);
        self.expire_requests(now);
        self.dispatch_waiting(now, None);
        self.admit_waiting(now);
        self.forget_departed(now);
        let connected: Vec<_> = self.connected_servers().cloned().collect();
        for name in connected {
            let number = self.number();
            self.send(&name, Message::Ping { number });
        }
    }

    /// When [`Router::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Time {
        self.last_turn.map_or(Time::default(), |last| last + PING_INTERVAL)
    }

    fn connected_servers(&self) -> impl Iterator<Item = &Name> {
        self.health.iter().filter(|(_, health)| health.connected).map(|(name, _)| name)
    }

    /// Servers that can be asked.
    pub(super) fn usable_servers(&self) -> impl Iterator<Item = &Name> {
        self.health.iter().filter(|(_, health)| health.state != HealthState::Down).map(|(n, _)| n)
    }

    /// Whether a server can be asked.
    pub(super) fn is_usable(&self, name: &Name) -> bool {
        self.health.get(name).is_some_and(|health| health.state != HealthState::Down)
    }

    pub(super) fn heard_from(&mut self, now: Time, name: &Name) {
        let Some(health) = self.health.get_mut(name) else {
            return;
        };
        health.last_heard = now;
        let was_down = health.state == HealthState::Down;
        health.state = HealthState::Healthy;
        if was_down {
            self.board.set_reachable(name, true);
            self.dispatch_waiting(now, None);
        }
    }

    fn judge_silence(&mut self, now: Time) {
        let connected = self.connected_servers().count();
        let mut silent = self
            .health
            .values()
            .filter(|health| health.connected && health.state == HealthState::Down)
            .count();
        let mut lost = Vec::new();
        for (name, health) in &mut self.health {
            let silence = now.since(health.last_heard);
            if !health.connected || health.state == HealthState::Down || silence < SUSPECT_AFTER {
                continue;
            }
            health.state = HealthState::Suspect;
            if silence >= DOWN_AFTER && (silent + 1) * 2 <= connected {
                health.state = HealthState::Down;
                silent += 1;
                lost.push(name.clone());
            }
        }
        lost.into_iter().for_each(|name| self.lose_server(now, &name));
    }

    /// Sends what a lost server was asked elsewhere.
    fn lose_server(&mut self, now: Time, name: &Name) {
        self.board.set_reachable(name, false);
        let numbers: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| match &request.stage {
                Stage::Asked { server, .. } | Stage::Body { server, .. } => server == name,
                Stage::Waiting => false,
            })
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            let Some(request) = self.requests.remove(&number) else {
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
        self.stop_awaiting(now, name);
    }
}
