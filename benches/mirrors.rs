//! What a server keeps for each client, in resident memory of the process: for clients that it
//! services and for clients that it would take over, with no entries in their mirrors and with many.
//!
//! `cargo bench --bench mirrors` takes about a minute and 2 GB at the most. `-- --clients 1000000`
//! sets the clients of the rows up to 16 entries, `--entries 0,16`, `--keys 10000` the rest, and
//! `--json` prints the figures for programs.
//!
//! Each row is a process of its own, in which one worker of a server is filled through its real
//! inputs: MIRROR_BEGIN and MIRROR from another server, or requests from a router. What all clients
//! share (keys, fingerprints, items at hand) is there before the measured clients come, and is
//! stated apart. The numbers of clients fill a hash table that doubles badly: just after it has.
//!
//! Of clients that it services a row also says what a request costs, in time of the processor: one
//! for a random client's random slot, answered with use-cached.

use rustix::time::{ClockId, clock_gettime};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use understudy::cluster::Tally;
use understudy::mirror::{Freshness, Version};
use understudy::node::Planted;
use understudy::node::server::{
    CallResponse, Called, Link, Output, Retrieved, Server, ServerConfig, TURN_INTERVAL,
};
use understudy::wire::backplane::{Forward, How, Message, SelfState, Status};
use understudy::wire::lane::{Call, Get, MAX_SLOTS, Validator};
use understudy::wire::session::VERSION;
use understudy::wire::{ClientId, Epoch, Frame, HeaderBlock, Key, Name, Time};

// The allocator of the real binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes that a mirrored entry may take.
const ENTRY: f64 = 8.0;
/// Rows with more entries have fewer clients, so that all take about as long.
const FULL_ROW: u64 = 16;
const ROUTER: Link = Link::Router(1);
/// Requests whose cost is measured.
const REQUESTS: u64 = 1_000_000;
/// Time that passes with each message.
const STEP: Duration = Duration::from_micros(1);

fn name(text: &str) -> Name {
    Name::new(text).expect("it is a name")
}

fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Ids look drawn at random, as a router's are.
fn client(number: u64) -> ClientId {
    let halves = [scramble(2 * number), scramble(2 * number + 1)];
    ClientId((u128::from(halves[0]) << 64 | u128::from(halves[1])).to_be_bytes())
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Primary,
    Alternate,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Alternate => "alternate",
        }
    }
}

/// What one process fills and measures.
#[derive(Clone, Copy)]
struct Row {
    part: Part,
    entries: u64,
    clients: u64,
    keys: u64,
}

/// One worker of a server, and all whom it talks with.
struct World {
    server: Server,
    items: Vec<(Key, Version)>,
    now: Time,
    turned: Time,
    statuses: u64,
}

impl World {
    fn new(keys: u64) -> Self {
        let config = ServerConfig {
            name: name("a"),
            worker: 0,
            workers: 1,
            zone: None,
            threshold: u64::MAX,
            capacity: u64::MAX,
            slots: MAX_SLOTS,
            passes_http: false,
            memory: 1 << 30,
            client_idle_timeout: Duration::from_secs(600),
            rebuild_batch: 256,
            incarnation: 1,
            pid: 1,
            admin: String::new(),
            planted: Planted::default(),
        };
        let item = |number: u64| {
            let key = format!("/items/{number}").parse().expect("it is a key");
            let body = number.to_be_bytes().to_vec().into();
            (key, Version::new(HeaderBlock::default(), body))
        };
        let mut server = Server::new(config, Arc::<Tally>::default());
        let now = Time::from_micros(1_700_000_000_000_000);
        server.handle_router_up(now, &ROUTER, VERSION);
        server.handle_peer_up(now, &name("b"), 1, VERSION);
        let items = (0..keys).map(item).collect();
        let mut world = Self { server, items, now, turned: now, statuses: 0 };
        world.turn();
        world
    }

    fn peer() -> Link {
        Link::Server(name("b"), 0)
    }

    /// What happens from time to time: the loop turns, and the other server says that it is well.
    fn turn(&mut self) {
        self.statuses += 1;
        let status = Status {
            name: name("b"),
            incarnation: 1,
            sequence: self.statuses,
            zone: None,
            state: SelfState::Ready,
            primary_clients: self.statuses,
            alternate_clients: 0,
            threshold: u64::MAX,
            capacity: u64::MAX,
            handed_on_clients: 0,
            must_served_clients: 0,
            released_clients: 0,
            pid: 1,
            admin: String::new(),
        };
        self.turned = self.now;
        self.hear(&Self::peer(), Message::Status(status));
        self.server.handle_timeout(self.now);
        self.drain();
    }

    fn hear(&mut self, from: &Link, message: Message) {
        self.now += STEP;
        self.server.handle_message(self.now, from, message);
        self.drain();
        if self.now.since(self.turned) >= TURN_INTERVAL / 2 {
            self.turn();
        }
    }

