//! The assignment table beside the concurrent maps that one would take instead, and beside the
//! least that any table costs: one read of an array at a place that is known.
//!
//! `cargo bench --no-default-features --bench table` measures all sizes and takes about a minute;
//! `-- 1000 1000000` measures only those.
//!
//! All are measured in one process and take turns: several rounds, of which the first is dropped.
//! The least, the median and their ratios to the array are printed. A *read* finds its client by
//! what the read before it has returned, so that it shows how long one takes; *ahead* are reads
//! that do not depend on each other, so that the processor works on several at once, and *hot* the same
//! for 128 clients only. The maps get the hasher that `hashbrown` uses, and are pinned once a turn
//! where they can be.

#![allow(unsafe_code)] // The allocator that counts.

use hashbrown::DefaultHashBuilder;
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use understudy::assign::{Entry, ServerIndex, Table, Title};
use understudy::wire::ClientId;

const SIZES: [u64; 3] = [1_000, 1_000_000, 10_000_000];
const ROUNDS: usize = 32;
/// Clients that are asked for where all is in the caches.
const HOT_CLIENTS: u64 = 128;
const STEPS: u64 = 30_000;

/// Counts the bytes that are allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the same promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the same promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Ids look drawn at random, as a router's are. From `clients` on, nobody has them.
fn client(number: u64) -> ClientId {
    let first = scramble(number);
    let second = first.rotate_left(23).wrapping_mul(0x94d0_49bb_1331_11eb);
    ClientId((u128::from(second) << 64 | u128::from(first)).to_le_bytes())
}

/// Of all that could be known, something else for each client.
fn entry(number: u64) -> Entry {
    let random = scramble(number);
    let server = ServerIndex::new(3).expect("three is below the limit");
    let entry = Entry::new((random >> 41) + 1, random & 0x3fff, server, None, Title::Known);
    entry.expect("23 and 14 bits are in range")
}

/// An entry as the number that the other maps hold.
fn number(entry: Entry) -> u64 {
    entry.term() << 40 | entry.change() << 26
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Read,
    Ahead,
    /// As ahead, of so few clients that the processor's caches hold all that is read.
    Hot,
    Miss,
    /// One step in ten is a change of what is known of a client.
    Write,
}

const WORKS: [(Work, &str); 5] = [
    (Work::Read, "read"),
    (Work::Ahead, "ahead"),
    (Work::Hot, "hot"),
    (Work::Miss, "miss"),
    (Work::Write, "10% writes"),
];

/// A share of steps for one thread.
#[derive(Clone, Copy)]
struct Turn {
    work: Work,
    clients: u64,
    seed: u64,
}

impl Turn {
    /// Takes the steps, and gives the time that one took.
    fn take(self, get: impl Fn(&ClientId) -> Option<u64>, set: impl Fn(ClientId, Entry)) -> f64 {
        match self.work {
            Work::Read => self.steps::<true, false>(0, get, set),
            Work::Ahead => self.steps::<false, false>(0, get, set),
            Work::Hot => {
                let few = Turn { clients: HOT_CLIENTS.min(self.clients), ..self };
                few.steps::<false, false>(0, get, set)
            }
            Work::Miss => self.steps::<true, false>(self.clients, get, set),
            Work::Write => self.steps::<true, true>(0, get, set),
        }
    }

    fn steps<const CHAINED: bool, const WRITES: bool>(
        self,
        offset: u64,
        get: impl Fn(&ClientId) -> Option<u64>,
        set: impl Fn(ClientId, Entry),
    ) -> f64 {
        let mut random = scramble(self.seed);
        let mut found = 0;
        let started = Instant::now();
        for step in 0..STEPS {
            let last = if CHAINED { found | 1 } else { 1 };
            random = random.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(last);
            let picked = (u128::from(random) * u128::from(self.clients)) >> 64;
            let client = client(offset + picked as u64);
            if WRITES && step % 10 == 0 {
                set(client, entry(step));
            } else {
                found = get(&client).unwrap_or(7);
            }
            if !CHAINED {
                black_box(found);
            }
        }
        black_box(found);
        started.elapsed().as_nanos() as f64 / STEPS as f64
    }
}

trait Store: Sync {
    fn name(&self) -> &'static str;
    fn set(&self, client: u64);
    fn turn(&self, turn: Turn) -> f64;
}

/// The least that there is: the place of a client is known, and one read gets its word. What it
/// cannot tell is whether it is the right client.
struct Floor(Vec<[AtomicU64; 4]>);

impl Store for Floor {
    fn name(&self) -> &'static str {
        "array"
    }

    fn set(&self, client: u64) {
        self.0[client as usize][0].store(number(entry(client)), Ordering::Relaxed);
    }

    fn turn(&self, turn: Turn) -> f64 {
        let place = |client: &ClientId| {
            let random = u128::from(u128::from_le_bytes(client.0) as u64);
            &self.0[((random * self.0.len() as u128) >> 64) as usize][0]
        };
        turn.take(
            |client| Some(place(client).load(Ordering::Acquire)),
            |client, entry| place(&client).store(number(entry), Ordering::Release),
        )
    }
}

struct Ours(Table);

impl Store for Ours {
    fn name(&self) -> &'static str {
        "assign::Table"
    }

    fn set(&self, number: u64) {
        self.0.set(client(number), entry(number));
    }

    fn turn(&self, turn: Turn) -> f64 {
        let reader = self.0.reader();
        turn.take(
            |client| reader.get(client).map(number),
            |client, entry| {
                self.0.set(client, entry);
            },
        )
    }
}

