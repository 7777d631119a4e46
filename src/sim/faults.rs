//! What breaks.

use super::cluster::World;
use super::disk::Disk;
use super::events::Event;
use super::network::Host;
use super::story::Stage;
use rand::RngExt;
use std::time::Duration;

/// Servers that join a running cluster, and processes that copy a client, at the most.
const MAX_ADDED: usize = 2;
/// How often a server stands still that flaps...
const FLAPS: u32 = 4;
/// ...and how long after the time before.
const FLAP_INTERVAL: Duration = Duration::from_millis(1_500);

impl World {
    /// One thing breaks, or several at once.
    pub(super) fn cause_fault(&mut self) {
        if self.stage != Stage::Rough {
            return;
        }
        let count = [1, 1, 1, 2, 3][self.random.random_range(0..5)];
        for _ in 0..count {
            self.cause_one();
        }
        let next = self.between(0, 2 * self.plan.fault_ms);
        self.schedule(next, Event::Fault);
    }

    fn cause_one(&mut self) {
        let server = self.random.random_range(0..self.servers.len());
        let router = self.random.random_range(0..self.routers.len());
        match self.random.random_range(0..100) {
            0..20 => self.fail_server(server),
            20..35 => self.break_connection(),
            35..45 => self.cut_pair(),
            45..50 => self.cut_off(Host::Router(router)),
            50..55 => self.restart(Host::Router(router)),
            55..60 => self.pause(Host::Router(router)),
            60..80 => self.trouble_client(),
            80..83 if self.servers.len() < self.plan.servers + MAX_ADDED => self.add_server(),
            83..86 => self.restart_all_servers(),
            86..89 => self.restart_in_turn(),
            89..93 => self.drain_for_a_while(server),
            93..96 => self.restart_gently(server),
            96..99 => self.spread_rumour(server),
            _ => self.fail_server(server),
        }
    }

    /// Membership calls a server gone, whether it is true or not, and some hear of it.
    fn spread_rumour(&mut self, place: usize) {
        let name = self.servers[place].name.clone();
        self.trace.line(self.now, || format!("#### {name} is said to be gone"));
        for other in (0..self.servers.len()).filter(|other| *other != place) {
            if self.is_awake(Host::Server(other)) && self.random.random_bool(0.8) {
                for worker in 0..self.servers[other].workers.len() {
                    self.with_server((other, worker), |machine, now| {
                        machine.handle_peer_gone(now, &name);
                    });
                }
            }
        }
        for router in 0..self.routers.len() {
            if self.is_awake(Host::Router(router)) && self.random.random_bool(0.8) {
                for worker in 0..self.routers[router].workers.len() {
                    self.with_router((router, worker), |machine, now| {
                        machine.handle_server_gone(now, &name);
                    });
                }
            }
        }
    }

    /// A server is killed, frozen or cut off, and is back later.
    pub(super) fn fail_server(&mut self, place: usize) {
        let host = Host::Server(place);
        match self.random.random_range(0..3) {
            0 => self.restart(host),
            1 => self.pause(host),
            _ => self.cut_off(host),
        }
    }

    /// A router is killed, frozen or cut off from all others, and is back later.
    pub(super) fn fail_router(&mut self, place: usize) {
        let host = Host::Router(place);
        match self.random.random_range(0..3) {
            0 => self.restart(host),
            1 => self.pause(host),
            _ => {
                self.trace.line(self.now, || format!("#### {host:?} is cut off"));
                for other in self.hosts().filter(|other| *other != host).collect::<Vec<_>>() {
                    self.cut(host, other, true);
                }
                let length = self.between(50, 5_000);
                self.schedule(length, Event::Heal { host });
            }
        }
    }

    fn restart(&mut self, host: Host) {
        self.trace.line(self.now, || format!("#### {host:?} is killed"));
        self.kill(host);
        let down = self.between(1, 4_000);
        self.schedule(down, Event::Start { host });
    }

    /// Everything that servers know is lost at once.
    fn restart_all_servers(&mut self) {
        for place in 0..self.servers.len() {
            self.restart(Host::Server(place));
        }
    }

    fn pause(&mut self, host: Host) {
        if self.is_awake(host) {
            self.trace.line(self.now, || format!("#### {host:?} is frozen"));
            self.freeze(host);
            let pause = self.between(50, 4_500);
            self.schedule(pause, Event::Thaw { host });
        }
    }

