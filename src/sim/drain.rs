//! Servers that are drained, and rolling restarts.

use super::checks::Check;
use super::cluster::World;
use super::events::Event;
use super::network::{Host, Seat};
use super::story::Stage;
use crate::node::server::DrainView;
use crate::wire::Time;
use std::time::Duration;

/// How long a drained server goes on, for the sake of requests that were on their way to it.
const LINGER: Duration = Duration::from_millis(100);
/// How often a server that was told to stop looks whether it has drained.
const STOP_INTERVAL: Duration = Duration::from_millis(20);
/// How long a server that was told to stop drains at the most.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

impl World {
    /// Drains a server, and lets it take clients again later.
    pub(super) fn drain_for_a_while(&mut self, place: usize) {
        self.drain(place);
        let length = self.between(1, 4_000);
        self.schedule(length, Event::Undrain { place });
    }

    /// Drains a server until the story's rest, and another one at the same time where that leaves
    /// enough of them: they must not hand clients to and fro.
    pub(super) fn drain_for_good(&mut self, place: usize) {
        self.drained.push(place);
        self.drain(place);
        if self.servers.len() > 3 {
            let place = (place + 1) % self.servers.len();
            self.drained.push(place);
            let delay = self.between(0, 3);
            self.schedule(delay, Event::Drain { place });
        }
    }

    /// Has a server hand over all its clients.
    pub(super) fn drain(&mut self, place: usize) {
        self.trace.line(self.now, || format!("#### server {place} drains"));
        self.with_workers(place, |world, seat| {
            world.with_server(seat, |machine, now| machine.handle_drain(now));
        });
    }

    /// Has a server take clients again.
    pub(super) fn undrain(&mut self, place: usize) {
        self.with_workers(place, |world, seat| {
            world.with_server(seat, |machine, now| machine.handle_undrain(now));
        });
    }

    /// A server is told to stop: it drains, ends and is back later, perhaps as another release.
    pub(super) fn restart_gently(&mut self, place: usize) {
        let host = Host::Server(place);
        if self.is_awake(host) {
            self.drain(place);
            let (life, until) = (self.life(host), self.now + DRAIN_TIMEOUT);
            self.schedule(STOP_INTERVAL, Event::Stop { host, life, until });
        }
    }

    /// One server after the other is restarted, sooner or later than the one before is back.
    pub(super) fn restart_in_turn(&mut self) {
        for place in 0..self.servers.len() {
            let delay = self.between(0, 1_500) + Duration::from_millis(1_000) * place as u32;
            self.schedule(delay, Event::Roll { place });
        }
    }

    /// A server that was told to stop looks whether it may.
    pub(super) fn stop_when_drained(&mut self, host: Host, until: Time) {
        let Host::Server(place) = host else {
            return;
        };
        if !matches!(self.stage, Stage::Rough | Stage::Struck) {
            return self.undrain(place);
        }
        let view = self.drain_view(place);
        if view.is_done() && until > self.now + LINGER {
            let (life, until) = (self.life(host), self.now + LINGER);
            return self.schedule(LINGER, Event::Stop { host, life, until });
        }
        if view.is_done() || view.ready_servers == 0 || self.now >= until {
            self.trace.line(self.now, || format!("#### {host:?} stops: {view:?}"));
            self.kill(host);
            let down = self.between(1, 500);
            self.schedule(down, Event::Start { host });
        } else {
            let life = self.life(host);
            self.schedule(STOP_INTERVAL, Event::Stop { host, life, until });
        }
    }

    /// At the end of a story in which one server drained and nothing else happened.
    pub(super) fn check_drained(&mut self, place: usize) {
        let view = self.drain_view(place);
        if !view.is_done() {
            self.fail(Check::Drain, format!("server {place} after some seconds: {view:?}"));
        }
        let views = self.routers.iter().flat_map(|router| &router.workers);
        let takeovers: u64 = views.map(|worker| worker.machine.view().counters.takeovers).sum();
        if takeovers > 0 {
            self.fail(Check::Drain, format!("routers had to ask for {takeovers} takeovers"));
        }
    }

    fn drain_view(&self, place: usize) -> DrainView {
        let views = self.servers[place].workers.iter().map(|it| it.machine.drain_view());
        let sum = |mut sum: DrainView, view: DrainView| {
            sum.add(&view);
            sum
        };
        views.reduce(sum).unwrap_or_default()
    }

    fn with_workers(&mut self, place: usize, mut what: impl FnMut(&mut Self, Seat)) {
        for worker in 0..self.servers[place].workers.len() {
            what(self, (place, worker));
        }
    }
}
