//! What the decision that the product exists for costs: finding a slot in a client's mirror, and
//! deciding from it whether the client may use what it has. Both with few and with many clients,
//! whose mirrors no cache of the processor holds.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::hint::black_box;
use std::time::Duration;
use understudy::mirror::{Freshness, Items, Lease, Mirror, Store, Version, decide};
use understudy::wire::lane::Validator;
use understudy::wire::types::fingerprint;
use understudy::wire::{Fingerprint, HeaderBlock, Key, Time};

// The allocator of the real binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Distinct items that clients hold.
const ITEMS: usize = 1_000;
/// Slots of each client.
const SLOTS: u64 = 64;
/// Look-ups that are planned ahead, so that drawing them is not measured.
const PLANNED: usize = 1 << 16;

/// The mirrors of one worker.
struct World {
    store: Store,
    mirrors: Vec<Mirror>,
    items: Vec<(Key, Fingerprint)>,
}

impl World {
    fn new(clients: usize) -> Self {
        let item = |number: usize| {
            let key = format!("/items/{number}").parse().expect("it is a key");
            (key, fingerprint(b"", &number.to_be_bytes()))
        };
        let items: Vec<_> = (0..ITEMS).map(item).collect();
        let (mut store, mut random) = (Store::default(), StdRng::seed_from_u64(1));
        let mut mirrors: Vec<_> = (0..clients).map(|_| Mirror::default()).collect();
        for mirror in &mut mirrors {
            for slot in 0..SLOTS {
                let (key, version) = &items[random.random_range(0..ITEMS)];
                store.set(mirror, slot, key, Some(version));
            }
        }
        Self { store, mirrors, items }
    }
}

fn deciding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    let (fresh, old) = (fingerprint(b"", b"fresh"), fingerprint(b"", b"old"));
    let crc = Validator::Crc { crc: fresh.crc, length: fresh.length };
    let strong = Validator::Strong { crc: fresh.crc, digest: fresh.digest };
    let cases = [
        ("mirror", fresh, Validator::None),
        ("crc", fresh, crc),
        ("strong", fresh, strong),
        ("changed", old, Validator::None),
    ];
    for (name, held, validator) in cases {
        group.bench_function(name, |bench| {
            bench.iter(|| decide(Some(black_box(&held)), black_box(&validator), &fresh));
        });
    }
    group.finish();
}

fn finding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find slot and decide");
    for clients in [100, 10_000, 100_000] {
        let world = World::new(clients);
        let mut random = StdRng::seed_from_u64(2);
        let planned: Vec<_> = (0..PLANNED)
            .map(|_| (random.random_range(0..clients), random.random_range(0..SLOTS)))
            .collect();
        let mut turn = 0;
        group.bench_function(BenchmarkId::new("clients", clients), |bench| {
            bench.iter(|| {
                let (client, slot) = planned[turn % PLANNED];
                turn += 1;
                let held = world.store.held(&world.mirrors[client], slot);
                // The fresh version of a key is at hand in the server; which one, matters not.
                let (_, fresh) = &world.items[turn % ITEMS];
                decide(held.and_then(|held| held.version), &Validator::None, fresh)
            });
        });
    }
    group.finish();
}

fn storing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store version");
    let mut world = World::new(100);
    let mut turn = 0;
    for (name, step) in [("unchanged", 0), ("changed", 1)] {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                turn += step;
                let (key, version) = &world.items[turn % ITEMS];
                world.store.set(&mut world.mirrors[7], 3, key, Some(version));
            });
        });
    }
    group.finish();
}

/// What it costs to know that the source need not be asked.
fn keeping(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("current item");
    let keys: Vec<Key> =
        (0..ITEMS).map(|number| format!("/items/{number}").parse().expect("it is a key")).collect();
    let hour = Duration::from_secs(3600);
    let leased = || Freshness::leased(hour, Lease::new());
    let cases: [(&str, &dyn Fn() -> Freshness); 2] =
        [("lasting", &|| Freshness::lasting(hour)), ("leased", &leased)];
    for (name, freshness) in cases {
        let mut items = Items::new(1 << 24);
        for key in &keys {
            let version = Version::new(HeaderBlock::default(), Bytes::from_static(b"bytes"));
            items.insert(key, &version, Time::default(), freshness());
        }
        let mut turn = 0;
        group.bench_function(name, |bench| {
            bench.iter(|| {
                turn += 7;
                let found = items.current(&keys[turn % ITEMS], Time::default());
                found.map(|(_, tag)| tag)
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    deciding(&mut criterion);
    finding(&mut criterion);
    storing(&mut criterion);
    keeping(&mut criterion);
    criterion.final_summary();
}