    /// Answers as source and as alternate.
    fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Retrieve { ticket, key, .. } => {
                    let number: usize = key.as_str()["/items/".len()..].parse().expect("ours");
                    let version = Retrieved::Version(self.items[number].1.clone());
                    let hour = Freshness::lasting(Duration::from_secs(3600));
                    self.server.handle_retrieved(self.now, ticket, version, hour);
                }
                Output::Call { ticket, .. } => {
                    let done = Called::Answered(CallResponse::new(200, ""));
                    self.server.handle_called(self.now, ticket, done);
                }
                Output::Send { message, .. } => {
                    if let Message::Mirror { client, epoch, sequence, .. } = *message {
                        let ack = Message::MirrorAck { client, epoch, sequence };
                        self.server.handle_message(self.now, &Self::peer(), ack);
                    }
                }
                _ => {}
            }
        }
    }

    /// Which item a client holds in a slot.
    fn item(&self, number: u64, slot: u64) -> u64 {
        scramble(number << 20 | slot) % self.items.len() as u64
    }

    fn fill(&mut self, part: Part, number: u64, items: impl Iterator<Item = u64>) {
        match part {
            Part::Primary => self.fill_primary(number, items),
            Part::Alternate => self.fill_alternate(number, items),
        }
    }

    fn fill_primary(&mut self, number: u64, items: impl Iterator<Item = u64>) {
        // A call is a request that leaves nothing in a mirror.
        let (headers, body) = (HeaderBlock::default(), bytes::Bytes::new());
        let key = self.items[0].0.clone();
        let call = Call { request_id: 5, idempotent: true, key, headers, body };
        self.forward(number, (0, How::Assign), call.encode());
        for (slot, item) in items.enumerate() {
            let key = Some(self.items[item as usize].0.clone());
            let validator = Validator::None;
            let get = Get { request_id: 5, slot: slot as u64, key, validator };
            self.forward(number, (0, How::Assign), get.encode());
        }
    }

    /// Asks for what clients hold, as a router does that knows their assignments. Gives the
    /// nanoseconds of a request.
    fn ask(&mut self, row: Row) -> f64 {
        let get = |slot| Get { request_id: 5, slot, key: None, validator: Validator::None };
        let frames: Vec<_> = (0..row.entries).map(|slot| get(slot).encode()).collect();
        let before = processor_seconds();
        for turn in 0..REQUESTS {
            let random = scramble(turn);
            let frame = frames[(random >> 32) as usize % frames.len()].clone();
            self.forward(random % row.clients, (1, How::Known), frame);
        }
        (processor_seconds() - before) * 1e9 / REQUESTS as f64
    }

    fn forward(&mut self, number: u64, (change, how): (u64, How), inner: Frame) {
        let forward = Forward {
            resume: None,
            takes_deltas: true,
            request_id: 7,
            client: client(number),
            term: 1,
            change,
            primary: None,
            how,
            deadline_ms: 1000,
            former: Vec::new(),
            inner,
        };
        self.hear(&ROUTER, Message::Forward(forward));
    }

    fn fill_alternate(&mut self, number: u64, items: impl Iterator<Item = u64>) {
        let (client, epoch) = (client(number), Epoch { change: 1, ..Epoch::new(1, name("b")) });
        let begin = Message::MirrorBegin { client, epoch: epoch.clone(), former: Vec::new() };
        self.hear(&Self::peer(), begin);
        for (slot, item) in items.enumerate() {
            let (key, version) = &self.items[item as usize];
            let (slot, key) = (slot as u64, key.clone());
            let version = Some(*version.fingerprint());
            let (epoch, sequence) = (epoch.clone(), slot + 1);
            let mirror = Message::Mirror { client, epoch, sequence, slot, key, version };
            self.hear(&Self::peer(), mirror);
        }
    }
}

/// Resident bytes of this process.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    let kibibytes: f64 = line.trim_end_matches("kB").trim().parse().expect("a number");
    kibibytes * 1024.0
}

fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What came of a row.
#[derive(Clone, Copy)]
struct Figures {
    /// Bytes for each measured client.
    client: f64,
    /// Bytes for what all share, altogether.
    shared: f64,
    /// Nanoseconds of a request; zero where none was measured.
    request: f64,
    seconds: f64,
}

