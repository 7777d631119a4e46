//! What a seed decides before anything happens: how large the cluster is, how bad the network, how
//! hot the workload.

use crate::cluster::Policy;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// Longer than a client asks for nothing between the requests that must be use-cached.
const IDLE_TIMEOUT_S: u64 = 6;

/// What kind of story is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Nothing breaks: every request is answered, and no reply is ever misunderstood.
    Calm,
    /// One server, or one of two routers, fails while nothing else does: every request is answered,
    /// from a warm mirror.
    OneFailure,
    /// Anything breaks, several things at once.
    Rough,
}

/// Of so many stories in a row...
const HTTP_STORIES: u64 = 16;
/// ...these have clients that speak HTTP.
const HTTP_KINDS: [u64; 3] = [6, 7, 9];

/// The numbers of one run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) mood: Mood,
    pub(super) servers: usize,
    pub(super) routers: usize,
    pub(super) clients: usize,
    pub(super) callers: usize,
    /// Clients that speak HTTP.
    pub(super) browsers: usize,
    /// The servers pass what they are asked by HTTP to an origin.
    pub(super) origin: bool,
    pub(super) keys: usize,
    /// From the least to the most, in microseconds.
    pub(super) latency_us: (u64, u64),
    /// How often a chunk is held up.
    pub(super) stall_chance: f64,
    /// For how long at the most.
    pub(super) stall_ms: u64,
    /// How often a body breaks off by itself.
    pub(super) body_break_chance: f64,
    /// How long the source takes, at the most.
    pub(super) source_ms: u64,
    /// How long the story goes on before everything is healed.
    pub(super) story: Duration,
    pub(super) fault_ms: u64,
    pub(super) change_ms: u64,
    pub(super) work_ms: u64,
    pub(super) burst: u64,
    pub(super) slots: u64,
    pub(super) in_flight: u64,
    pub(super) cache_bytes: u64,
    pub(super) memory_bytes: u64,
    pub(super) server_memory: usize,
    /// When servers forget a client that asks for nothing.
    pub(super) client_idle_timeout: Duration,
    /// Entries of mirrors that are sent to new alternates in one turn.
    pub(super) rebuild_batch: usize,
    /// Whether some members speak only the version before, and change that when they restart.
    pub(super) mixed_versions: bool,
    pub(super) threshold: u64,
    pub(super) capacity: u64,
    pub(super) zones: bool,
    pub(super) policy: Policy,
    /// Most workers that a router or a server has; each run of one draws how many.
    pub(super) most_workers: usize,
    /// How often a router is told that a server has fewer workers than it has.
    pub(super) misled_chance: f64,
}

impl Plan {
    pub(super) fn draw(random: &mut StdRng) -> Self {
        let mood = match random.random_range(0..10) {
            0 => Mood::Calm,
            1 => Mood::OneFailure,
            _ => Mood::Rough,
        };
        let rough = mood == Mood::Rough;
        let (burst, in_flight) = (pick(random, &[1, 3, 8]), pick(random, &[2, 4, 64]));
        // Where nothing breaks and nobody waits for his turn, a slow source must not look like a
        // dead router.
        let unhurried = mood == Mood::Calm && in_flight == 64 && burst == 1;
        let least_latency = pick(random, &[50, 200, 1_000]);
        let threshold = pick(random, &[1, 2, 3, 1_000]);
        Self {
            mood,
            servers: random.random_range(if mood == Mood::OneFailure { 3..=5 } else { 2..=5 }),
            routers: random.random_range(1..=2),
            clients: random.random_range(1..=5),
            callers: random.random_range(0..=2),
            browsers: 0,
            origin: false,
            keys: random.random_range(4..=12),
            latency_us: (least_latency, least_latency * pick(random, &[2, 4, 20])),
            stall_chance: if rough { pick(random, &[0.0, 0.0, 0.01, 0.05]) } else { 0.0 },
            stall_ms: pick(random, &[20, 200, 800]),
            body_break_chance: if rough { pick(random, &[0.0, 0.05, 0.3]) } else { 0.0 },
            source_ms: pick(random, if unhurried { &[1, 50, 200] } else { &[1, 5, 50] }),
            story: Duration::from_millis(random.random_range(2_000..=8_000)),
            fault_ms: pick(random, &[150, 400, 1_000]),
            change_ms: pick(random, &[3, 20, 100, 1_000]),
            work_ms: pick(random, &[20, 60, 150]),
            burst,
            slots: pick(random, &[3, 5, 8, 64]),
            in_flight,
            cache_bytes: pick(random, &[5_000, 60_000, 1 << 20]),
            memory_bytes: pick(random, &[0, 3_000, 1 << 20]),
            server_memory: pick(random, &[2_000, 8_000, 20_000, 40_000, 1 << 24]),
            client_idle_timeout: Duration::from_secs(if rough {
                pick(random, &[IDLE_TIMEOUT_S, 3_600, 3_600])
            } else {
                3_600
            }),
            rebuild_batch: pick(random, &[1, 3, 1_000]),
            mixed_versions: rough && random.random_bool(0.3),
            threshold,
            capacity: if threshold == 1_000 { 1_000 } else { pick(random, &[8, 1_000]) },
            zones: random.random_bool(0.3),
            policy: pick(random, &[Policy::Next, Policy::Next, Policy::LeastLoaded]),
            most_workers: pick(random, &[1, 3]),
            misled_chance: if rough { pick(random, &[0.0, 0.1, 0.3]) } else { 0.0 },
        }
    }

    /// In some stories clients speak HTTP, in some of these to an origin: told by the seed itself,
    /// not drawn.
    pub(super) fn for_seed(mut self, seed: u64) -> Self {
        let (story, kind) = (seed / HTTP_STORIES, seed % HTTP_STORIES);
        if HTTP_KINDS.contains(&kind) {
            self.browsers = 1 + (story % 2) as usize;
            self.origin = story % 4 >= 2;
        }
        self
    }

    /// Whether a client that asks for nothing is forgotten before the story ends.
    pub(super) fn forgets_clients(&self) -> bool {
        self.client_idle_timeout <= Duration::from_secs(IDLE_TIMEOUT_S)
    }

    /// Whether a client may find the pool at its capacity.
    pub(super) fn is_tight(&self) -> bool {
        self.capacity < 1_000
    }
}

/// One of a few.
pub(super) fn pick<T: Copy>(random: &mut StdRng, from: &[T]) -> T {
    from[random.random_range(0..from.len())]
}
