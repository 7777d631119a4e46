//! The order of things: a story in which things break, then rest, in which everything must be well.

use super::checks::Check;
use super::client::Expected;
use super::cluster::World;
use super::events::Event;
use super::network::{ACCEPTOR, Connection, DIALLER, Host};
use super::plan::Mood;
use crate::node::client::ValidatorPolicy;
use crate::wire::Key;
use crate::wire::session::Versions;
use rand::RngExt;
use rand::seq::SliceRandom;
use std::time::Duration;

/// Where the story is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Links come up.
    Begin,
    /// Clients ask, items change, things break.
    Rough,
    /// Every client asks for what it will ask for again.
    Warm,
    /// One server or router has failed, or is about to.
    Struck,
    /// Everything is healed, and has time to find itself again.
    Settling,
    /// Everybody asks for everything.
    AskAll,
    /// Everybody asks for a few things that do not change...
    AskFew,
    /// ...and again.
    AskAgain,
    /// Everybody asks for all that he holds, at once.
    Refresh,
    /// Nothing happens any more.
    Quiet,
    /// The story is over.
    End,
}

impl Stage {
    pub(super) fn is_rest(self) -> bool {
        matches!(self, Self::AskAll | Self::AskFew | Self::AskAgain | Self::Refresh | Self::Quiet)
    }
}

/// Longer than any timeout of a machine, one after the other.
const SETTLE: Duration = Duration::from_secs(9);

impl World {
    /// Begins the next stage.
    pub(super) fn next_stage(&mut self) {
        let (stage, length) = match self.stage {
            Stage::Begin if self.plan.mood == Mood::OneFailure => (Stage::Warm, self.begin_warm()),
            Stage::Begin => (Stage::Rough, self.begin_rough()),
            Stage::Warm => (Stage::Struck, self.strike()),
            Stage::Rough | Stage::Struck => {
                for place in std::mem::take(&mut self.drained) {
                    self.check_drained(place);
                }
                (Stage::Settling, self.settle())
            }
            Stage::Settling => {
                self.stage = Stage::AskAll;
                (Stage::AskAll, self.ask_all())
            }
            Stage::AskAll => {
                self.check_all_ended();
                (Stage::AskFew, self.ask_few(Expected::Answer))
            }
            Stage::AskFew => {
                self.check_all_ended();
                (Stage::AskAgain, self.ask_few(Expected::UseCached))
            }
            Stage::AskAgain => {
                self.check_all_ended();
                self.stage = Stage::Refresh;
                self.live_clients().into_iter().for_each(|place| self.refresh_unchanged(place));
                (Stage::Refresh, super::router::REQUEST_TIMEOUT)
            }
            Stage::Refresh => {
                self.check_all_ended();
                (Stage::Quiet, Duration::from_millis(1_500))
            }
            Stage::Quiet | Stage::End => {
                self.check_rest();
                (Stage::End, Duration::ZERO)
            }
        };
        self.stage = stage;
        self.trace.line(self.now, || format!("==== {stage:?}"));
        self.schedule(length, Event::Stage);
    }

    fn begin_rough(&mut self) -> Duration {
        let change = self.between(0, self.plan.change_ms);
        self.schedule(change, Event::Change);
        if self.plan.mood == Mood::Rough {
            let fault = self.between(0, self.plan.fault_ms);
            self.schedule(fault, Event::Fault);
        }
        self.plan.story
    }

    /// Every client asks for a few items, once links are up.
    fn begin_warm(&mut self) -> Duration {
        let second = Duration::from_secs(1);
        for place in 0..self.clients.len() {
            let (host, life) = (Host::Client(place), self.life(Host::Client(place)));
            self.schedule(second, Event::Work { host, life });
        }
        3 * second
    }

    /// One server fails in one way, and is back later, or is drained; or one router fails, if there
    /// is another.
    fn strike(&mut self) -> Duration {
        if self.routers.len() > 1 && self.random.random_bool(0.5) {
            self.router_failed = true;
            let place = self.random.random_range(0..self.routers.len());
            self.fail_router(place);
        } else {
            let place = self.random.random_range(0..self.servers.len());
            let how = self.random.random_range(0..10);
            self.server_failed = how < 5;
            match how {
                0..4 => self.fail_server(place),
                4..5 => {
                    self.server_flaps = true;
                    self.flap(place);
                }
                5..7 => self.restart_gently(place),
                _ => self.drain_for_good(place),
            }
        }
        for place in 0..self.clients.len() {
            self.clients[place].moves = 0;
            for most in [100, 1_500, 3_000, 4_000, 6_000] {
                let delay = self.between(0, most);
                let (host, life) = (Host::Client(place), self.life(Host::Client(place)));
                self.schedule(delay, Event::Work { host, life });
            }
        }
        Duration::from_secs(8)
    }

