//! What applications and the owner of the items do.

use super::client::{Expected, Ticket};
use super::cluster::World;
use super::events::Event;
use super::network::Host;
use super::plan::{Mood, pick};
use super::story::Stage;
use crate::node::client::ValidatorPolicy;
use crate::wire::Key;
use rand::RngExt;

impl World {
    /// A host's application does something.
    pub(super) fn work(&mut self, host: Host) {
        match (self.stage, host) {
            (Stage::Begin | Stage::Rough, Host::Client(place)) => {
                self.check_overdue(place);
                self.check_overdue_calls(place);
                self.ask_some(place);
                self.work_again(host);
            }
            (Stage::Begin | Stage::Rough | Stage::Struck, Host::Caller(place)) => {
                self.work_of_caller(place);
                self.work_again(host);
            }
            (Stage::Begin | Stage::Rough | Stage::Struck, Host::Browser(place)) => {
                self.work_of_browser(place);
                self.work_again(host);
            }
            // What it asks for here it has, once it has asked before.
            (Stage::Warm, Host::Client(place)) => self.ask_for(place, Expected::Answer),
            (Stage::Struck, Host::Client(place)) if self.server_flaps => {
                self.ask_for(place, Expected::Answer);
            }
            (Stage::Struck, Host::Client(place)) => self.ask_for(place, Expected::UseCached),
            (_, Host::Client(place)) => self.check_overdue(place),
            _ => {}
        }
    }

    fn work_again(&mut self, host: Host) {
        let delay = self.between(0, 2 * self.plan.work_ms);
        let life = self.life(host);
        self.schedule(delay, Event::Work { host, life });
    }

    /// A burst of gets, of which some are for the same key.
    fn ask_some(&mut self, place: usize) {
        // In a story of one failure the clients wait until links are up.
        if self.plan.mood == Mood::OneFailure {
            return;
        }
        if self.random.random_bool(0.3) {
            self.refresh(place, Expected::Anything);
        }
        for _ in 0..self.random.random_range(1..=self.plan.burst) {
            let keys = self.source.keys().len();
            let key = self.source.keys()[self.random.random_range(0..keys)].clone();
            let policy = self.random_policy();
            self.get(place, &key, policy, Expected::Anything);
        }
        self.call_now_and_then(place);
    }

    fn ask_for(&mut self, place: usize, expected: Expected) {
        if expected == Expected::UseCached && self.random.random() {
            return self.get_many(place, self.cacheable_keys(), |_| expected);
        }
        for key in self.cacheable_keys() {
            let policy = match expected {
                Expected::UseCached => self.random_policy(),
                _ => ValidatorPolicy::Strong,
            };
            self.get(place, &key, policy, expected);
        }
    }

    pub(super) fn random_policy(&mut self) -> ValidatorPolicy {
        // A CRC twin is misunderstood without any loss: not in a story that checks for that.
        let with_crc = self.plan.mood != Mood::Calm;
        pick(
            &mut self.random,
            &[
                ValidatorPolicy::None,
                ValidatorPolicy::Strong,
                ValidatorPolicy::Auto,
                if with_crc { ValidatorPolicy::Crc } else { ValidatorPolicy::None },
            ],
        )
    }

    /// Asks for an item.
    pub(super) fn get(
        &mut self,
        place: usize,
        key: &Key,
        policy: ValidatorPolicy,
        expected: Expected,
    ) {
        let (ticket, now) = (self.fresh_number(), self.now);
        let process = &mut self.clients[place];
        let since = *process.shared.entry(key.clone()).or_insert(now);
        let asked = Ticket { key: key.clone(), asked: now, since, expected };
        self.trace.got(now, Host::Client(place), "application", &(ticket, &asked, policy));
        process.tickets.insert(ticket, asked);
        self.with_client(place, |machine, now| machine.get(ticket, key.clone(), policy, now));
    }

    /// Asks for many items at once.
    pub(super) fn get_many(
        &mut self,
        place: usize,
        keys: Vec<Key>,
        expected: impl Fn(&Key) -> Expected,
    ) {
        let now = self.now;
        let mut gets = Vec::new();
        for key in keys {
            let ticket = self.fresh_number();
            let process = &mut self.clients[place];
            let since = *process.shared.entry(key.clone()).or_insert(now);
            let expected = expected(&key);
            let asked = Ticket { key: key.clone(), asked: now, since, expected };
            self.trace.got(now, Host::Client(place), "application", &(ticket, &asked, "of many"));
            process.tickets.insert(ticket, asked);
            gets.push((ticket, key));
        }
        self.with_client(place, |machine, now| machine.get_many(gets, now));
    }

    /// A client asks for all that it holds, and now and then for something else as well.
    fn refresh(&mut self, place: usize, expected: Expected) {
        let machine = self.clients[place].machine.as_ref();
        let mut keys = machine.map_or(Vec::new(), |machine| machine.held_keys());
        if self.random.random_bool(0.3) {
            let place = self.random.random_range(0..self.source.keys().len());
            keys.push(self.source.keys()[place].clone());
        }
        self.get_many(place, keys, |_| expected);
    }

    /// A client asks for all that it holds, where nothing has changed since it asked before: none
    /// of it comes again, but what is made anew for each who asks.
    pub(super) fn refresh_unchanged(&mut self, place: usize) {
        let machine = self.clients[place].machine.as_ref();
        let keys = machine.map_or(Vec::new(), |machine| machine.held_keys());
        let made_anew: Vec<_> =
            keys.iter().filter(|key| !self.source.kind(key).is_mirrored()).cloned().collect();
        self.get_many(place, keys, |key| match made_anew.contains(key) {
            true => Expected::Answer,
            false => Expected::UseCached,
        });
    }

    /// An item changes.
    pub(super) fn change_item(&mut self) {
        if self.stage != Stage::Rough {
            return;
        }
        let now = self.now;
        let key = self.source.change(&mut self.random, now);
        let state = self.source.state(&key);
        self.trace.line(now, || match &state {
            super::source::State::Present(version) => {
                format!("{key} is now {}", key.tag(&version.fingerprint().digest))
            }
            other => format!("{key} is now {other:?}"),
        });
        let next = self.between(0, 2 * self.plan.change_ms);
        self.schedule(next, Event::Change);
    }
}
