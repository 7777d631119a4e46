//! A day of churn in a worker's payloads: what the arena needs of memory, what its budget costs, and
//! the same payloads as `Bytes` of their own in mimalloc and in the system's allocator.
//!
//! `cargo bench --bench arena` prints it hour by hour, `-- --json` as one document. It takes about 20
//! seconds. Each subject has a process of its own, because memory is measured from outside.
//!
//! Payloads are around 8 KiB, with a tail to 16 MiB, but three hours are of small ones, three of
//! larger ones, one is all images of some 100 KiB, and in one half of all items are purged. Half of
//! what is stored replaces another version, and one of 500 is held by a slow send, for up to three
//! hours. A full cache makes room by a clock; when as many bytes were evicted as are needed, or 64 KiB, and
//! the payload still does not fit, the arena names what to drop. The other subjects may keep as many
//! bytes of payloads as the arena's budget is: what they take for that is what the operator sees.

#![allow(unsafe_code)] // Payloads in the system's allocator, whatever the global one is.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::process::Command;
use std::ptr::NonNull;
use std::time::{Duration, Instant};
use understudy::mirror::Arena;

// The allocator of the real binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BUDGET: usize = 256 << 20;
const HOURS: usize = 24;
/// Bytes that are stored in an hour.
const VOLUME: usize = 640 << 20;
const LARGEST: usize = 16 << 20;
/// One of so many payloads is pinned by a send.
const PINNED: u32 = 500;
/// Bytes that sends may hold at a time.
const PINNED_BYTES: usize = 16 << 20;
/// Bytes that the clock evicts at most, before the arena names what else has to go.
const CHOSEN_BYTES: usize = 64 << 10;
const SUBJECTS: [&str; 3] = ["arena", "mimalloc", "system"];
const MIB: f64 = (1 << 20) as f64;

/// A payload in the system's allocator.
struct SystemPayload(NonNull<u8>, usize);

// SAFETY: it is memory that nobody else has, and never written to after `new`.
unsafe impl Send for SystemPayload {}

impl SystemPayload {
    fn layout(length: usize) -> Layout {
        Layout::array::<u8>(length).expect("payloads are short")
    }

    fn new(payload: &[u8]) -> Self {
        // SAFETY: no payload is empty.
        let start = unsafe { System.alloc(Self::layout(payload.len())) };
        let start = NonNull::new(start).expect("memory is there");
        // SAFETY: as many bytes were just allocated.
        unsafe { start.as_ptr().copy_from_nonoverlapping(payload.as_ptr(), payload.len()) };
        Self(start, payload.len())
    }
}

impl AsRef<[u8]> for SystemPayload {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: as many bytes were written, and live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), self.1) }
    }
}

impl Drop for SystemPayload {
    fn drop(&mut self) {
        // SAFETY: it was allocated with that layout.
        unsafe { System.dealloc(self.0.as_ptr(), Self::layout(self.1)) };
    }
}

enum Subject {
    Arena(Arena),
    Separate { make: fn(&[u8]) -> Bytes },
}

impl Subject {
    fn new(name: &str) -> Self {
        match name {
            "arena" => Self::Arena(Arena::new(BUDGET)),
            "mimalloc" => Self::Separate { make: Bytes::copy_from_slice },
            _ => Self::Separate { make: |payload| Bytes::from_owner(SystemPayload::new(payload)) },
        }
    }
}

struct Item {
    payload: Bytes,
    used: bool,
}

/// The items of a worker.
struct Cache {
    subject: Subject,
    items: Vec<Option<Item>>,
    vacant: Vec<u32>,
    hand: usize,
    /// Bytes of the items, without those that only sends hold.
    bytes: usize,
    evicted: usize,
    /// Evicted because the arena named them.
    vacated: usize,
    /// Not stored, because sends hold too much for that.
    refused: usize,
}

impl Cache {
    fn new(subject: Subject) -> Self {
        let (items, vacant) = (Vec::new(), Vec::new());
        Self { subject, items, vacant, hand: 0, bytes: 0, evicted: 0, vacated: 0, refused: 0 }
    }

    fn remove(&mut self, owner: u32) -> usize {
        let Some(item) = self.items[owner as usize].take() else { return 0 };
        self.bytes -= item.payload.len();
        self.vacant.push(owner);
        item.payload.len()
    }

    fn evict_one(&mut self) -> usize {
        loop {
            self.hand = (self.hand + 1) % self.items.len();
            match &mut self.items[self.hand] {
                Some(item) if item.used => item.used = false,
                Some(_) => {
                    self.evicted += 1;
                    return self.remove(self.hand as u32);
                }
                None => {}
            }
        }
    }

    /// Bytes of the pages of the arena, and of all payloads that live.
    fn memory(&mut self, pinned: usize) -> (usize, usize) {
        match &mut self.subject {
            Subject::Arena(arena) => {
                arena.reclaim();
                (arena.committed(), arena.live())
            }
            Subject::Separate { .. } => (self.bytes + pinned, self.bytes + pinned),
        }
    }

