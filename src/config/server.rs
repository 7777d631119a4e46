//! What a server is told.

use super::origin::{ORIGIN_KEYS, OriginUrl, read_origin};
use super::section::Section;
use super::shared::{self, BackplaneFiles};
use super::values::{PeerAddress, size_text};
use crate::wire::Name;
use crate::wire::session::Versions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Clients that a server services before it hands new ones on.
const DEFAULT_THRESHOLD: u64 = 10_000;
/// Capacity of a server that was given only a threshold: room for one other server's clients.
const CAPACITY_PER_THRESHOLD: u64 = 2;
/// The most clients a server can be told to service: mirrors alone would be terabytes.
const MAX_CAPACITY: u64 = 10_000_000;
/// Budget for the bytes of items.
const DEFAULT_MEMORY: u64 = 256 << 20;
/// Below this a server could hold next to nothing.
const MIN_MEMORY: u64 = 1 << 20;
/// No machine has more.
const MAX_MEMORY: u64 = 64 << 40;

/// Seconds after which a client that asks for nothing is forgotten.
const DEFAULT_CLIENT_IDLE_TIMEOUT_S: u64 = 3600;
/// Below this clients that ask now and then would come and go all the time.
const MIN_CLIENT_IDLE_TIMEOUT_S: u64 = 10;
/// A week: a token is worth nothing after that.
const MAX_CLIENT_IDLE_TIMEOUT_S: u64 = 7 * 24 * 3600;
/// Seconds in which a server that is told to stop hands its clients over.
const DEFAULT_DRAIN_TIMEOUT_S: u64 = 30;
/// Nobody waits longer for a process to end.
const MAX_DRAIN_TIMEOUT_S: u64 = 3600;

/// Milliseconds for which a watched file is taken for what it was when nothing is heard of it.
pub(crate) const DEFAULT_VERIFY_MS: u64 = 10_000;
/// An hour: who trusts events for longer would not notice that they are missing.
const MAX_VERIFY_MS: u64 = 3_600_000;
/// A day.
pub(crate) const MAX_TTL_MS: u64 = 86_400_000;

const _: () = assert!(DEFAULT_VERIFY_MS < MAX_VERIFY_MS);
const _: () = assert!(MIN_CLIENT_IDLE_TIMEOUT_S < DEFAULT_CLIENT_IDLE_TIMEOUT_S);
const _: () = assert!(DEFAULT_CLIENT_IDLE_TIMEOUT_S < MAX_CLIENT_IDLE_TIMEOUT_S);
const _: () = assert!(DEFAULT_DRAIN_TIMEOUT_S < MAX_DRAIN_TIMEOUT_S);
const _: () = assert!(DEFAULT_THRESHOLD * CAPACITY_PER_THRESHOLD <= MAX_CAPACITY);
const _: () = assert!(shared::DEFAULT_MAX_ITEM <= DEFAULT_MEMORY && DEFAULT_MEMORY <= MAX_MEMORY);

/// All that a server is told, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Who it is; its backplane certificate must be for this name.
    pub name: Name,
    /// Where routers and other servers come in (UDP).
    pub listen: SocketAddr,
    /// What they are told to dial, if it is another address.
    pub advertise: Option<SocketAddr>,
    /// Where its admin pages are (TCP).
    pub admin: Option<SocketAddr>,
    /// Where it stands; an alternate in another zone is preferred.
    pub zone: Option<Name>,
    /// Where other members are: servers, or routers that listen on the backplane.
    pub seeds: Vec<PeerAddress>,
    /// With so many clients as primary it hands the next new one on.
    pub threshold: u64,
    /// With so many clients as primary it answers BUSY; at least 1, at least the threshold.
    pub capacity: u64,
    /// How many workers; 0 stands for one per core, see [`super::worker_count`].
    pub workers: usize,
    /// What routers and servers see.
    pub backplane: BackplaneFiles,
    /// The protocol versions it speaks.
    pub versions: Versions,
    /// Its pool.
    pub pool: ServerPool,
    /// Budget for the bytes of items, in bytes; at least `max_item`.
    pub memory: u64,
    /// Items with more bytes than this are streamed and not mirrored.
    pub max_item: u64,
    /// A client that has asked for nothing for so long is forgotten.
    pub client_idle_timeout: Duration,
    /// How long it may take to hand all clients over when it is told to stop.
    pub drain_timeout: Duration,
}

/// A pool, as servers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPool {
    /// What it is called; routers must call theirs the same.
    pub name: Name,
    /// Where its items come from.
    pub source: SourceConfig,
}