    /// A server stands still for a moment, again and again.
    pub(super) fn flap(&mut self, place: usize) {
        for turn in 0..FLAPS {
            let delay = FLAP_INTERVAL * turn;
            self.schedule(delay, Event::Flap { place });
        }
    }

    pub(super) fn stand_still(&mut self, place: usize) {
        let host = Host::Server(place);
        if self.is_awake(host) {
            self.trace.line(self.now, || format!("#### {host:?} stands still"));
            self.freeze(host);
            let pause = self.between(300, 1_200);
            self.schedule(pause, Event::Thaw { host });
        }
    }

    /// A host cannot be reached by any other, or not by those of one sort, or cannot reach them.
    fn cut_off(&mut self, host: Host) {
        let sort = self.random.random_range(0..4);
        let both = self.random.random_bool(0.8);
        let inward = self.random.random_bool(0.5);
        self.trace
            .line(self.now, || format!("#### {host:?} is cut off ({sort}, {both}, {inward})"));
        for other in self.hosts().collect::<Vec<_>>() {
            let included = match (sort, other) {
                (0 | 1, _) => true,
                (2, other) => matches!(other, Host::Server(_)),
                (_, other) => !matches!(other, Host::Server(_)),
            };
            if other != host && included {
                let (from, to) = if inward { (other, host) } else { (host, other) };
                self.cut(from, to, both);
            }
        }
        let length = self.between(50, 5_000);
        self.schedule(length, Event::Heal { host });
    }

    /// Two hosts cannot reach each other.
    fn cut_pair(&mut self) {
        let hosts: Vec<_> = self.hosts().collect();
        let one = hosts[self.random.random_range(0..hosts.len())];
        let other = hosts[self.random.random_range(0..hosts.len())];
        if one != other {
            self.trace.line(self.now, || format!("#### {one:?} and {other:?} are cut"));
            let both = self.random.random_bool(0.8);
            self.cut(one, other, both);
            let length = self.between(50, 5_000);
            self.schedule(length, Event::Heal { host: one });
        }
    }

    /// A connection loses what is on its way, and both ends notice in their own time.
    fn break_connection(&mut self) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.random.random_range(0..ids.len())];
        self.trace.line(self.now, || format!("#### connection {id} breaks"));
        self.sever(id);
        for end in 0..2 {
            let delay = if self.random.random_bool(0.5) {
                Duration::from_micros(self.random.random_range(0..20_000))
            } else {
                self.idle_timeout()
            };
            self.schedule(delay, Event::Closed { connection: id, end });
        }
    }

    fn trouble_client(&mut self) {
        let place = self.random.random_range(0..self.clients.len());
        let host = Host::Client(place);
        if !self.is_running(host) {
            return;
        }
        match self.random.random_range(0..4) {
            // It starts again with its cache...
            0 => self.restart(host),
            // ...or without.
            1 => {
                self.restart(host);
                self.clients[place].disk = Disk::default();
                self.clients[place].cloned = false;
            }
            2 if self.clients.len() < self.plan.clients + MAX_ADDED => {
                self.trace.line(self.now, || format!("#### {host:?} is copied"));
                self.clone_client(place);
            }
            _ => self.cut_off(host),
        }
    }

    /// Stops a process without ending it.
    pub(super) fn freeze(&mut self, host: Host) {
        if let Some(process) = self.processes.get_mut(&host) {
            process.frozen = true;
        }
        self.schedule_idle_checks(host);
    }

    /// Lets a frozen process go on: first it hears of what happened meanwhile, in order.
    pub(super) fn thaw(&mut self, host: Host) {
        let Some(process) = self.processes.get_mut(&host) else {
            return;
        };
        process.frozen = false;
        for event in std::mem::take(&mut process.inbox) {
            self.schedule(Duration::ZERO, event);
        }
    }

    /// Stops all bytes between two hosts, in one direction or both.
    pub(super) fn cut(&mut self, from: Host, to: Host, both: bool) {
        self.cuts.insert((from, to));
        if both {
            self.cuts.insert((to, from));
        }
        self.schedule_idle_checks(from);
    }

    /// Opens all paths from and to a host.
    pub(super) fn heal(&mut self, host: Host) {
        self.cuts.retain(|(from, to)| *from != host && *to != host);
        self.pump_all();
    }
}
