//! The virtual world: its clock, its hosts, and the loop that lets one thing happen after another.

use super::browser::Browser;
use super::caller::Caller;
use super::calls::CallLedger;
use super::checks::Check;
use super::client::ClientProcess;
use super::counts::Counts;
use super::events::Event;
use super::network::{Connection, ConnectionId, Host};
use super::origin::Origin;
use super::plan::Plan;
use super::router::RouterProcess;
use super::server::ServerProcess;
use super::source::Source;
use super::story::Stage;
use super::trace::Trace;
use crate::node::Planted;
use crate::wire::Time;
use crate::wire::session::{OLDEST_VERSION, VERSION, Versions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Virtual time begins here.
const BEGIN: Time = Time::from_micros(1_700_000_000_000_000);
/// More steps than any story has: what goes on for longer goes round in circles.
const MAX_STEPS: u64 = 3_000_000;

/// What every host has.
#[derive(Debug)]
pub(super) struct Process {
    /// Which run it is.
    life: u64,
    running: bool,
    pub(super) frozen: bool,
    /// What happened to it while it was frozen.
    pub(super) inbox: Vec<Event>,
    /// For when the next turn of each worker is scheduled.
    armed: BTreeMap<usize, Time>,
    versions: Versions,
}

impl Default for Process {
    fn default() -> Self {
        let (inbox, armed) = (Vec::new(), BTreeMap::new());
        Self { life: 0, running: false, frozen: false, inbox, armed, versions: Versions::ALL }
    }
}

/// Everything.
pub(super) struct World {
    pub(super) now: Time,
    pub(super) random: StdRng,
    pub(super) plan: Plan,
    pub(super) planted: Planted,
    pub(super) stage: Stage,
    /// The servers that drain while nothing else happens.
    pub(super) drained: Vec<usize>,
    events: BTreeMap<(Time, u64), Event>,
    next_number: u64,
    pub(super) processes: BTreeMap<Host, Process>,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    /// Pairs of hosts between which nothing gets through, that way.
    pub(super) cuts: BTreeSet<(Host, Host)>,
    pub(super) servers: Vec<ServerProcess>,
    pub(super) routers: Vec<RouterProcess>,
    pub(super) clients: Vec<ClientProcess>,
    pub(super) callers: Vec<Caller>,
    pub(super) browsers: Vec<Browser>,
    pub(super) source: Source,
    pub(super) calls: CallLedger,
    pub(super) origin: Origin,
    pub(super) trace: Trace,
    pub(super) steps: u64,
    pub(super) answers: u64,
    pub(super) counts: Counts,
    /// A server is being told that an item is unchanged.
    pub(super) tells_unchanged: bool,
    /// In a story of one failure: a router was the one that failed.
    pub(super) router_failed: bool,
    /// In such a story: one server failed, again and again perhaps, and no other one.
    pub(super) server_failed: bool,
    /// Again and again: it may fail before its new alternate knows what it is to know.
    pub(super) server_flaps: bool,
    pub(super) failure: Option<(Check, String)>,
}

impl World {
    pub(super) fn new(seed: u64, planted: Planted, trace: Trace) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let plan = Plan::draw(&mut random).for_seed(seed);
        let source = Source::new(&mut random, plan.keys, BEGIN).leasing_for(seed);
        let mut world = Self {
            now: BEGIN,
            random,
            plan,
            planted,
            stage: Stage::Begin,
            drained: Vec::new(),
            events: BTreeMap::new(),
            next_number: 0,
            processes: BTreeMap::new(),
            connections: BTreeMap::new(),
            cuts: BTreeSet::new(),
            servers: Vec::new(),
            routers: Vec::new(),
            clients: Vec::new(),
            callers: Vec::new(),
            browsers: Vec::new(),
            source,
            calls: CallLedger::default(),
            origin: Origin::default(),
            trace,
            steps: 0,
            answers: 0,
            counts: Counts::default(),
            tells_unchanged: false,
            router_failed: false,
            server_failed: false,
            server_flaps: false,
            failure: None,
        };
        world.trace.line(BEGIN, || format!("{:?}", world.plan));
        world.found();
        world
    }

    /// Sets up the cluster that the plan describes, and lets it start.
    fn found(&mut self) {
        for _ in 0..self.plan.servers {
            self.add_server();
        }
        for _ in 0..self.plan.routers {
            self.add_router();
        }
        for _ in 0..self.plan.clients {
            self.add_client();
        }
        for _ in 0..self.plan.callers {
            self.add_caller();
        }
        for _ in 0..self.plan.browsers {
            self.add_browser();
        }
        self.schedule(Duration::ZERO, Event::Stage);
    }

    /// Lets the next thing happen; `false` at the end of the story, or when a check has failed.
    pub(super) fn step(&mut self) -> bool {
        if self.stage == Stage::End || self.failure.is_some() {
            return false;
        }
        let ((at, _), event) = self.events.pop_first().expect("a running world has a next event");
        self.now = at;
        self.steps += 1;
        if self.steps > MAX_STEPS {
            self.fail(Check::Livelock, format!("{MAX_STEPS} steps and no end"));
        }
        if self.is_stale(&event) {
            return true;
        }
        let host = self.host_of(&event);
        if let Some(process) = host.and_then(|host| self.processes.get_mut(&host))
            && process.frozen
        {
            process.inbox.push(event);
            return true;
        }
        self.trace.event(at, &event);
        self.happen(event);
        true
    }

    pub(super) fn schedule_at(&mut self, at: Time, event: Event) {
        let number = self.fresh_number();
        self.events.insert((at.max(self.now), number), event);
    }

    pub(super) fn fresh_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Has a host's worker called at `at`, or a little later as busy machines do.
    pub(super) fn arm(&mut self, host: Host, worker: usize, at: Time) {
        let lateness = Duration::from_micros(self.random.random_range(0..500));
        let Some(process) = self.processes.get_mut(&host) else {
            return;
        };
        let at = at.max(self.now);
        if process.armed.get(&worker).is_some_and(|armed| *armed <= at) {
            return;
        }
        process.armed.insert(worker, at);
        let life = process.life;
        self.schedule_at(at + lateness, Event::Turn { host, life, worker });
    }

    /// The turn of a host's worker came.
    pub(super) fn turn(&mut self, host: Host, worker: usize) {
        let now = self.now;
        if let Some(process) = self.processes.get_mut(&host)
            && process.armed.get(&worker).is_some_and(|armed| *armed <= now)
        {
            process.armed.remove(&worker);
        }
        match host {
            Host::Server(place) => self.turn_server((place, worker)),
            Host::Router(place) => self.turn_router((place, worker)),
            Host::Client(place) => self.turn_client(place),
            Host::Caller(place) => self.turn_caller(place),
            Host::Browser(place) => self.turn_browser(place),
        }
    }

    pub(super) fn life(&self, host: Host) -> u64 {
        self.processes.get(&host).map_or(0, |process| process.life)
    }

    /// Whether the host's process exists, frozen or not.
    pub(super) fn is_running(&self, host: Host) -> bool {
        self.processes.get(&host).is_some_and(|process| process.running)
    }

    /// Whether the host's process exists and gets to run.
    pub(super) fn is_awake(&self, host: Host) -> bool {
        self.processes.get(&host).is_some_and(|process| process.running && !process.frozen)
    }

    /// The protocol versions that the host's process speaks.
    pub(super) fn versions(&self, host: Host) -> Versions {
        self.processes.get(&host).map_or(Versions::ALL, |process| process.versions)
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = Host> {
        self.processes.keys().copied()
    }

    /// Starts a process, unless it runs.
    pub(super) fn start(&mut self, host: Host) {
        if self.is_running(host) {
            return;
        }
        let rough = matches!(self.stage, Stage::Begin | Stage::Rough);
        let is_member = matches!(host, Host::Server(_) | Host::Router(_));
        let mixed = rough && self.plan.mixed_versions && is_member;
        let older = mixed && self.random.random_bool(0.5);
        let before = self.random.random_range(OLDEST_VERSION..VERSION);
        let process = self.processes.entry(host).or_default();
        process.versions = if older { Versions::up_to(before) } else { Versions::ALL };
        process.life += 1;
        process.running = true;
        process.frozen = false;
        process.armed.clear();
        match host {
            Host::Server(place) => self.start_server(place),
            Host::Router(place) => self.start_router(place),
            Host::Client(place) => self.start_client(place),
            Host::Caller(place) => self.start_caller(place),
            Host::Browser(place) => self.start_browser(place),
        }
    }

    /// Ends a process at once; all that it did not send is lost, and some of what it did send.
    pub(super) fn kill(&mut self, host: Host) {
        let Some(process) = self.processes.get_mut(&host).filter(|process| process.running) else {
            return;
        };
        process.running = false;
        process.inbox.clear();
        self.count_process(host);
        match host {
            Host::Server(place) => self.servers[place].stop(),
            Host::Router(place) => self.routers[place].stop(),
            Host::Client(place) => self.stop_client(place),
            Host::Caller(place) => self.callers[place].stop(),
            Host::Browser(place) => self.browsers[place].stop(),
        }
        let mut ends = Vec::new();
        for (id, connection) in &self.connections {
            let found = connection.ends.iter().position(|end| end.host == host && end.open);
            ends.extend(found.map(|end| (*id, end)));
        }
        for (id, end) in ends {
            self.sever(id);
            self.give_up(id, end);
        }
    }

    /// Notes that a check failed; the first one counts.
    pub(super) fn fail(&mut self, check: Check, what: String) {
        let now = self.now;
        self.trace.line(now, || format!("FAILED {check}: {what}"));
        self.failure.get_or_insert((check, what));
    }
}