/// Where items come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceConfig {
    /// The files below a directory.
    Directory {
        /// The directory.
        dir: PathBuf,
        /// How the server knows that a file has not changed.
        freshness: Freshness,
    },
    /// An HTTP origin.
    Http {
        /// Where it is.
        url: OriginUrl,
        /// How long it may take to begin an answer, and to go on with it.
        timeout: Duration,
        /// For so long what is known of an item may be served where the origin fails.
        stale_if_error: Duration,
    },
    /// The built-in sample.
    Sample,
    /// The program that runs the server, by [`crate::server::Builder::source`].
    Program,
}

impl SourceConfig {
    /// For how long an answer may be given after its time when the origin fails.
    pub fn stale_if_error(&self) -> Duration {
        match self {
            Self::Http { stale_if_error, .. } => *stale_if_error,
            _ => Duration::ZERO,
        }
    }
}

/// How a server knows that what it has is what the directory has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It asks the file system every time.
    Always,
    /// The file system tells it of changes.
    Watch {
        /// It asks all the same when it has not for so long: what the file system does not tell
        /// is noticed by then.
        verify: Duration,
    },
    /// It asks when it has not for a fixed time.
    Ttl {
        /// That time.
        ttl: Duration,
    },
}

/// Reads a server's configuration; what is wrong is reported to the document.
pub(super) fn read(root: &Section<'_>) -> Option<ServerConfig> {
    let name = shared::name(root, "name", || {
        root.missing("name", "name = \"server-1\", another for each server");
        None
    });
    let listen = shared::address(root, "listen", "0.0.0.0:4443");
    if listen.is_none() {
        root.missing("listen", "listen = \"0.0.0.0:4443\"");
    }
    let advertise = shared::advertise(root);
    let admin = shared::admin(root);
    let zone = shared::name(root, "zone", || None);
    let workers = shared::workers(root);
    let backplane_section = shared::backplane_section(root);
    let backplane = backplane_section.as_ref().and_then(shared::backplane_files);
    let versions = shared::versions(backplane_section.as_ref());
    let seeds = shared::seeds(root, backplane_section.as_ref()).unwrap_or_default();
    let (threshold, capacity) = read_capacity(root);
    let (memory, max_item) = read_memory(root);
    let pool = read_pool(root);
    let (client_idle_timeout, drain_timeout) = read_timeouts(root);
    if let Some(section) = backplane_section {
        let top = ["listen", "advertise"];
        section.finish(|key| top.contains(&key).then_some("the whole file, not in [backplane]"));
    }
    root.finish(|key| shared::foreign(key, super::load::ROUTER_KEYS, "a router's configuration"));

    if let Some(files) = &backplane {
        shared::refuse_bundled_backplane(root, listen.as_ref(), &seeds, files);
    }
    Some(ServerConfig {
        name: name?,
        listen: listen?.value,
        advertise,
        admin,
        zone,
        seeds: seeds.into_iter().map(|seed| seed.value).collect(),
        threshold,
        capacity,
        workers,
        backplane: backplane?,
        versions,
        pool: pool?,
        memory,
        max_item,
        client_idle_timeout,
        drain_timeout,
    })
}

fn read_capacity(root: &Section<'_>) -> (u64, u64) {
    let threshold = root.number("threshold", 0..=MAX_CAPACITY, DEFAULT_THRESHOLD);
    let default = (threshold.value * CAPACITY_PER_THRESHOLD).min(MAX_CAPACITY);
    let capacity = root.number("capacity", 1..=MAX_CAPACITY, default);
    if threshold.value > capacity.value {
        let (threshold_text, capacity_text) = (threshold.value, capacity.value);
        let what = format!("threshold is {threshold_text}, above the capacity of {capacity_text}");
        let line = threshold.line.or(capacity.line);
        root.document.problem(line, what, "lower threshold or raise capacity");
    } else if capacity.value == 0 {
        let what = "threshold is 0, so capacity would be 0 too".to_owned();
        root.document.problem(threshold.line, what, "add a capacity of at least 1");
    }
    (threshold.value, capacity.value)
}

fn read_timeouts(root: &Section<'_>) -> (Duration, Duration) {
    let idle = root.number(
        "client_idle_timeout",
        MIN_CLIENT_IDLE_TIMEOUT_S..=MAX_CLIENT_IDLE_TIMEOUT_S,
        DEFAULT_CLIENT_IDLE_TIMEOUT_S,
    );
    let drain = root.number("drain_timeout", 0..=MAX_DRAIN_TIMEOUT_S, DEFAULT_DRAIN_TIMEOUT_S);
    (Duration::from_secs(idle.value), Duration::from_secs(drain.value))
}