/// As ours, by the method that pins the thread at each call.
struct OursUnpinned<'a>(&'a Table);

impl Store for OursUnpinned<'_> {
    fn name(&self) -> &'static str {
        "Table, no reader"
    }

    fn set(&self, _: u64) {}

    fn turn(&self, turn: Turn) -> f64 {
        turn.take(
            |client| self.0.get(client).map(number),
            |client, entry| {
                self.0.set(client, entry);
            },
        )
    }
}

struct Papaya(papaya::HashMap<ClientId, u64, DefaultHashBuilder>);

impl Store for Papaya {
    fn name(&self) -> &'static str {
        "papaya"
    }

    fn set(&self, client_number: u64) {
        self.0.pin().insert(client(client_number), number(entry(client_number)));
    }

    fn turn(&self, turn: Turn) -> f64 {
        let map = self.0.pin();
        turn.take(
            |client| map.get(client).copied(),
            |client, entry| {
                map.insert(client, number(entry));
            },
        )
    }
}

struct Dash(dashmap::DashMap<ClientId, u64, DefaultHashBuilder>);

impl Store for Dash {
    fn name(&self) -> &'static str {
        "DashMap"
    }

    fn set(&self, client_number: u64) {
        self.0.insert(client(client_number), number(entry(client_number)));
    }

    fn turn(&self, turn: Turn) -> f64 {
        turn.take(
            |client| self.0.get(client).map(|found| *found),
            |client, entry| {
                self.0.insert(client, number(entry));
            },
        )
    }
}

struct Scc(scc::HashMap<ClientId, u64, DefaultHashBuilder>);

impl Store for Scc {
    fn name(&self) -> &'static str {
        "scc::HashMap"
    }

    fn set(&self, client_number: u64) {
        self.0.upsert_sync(client(client_number), number(entry(client_number)));
    }

    fn turn(&self, turn: Turn) -> f64 {
        turn.take(
            |client| self.0.read_sync(client, |_, found| *found),
            |client, entry| {
                self.0.upsert_sync(client, number(entry));
            },
        )
    }
}

/// Fills a store, and says what it takes.
fn filled<S: Store>(make: impl FnOnce() -> S, clients: u64) -> S {
    let before = ALLOCATED.load(Ordering::Relaxed);
    let store = make();
    let started = Instant::now();
    let (mut longest, mut long) = (Duration::ZERO, 0);
    for client in 0..clients {
        let began = Instant::now();
        store.set(client);
        let took = began.elapsed();
        longest = longest.max(took);
        long += u64::from(took > Duration::from_millis(1));
    }
    let each = started.elapsed().as_nanos() as f64 / clients as f64;
    let bytes = (ALLOCATED.load(Ordering::Relaxed) - before) as f64 / clients as f64;
    let name = store.name();
    println!(
        "{name:18} {bytes:6.1} bytes a client; {each:6.0} ns a new client, the longest {} us, \
         {long} above 1 ms",
        longest.as_micros()
    );
    store
}

/// The time of a step on each of so many threads at once, on average.
fn measure(store: &dyn Store, turn: Turn, threads: u64) -> f64 {
    if threads == 1 {
        return store.turn(turn);
    }
    let run = |thread| store.turn(Turn { seed: turn.seed ^ (thread << 32), ..turn });
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..threads).map(|at| scope.spawn(move || run(at))).collect();
        let count = threads.len() as f64;
        threads.into_iter().map(|thread| thread.join().expect("no step panics")).sum::<f64>()
            / count
    })
}

fn compare(stores: &[&dyn Store], clients: u64) {
    for threads in [1, 2] {
        for (work, name) in WORKS {
            let mut times = vec![Vec::new(); stores.len()];
            for round in 0..ROUNDS {
                for (at, (store, times)) in stores.iter().zip(&mut times).enumerate() {
                    // Other clients each time: what is in the caches is not to be found again.
                    let seed = (round * stores.len() + at) as u64;
                    let turn = Turn { work, clients, seed };
                    times.push(measure(*store, turn, threads));
                }
            }
            // The first round warms up.
            times.iter_mut().for_each(|times| times[1..].sort_by(f64::total_cmp));
            let (least, median) = (|of: usize| times[of][1], |of: usize| times[of][ROUNDS / 2]);
            println!("{clients} clients, {threads} threads, {name}: ns a step, least and median");
            for (at, store) in stores.iter().enumerate() {
                let ratios = (least(at) / least(0), median(at) / median(0));
                println!(
                    "    {:18} {:7.1} {:7.1}   x {:.2} {:.2}",
                    store.name(),
                    least(at),
                    median(at),
                    ratios.0,
                    ratios.1
                );
            }
        }
    }
}

fn main() {
    let asked: Vec<u64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    for clients in if asked.is_empty() { SIZES.to_vec() } else { asked } {
        println!("\n{clients} clients");
        let floor = || Floor((0..clients).map(|_| Default::default()).collect());
        let floor = filled(floor, clients);
        let ours = filled(|| Ours(Table::new()), clients);
        let papaya = filled(|| Papaya(papaya::HashMap::default()), clients);
        let dash = filled(|| Dash(dashmap::DashMap::default()), clients);
        let scc = filled(|| Scc(scc::HashMap::default()), clients);
        let unpinned = OursUnpinned(&ours.0);
        // Not after each other, or the second would find what the first has brought to the caches.
        compare(&[&floor, &ours, &papaya, &unpinned, &dash, &scc], clients);
    }
}