    /// Heals everything, and ends all that would disturb the rest.
    fn settle(&mut self) -> Duration {
        // Whoever starts from now on is of this release: the upgrade comes to its end.
        self.stage = Stage::Settling;
        self.cuts.clear();
        self.pump_all();
        self.plan.stall_chance = 0.0;
        self.plan.body_break_chance = 0.0;
        self.end_misled_links();
        let now = self.now;
        self.source.repair(&mut self.random, now);
        for host in self.hosts().collect::<Vec<_>>() {
            self.thaw(host);
            if self.versions(host) != Versions::ALL {
                self.kill(host);
            }
            if let Host::Server(place) = host {
                self.undrain(place);
            }
            // Two processes with one token take turns for ever: the older one goes.
            match host {
                Host::Client(place) if self.clients[place].cloned => self.retire(place),
                _ => self.start(host),
            }
        }
        SETTLE
    }

    /// Routers find out at the first request that goes wrong; what is on its way then is lost with
    /// the links.
    fn end_misled_links(&mut self) {
        self.plan.misled_chance = 0.0;
        let misled = |world: &Self, it: &Connection| match it.ends[ACCEPTOR].host {
            Host::Server(place) => it.workers < world.servers[place].workers.len(),
            _ => false,
        };
        let ids: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| misled(self, connection))
            .map(|(id, _)| *id)
            .collect();
        for connection in ids {
            self.schedule(Duration::ZERO, Event::Closed { connection, end: DIALLER });
        }
    }

    fn retire(&mut self, place: usize) {
        self.kill(Host::Client(place));
        self.clients[place].retired = true;
    }

    /// The places of clients that go on to the end.
    pub(super) fn live_clients(&self) -> Vec<usize> {
        (0..self.clients.len()).filter(|place| !self.clients[*place].retired).collect()
    }

    fn ask_all(&mut self) -> Duration {
        let mut keys = self.source.keys().to_vec();
        for place in self.live_clients() {
            keys.shuffle(&mut self.random);
            for key in &keys {
                let policy = self.random_policy();
                self.get(place, key, policy, Expected::Answer);
            }
            self.call_of_client(place, Expected::Answer);
        }
        for place in 0..self.callers.len() {
            self.make_last_call(place);
        }
        for place in 0..self.browsers.len() {
            self.ask_all_of_browser(place, Expected::Answer);
        }
        super::router::REQUEST_TIMEOUT * 2
    }

    fn ask_few(&mut self, expected: Expected) -> Duration {
        for place in 0..self.browsers.len() {
            self.ask_all_of_browser(place, expected);
        }
        for place in self.live_clients() {
            if expected == Expected::UseCached && self.random.random() {
                self.get_many(place, self.cacheable_keys(), |_| expected);
                continue;
            }
            for key in self.cacheable_keys() {
                let policy = match expected {
                    Expected::UseCached => self.random_policy(),
                    _ => ValidatorPolicy::Strong,
                };
                self.get(place, &key, policy, expected);
            }
        }
        super::router::REQUEST_TIMEOUT
    }

    /// Two keys whose items together fit the half of the cache that is not kept for items which
    /// were asked for again.
    pub(super) fn cacheable_keys(&self) -> Vec<Key> {
        let small = |key: &&Key| {
            let super::source::State::Present(version) = self.source.state(key) else {
                return false;
            };
            let cost = version.body().len() as u64 + 1_000;
            self.source.kind(key).is_mirrored() && cost * 4 <= self.plan.cache_bytes
        };
        self.source.keys().iter().filter(small).take(2).cloned().collect()
    }

    /// Every client has had the time to be served.
    fn check_all_ended(&mut self) {
        for place in self.live_clients() {
            let open = self.clients[place].tickets.values().next();
            if let Some(ticket) = open {
                let what = format!("client {place} waits for {}", ticket.key);
                self.fail(Check::Rest, what);
            }
            if !self.clients[place].calls.is_empty() {
                self.fail(Check::Rest, format!("client {place} waits for a call"));
            }
        }
        for place in 0..self.browsers.len() {
            let browser = &self.browsers[place];
            if !browser.is_done() {
                let what = format!("browser {place} waits for {:?}", browser.open);
                self.fail(Check::Rest, what);
            }
        }
    }
}