fn read_memory(root: &Section<'_>) -> (u64, u64) {
    let memory = root.bytes("memory", MIN_MEMORY..=MAX_MEMORY, DEFAULT_MEMORY);
    let max_item = shared::max_item(root, shared::DEFAULT_MAX_ITEM);
    // A small budget on its own is a complete instruction: the default for items follows it.
    if max_item.line.is_none() {
        return (memory.value, max_item.value.min(memory.value));
    }
    if max_item.value > memory.value {
        let (item, budget) = (size_text(max_item.value), size_text(memory.value));
        let what = format!("max_item is {item}, above the memory of {budget}");
        root.document.problem(max_item.line, what, "lower max_item or raise memory");
    }
    (memory.value, max_item.value)
}

fn read_pool(root: &Section<'_>) -> Option<ServerPool> {
    let example = "[[pool]] with name = \"default\" and source = { dir = \"/srv/www\" }";
    root.missing("pool", example);
    // The others are reported.
    let section = root.sections("pool", 1).into_iter().next()?;
    let name = shared::name(&section, "name", || Name::new(super::load::DEFAULT_POOL).ok());
    section.missing("source", "source = { dir = \"/srv/www\" } or source = { sample = true }");
    let source = section.section("source").and_then(|source| read_source(&source));
    let of_routers = ["policy", "hosts", "paths", "slots", "in_flight"];
    section.finish(|key| shared::foreign(key, &of_routers, "a router's [[pool]]"));
    Some(ServerPool { name: name?, source: source? })
}

/// Reads how a directory is kept fresh, and the time that belongs to it; none if that is wrong.
fn read_freshness(section: &Section<'_>) -> Option<Freshness> {
    let known = ["always", "watch", "ttl"];
    let fix = "use \"always\", \"watch\" or \"ttl\"";
    let mode = section.parsed("freshness", fix, |text| {
        let found = known.into_iter().find(|known| *known == text);
        found.ok_or_else(|| "this is not a freshness".to_owned())
    });
    let verify = section.number("verify_ms", 1..=MAX_VERIFY_MS, DEFAULT_VERIFY_MS);
    let ttl = section.number("ttl_ms", 1..=MAX_TTL_MS, 1);
    if !section.has("dir") || (mode.is_none() && section.has("freshness")) {
        return None;
    }
    let mode = mode.map_or("always", |mode| mode.value);
    for (key, of) in [("verify_ms", "watch"), ("ttl_ms", "ttl")] {
        if mode != of && section.has(key) {
            let what = format!("{} is only for freshness = {of:?}", section.name_of(key));
            let fix = format!("remove it, or set freshness = {of:?}");
            section.document.problem(section.line_of(key), what, fix);
        }
    }
    match mode {
        "watch" => Some(Freshness::Watch { verify: Duration::from_millis(verify.value) }),
        "ttl" => {
            section.missing("ttl_ms", "ttl_ms = 1000, the time in milliseconds");
            Some(Freshness::Ttl { ttl: Duration::from_millis(ttl.value) })
        }
        _ => Some(Freshness::Always),
    }
}

fn read_source(section: &Section<'_>) -> Option<SourceConfig> {
    let dir = shared::directory(section, "dir");
    let http = read_origin(section);
    let sample = section.boolean("sample").is_some_and(|sample| sample.value);
    let program = section.boolean("program").is_some_and(|program| program.value);
    let freshness = read_freshness(section);
    section.finish(|_| None);
    let problem = |what: &str, fix: &str| {
        section.document.problem(section.line, what.to_owned(), fix);
        None
    };
    let dir_keys: &[&str] = &["freshness", "verify_ms", "ttl_ms"];
    for (of, article, keys) in [("dir", "a", dir_keys), ("http", "an", &ORIGIN_KEYS)] {
        // One of them is enough to be told of.
        if let Some(key) = keys.iter().find(|key| section.has(key) && !section.has(of)) {
            let what = format!("source has a {key}, which only {article} {of} has");
            return problem(&what, &format!("remove {key}"));
        }
    }
    match (section.has("dir"), section.has("http"), sample, program) {
        (true, false, false, false) => {
            Some(SourceConfig::Directory { dir: dir?, freshness: freshness? })
        }
        (false, true, false, false) => http,
        (false, false, true, false) => Some(SourceConfig::Sample),
        (false, false, false, true) => Some(SourceConfig::Program),
        (false, false, false, false) => {
            problem("source has neither dir, http nor sample = true", "add dir = \"/srv/www\"")
        }
        _ => problem(
            "source has more than one of dir, http, sample and program",
            "leave one of them",
        ),
    }
}