    fn store(&mut self, payload: &[u8]) -> Option<u32> {
        let owner = self.vacant.pop().unwrap_or_else(|| {
            self.items.push(None);
            self.items.len() as u32 - 1
        });
        let Some(payload) = self.place(payload, owner) else {
            self.vacant.push(owner);
            self.refused += 1;
            return None;
        };
        self.bytes += payload.len();
        self.items[owner as usize] = Some(Item { payload, used: false });
        Some(owner)
    }

    fn place(&mut self, payload: &[u8], owner: u32) -> Option<Bytes> {
        let mut freed = 0;
        loop {
            match &mut self.subject {
                Subject::Separate { make } if self.bytes + payload.len() <= BUDGET => {
                    return Some(make(payload));
                }
                Subject::Separate { .. } => _ = self.evict_one(),
                Subject::Arena(arena) => {
                    if let Some(stored) = arena.store(payload, owner) {
                        return Some(stored);
                    }
                    if freed < payload.len().min(CHOSEN_BYTES) && self.bytes > 0 {
                        freed += self.evict_one();
                        continue;
                    }
                    for owner in arena.vacate(payload.len())? {
                        self.vacated += usize::from(self.remove(owner) > 0);
                    }
                }
            }
        }
    }
}

/// The payloads of an hour: their median, the deviation of its logarithm, how many of a thousand
/// are of the long tail.
fn mix(hour: usize) -> (f64, f64, u32) {
    let wave = (hour as f64 / HOURS as f64 * std::f64::consts::TAU).sin();
    let usual = 8192.0 * (0.7 * wave).exp();
    match hour {
        6..9 => (1500.0, 1.0, 1),
        12..15 => (64_000.0, 1.0, 10),
        15..18 => (usual, 1.3, 20),
        18 => (100_000.0, 0.1, 0),
        19..21 => (3000.0, 1.2, 5),
        _ => (usual, 1.3, 8),
    }
}

fn normal(random: &mut StdRng) -> f64 {
    let (first, second) = (1.0 - random.random::<f64>(), random.random::<f64>());
    (-2.0 * first.ln()).sqrt() * (second * std::f64::consts::TAU).cos()
}

fn length(random: &mut StdRng, (median, deviation, tail): (f64, f64, u32)) -> usize {
    if random.random_range(0..1000) < tail {
        // As likely between 1 and 2 MiB as between 2 and 4.
        return (256.0 * 1024.0 * (random.random::<f64>() * 64.0_f64.ln()).exp()) as usize;
    }
    ((median * (deviation * normal(random)).exp()) as usize).clamp(1, LARGEST)
}

/// Resident memory of the process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kilobytes.map_or(0, |kilobytes: usize| kilobytes << 10)
}

/// Sends that hold a payload until a time, in bytes stored.
#[derive(Default)]
struct Pins {
    held: BTreeMap<usize, Bytes>,
    bytes: usize,
}

impl Pins {
    fn add(&mut self, until: usize, payload: &Bytes) {
        if self.bytes + payload.len() <= PINNED_BYTES {
            self.bytes += payload.len();
            self.held.insert(until, payload.clone());
        }
    }

    fn end(&mut self, now: usize) {
        while let Some(first) = self.held.first_entry().filter(|first| *first.key() <= now) {
            self.bytes -= first.remove().len();
        }
    }
}

struct Day {
    cache: Cache,
    pins: Pins,
    random: StdRng,
    source: Vec<u8>,
    /// Bytes stored.
    now: usize,
    /// Resident memory before anything was stored.
    before: usize,
}

impl Day {
    fn new(name: &str) -> Self {
        let mut random = StdRng::seed_from_u64(1);
        let source = (0..LARGEST).map(|_| random.random()).collect();
        let cache = Cache::new(Subject::new(name));
        Self { cache, pins: Pins::default(), random, source, now: 0, before: resident() }
    }

    /// An item, more likely one of the first.
    fn pick(&mut self) -> Option<u32> {
        let share = self.random.random::<f64>().powi(2);
        let at = (share * self.cache.items.len() as f64) as usize;
        self.cache.items.get(at)?.is_some().then_some(at as u32)
    }