/// Fills a server in this process, and prints by how much it has grown.
fn measure(row: Row) {
    let started = Instant::now();
    let mut world = World::new(row.keys);
    let empty = resident();
    world.fill(row.part, u64::MAX >> 20, 0..row.keys);
    let before = resident();
    for number in 0..row.clients {
        let items: Vec<_> = (0..row.entries).map(|slot| world.item(number, slot)).collect();
        world.fill(row.part, number, items.into_iter());
    }
    // What is acknowledged late is acknowledged.
    world.now += TURN_INTERVAL;
    world.turn();
    let grown = resident() - before;
    let view = world.server.view();
    let listed = match row.part {
        Part::Primary => view.primary_clients,
        Part::Alternate => view.alternate_clients,
    };
    assert_eq!(listed, row.clients + 1, "all are listed");
    assert_eq!(world.server.mirror_entries(&client(0)).count() as u64, row.entries);
    let asks = row.part == Part::Primary && row.entries > 0;
    let request = if asks { world.ask(row) } else { 0.0 };
    let (client, shared) = (grown / row.clients as f64, before - empty);
    println!("{client} {shared} {request} {}", started.elapsed().as_secs_f64());
}

/// The same in a process of its own, in which nothing else was ever allocated.
fn measure_apart(row: Row) -> Figures {
    let Row { part, entries, clients, keys } = row;
    let numbers = [entries, clients, keys].map(|number| number.to_string());
    let own = std::env::current_exe().expect("a program knows where it is");
    let run = Command::new(own).args(["--row", part.as_str()]).args(numbers).output();
    let output = run.expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    let numbers: Vec<f64> = text.split_whitespace().map(|it| it.parse().expect("one")).collect();
    Figures { client: numbers[0], shared: numbers[1], request: numbers[2], seconds: numbers[3] }
}

/// What is asked for.
struct Plan {
    clients: u64,
    entries: Vec<u64>,
    keys: u64,
    json: bool,
}

impl Plan {
    fn read(arguments: &[String]) -> Self {
        let mut plan =
            Self { clients: 1_000_000, entries: vec![0, 1, 16, 64], keys: 10_000, json: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} has a value"));
            match argument.as_str() {
                "--clients" => plan.clients = value().parse().expect("a number"),
                "--keys" => plan.keys = value().parse().expect("a number"),
                "--entries" => {
                    let numbers = value().split(',').map(|it| it.parse().expect("a number"));
                    plan.entries = numbers.collect();
                }
                "--json" => plan.json = true,
                // Cargo says that.
                "--bench" => {}
                other => panic!("unknown argument {other}"),
            }
        }
        plan
    }

    /// Fewer clients where each has more entries, by a power of two: hash tables are as full.
    fn clients_with(&self, entries: u64) -> u64 {
        let parts = (entries / FULL_ROW).max(1).next_power_of_two();
        self.clients / (parts * if parts > 1 { 2 } else { 1 })
    }

    fn run(&self) {
        let mut rows = Vec::new();
        for part in [Part::Primary, Part::Alternate] {
            if !self.json {
                println!("\nbytes of a client as {}, and beyond {ENTRY} an entry", part.as_str());
            }
            let mut last: Option<(u64, f64)> = None;
            for entries in &self.entries {
                let clients = self.clients_with(*entries);
                let row = Row { part, entries: *entries, clients, keys: self.keys };
                let figures = measure_apart(row);
                let beyond = figures.client - ENTRY * *entries as f64;
                let step = last
                    .filter(|(before, _)| before < entries)
                    .map(|(before, bytes)| (figures.client - bytes) / (*entries - before) as f64);
                last = Some((*entries, figures.client));
                if self.json {
                    rows.push(json(row, figures, beyond));
                    continue;
                }
                let step = step.map_or(String::new(), |step| format!("{step:.2} each more entry"));
                let request = match figures.request {
                    0.0 => String::new(),
                    request => format!("{request:.0} ns a request"),
                };
                println!(
                    "{clients:9} clients x {entries:3}: {:8.1} {beyond:8.1}   {step:24} \
                     {request:18} (shared {:.1} MB, {:.1} s)",
                    figures.client,
                    figures.shared / 1e6,
                    figures.seconds
                );
            }
        }
        if self.json {
            println!("[{}]", rows.join(",\n "));
        }
    }
}

fn json(row: Row, figures: Figures, beyond: f64) -> String {
    format!(
        r#"{{"role": "{}", "clients": {}, "entries": {}, "keys": {}, "client_bytes": {:.1}, "beyond_entries_bytes": {beyond:.1}, "shared_bytes": {}, "request_ns": {:.1}}}"#,
        row.part.as_str(),
        row.clients,
        row.entries,
        row.keys,
        figures.client,
        figures.shared,
        figures.request
    )
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [first, part, entries, clients, keys] = &arguments[..]
        && first == "--row"
    {
        let part = if part == "primary" { Part::Primary } else { Part::Alternate };
        let number = |text: &String| text.parse().expect("a number");
        let (entries, clients, keys) = (number(entries), number(clients), number(keys));
        return measure(Row { part, entries, clients, keys });
    }
    Plan::read(&arguments).run();
}