    fn hour(&mut self, hour: usize) -> Value {
        let (until, mix) = (self.now + VOLUME, mix(hour));
        if hour == 21 {
            for owner in 0..self.cache.items.len() as u32 {
                if self.random.random::<bool>() {
                    self.cache.remove(owner);
                }
            }
        }
        let cache = &mut self.cache;
        (cache.evicted, cache.vacated, cache.refused) = (0, 0, 0);
        let (mut stores, mut spent, mut longest) = (0_u32, Duration::ZERO, Duration::ZERO);
        while self.now < until {
            let (new, replaced) = (length(&mut self.random, mix), self.pick());
            let mut payload = new;
            if let Some(replaced) = replaced.filter(|_| stores % 2 == 0) {
                let grown = (0.1 * normal(&mut self.random)).exp();
                let old = self.cache.remove(replaced) as f64;
                payload = ((old * grown) as usize).clamp(1, LARGEST);
            }
            let start = self.random.random_range(0..=LARGEST - payload);
            let began = Instant::now();
            let owner = self.cache.store(&self.source[start..start + payload]);
            let took = began.elapsed();
            (spent, longest) = (spent + took, longest.max(took));
            stores += 1;
            self.now += payload;
            self.pins.end(self.now);
            if let Some(owner) = owner.filter(|_| self.random.random_range(0..PINNED) == 0) {
                let until = self.now + self.random.random_range(0..3 * VOLUME);
                let item = self.cache.items[owner as usize].as_ref();
                self.pins.add(until, &item.expect("it was just stored").payload);
            }
            for _ in 0..3 {
                if let Some(used) = self.pick() {
                    self.cache.items[used as usize].as_mut().expect("it was picked").used = true;
                }
            }
        }
        let (committed, live) = self.cache.memory(self.pins.bytes);
        json!({
            "hour": hour,
            "stores": stores,
            "live_bytes": live,
            "committed_bytes": committed,
            "resident_bytes": resident() - self.before,
            "pinned_bytes": self.pins.bytes,
            "evicted": self.cache.evicted,
            "vacated": self.cache.vacated,
            "refused": self.cache.refused,
            "ns_per_store": spent.as_nanos() as f64 / f64::from(stores),
            "longest_us": longest.as_micros() as u64,
        })
    }
}

/// The time to replace a payload by one of the same length, when the cache is full of those.
fn replacing(name: &str, length: usize, source: &[u8]) -> Value {
    let mut cache = Cache::new(Subject::new(name));
    let mut random = StdRng::seed_from_u64(2);
    let count = (BUDGET / length / 2) as u32;
    for _ in 0..count {
        cache.store(&source[..length]);
    }
    let rounds = (1_usize << 30) / length.max(4096);
    let began = Instant::now();
    for _ in 0..rounds {
        cache.remove(random.random_range(0..count));
        let start = random.random_range(0..source.len() - length);
        cache.store(&source[start..start + length]);
    }
    let each = began.elapsed().as_nanos() as f64 / rounds as f64;
    json!({ "length": length, "ns_per_replacement": each })
}

fn measure(name: &str) -> Value {
    let mut day = Day::new(name);
    let hours: Vec<_> = (0..HOURS).map(|hour| day.hour(hour)).collect();
    let source = std::mem::take(&mut day.source);
    drop(day);
    let lengths = [1 << 10, 16 << 10, 1 << 20];
    // In few bytes, which the processor's caches hold, so that only writing them is measured.
    let replacing = |length| replacing(name, length, &source[..2 << 20]);
    json!({ "subject": name, "hours": hours, "replacing": lengths.map(replacing) })
}

fn print(measured: &Value) {
    let number = |value: &Value, name: &str| value[name].as_f64().expect("it is a number");
    println!("\n{}", measured["subject"].as_str().expect("it has a name"));
    println!(
        "hour   stores  live MiB  committed  resident  comm/live  res/live   evicted  vacated  \
         refused  ns/store  longest us"
    );
    for hour in measured["hours"].as_array().expect("it is a list") {
        let mib = |name| number(hour, name) / MIB;
        let (live, committed) = (mib("live_bytes"), mib("committed_bytes"));
        let resident = mib("resident_bytes");
        println!(
            "{:4} {:8} {live:9.1} {committed:10.1} {resident:9.1} {:10.3} {:9.3} {:9} {:8} {:8} {:9.0} \
             {:11}",
            hour["hour"],
            number(hour, "stores"),
            committed / live,
            resident / live,
            number(hour, "evicted"),
            number(hour, "vacated"),
            number(hour, "refused"),
            number(hour, "ns_per_store"),
            number(hour, "longest_us"),
        );
    }
    for replaced in measured["replacing"].as_array().expect("it is a list") {
        let (length, each) = (number(replaced, "length"), number(replaced, "ns_per_replacement"));
        println!("replacing one of {length} bytes: {each:.0} ns");
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|word| word == "--subject") {
        println!("{}", measure(&arguments[at + 1]));
        return;
    }
    let json = arguments.iter().any(|word| word == "--json");
    let measured = SUBJECTS.map(|name| {
        let mut child = Command::new(std::env::current_exe().expect("it has a path"));
        let output = child.args(["--subject", name]).output().expect("it can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let measured = serde_json::from_slice(&output.stdout).expect("it is a document");
        if !json {
            print(&measured);
        }
        measured
    });
    if json {
        println!("{}", Value::Array(measured.to_vec()));
    }
}
