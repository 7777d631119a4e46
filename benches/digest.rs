//! What reading an item for its CRC and its digest costs, by size: each alone, and both in the one
//! pass that every retrieved item gets.

use aws_lc_rs::rand::fill;
use criterion::{BenchmarkId, Criterion, Throughput};
use std::hint::black_box;
use std::time::Duration;
use understudy::wire::types::fingerprint;

// The allocator of the real binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KIB: usize = 1024;
const SIZES: [usize; 7] = [64, 256, KIB, 16 * KIB, 256 * KIB, 1024 * KIB, 16 * 1024 * KIB];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args();
    for size in SIZES {
        let mut bytes = vec![0; size];
        fill(&mut bytes).expect("there is randomness");
        let mut group = criterion.benchmark_group("digest");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("crc32fast", size), &bytes, |bench, bytes| {
            bench.iter(|| crc32fast::hash(black_box(bytes)));
        });
        group.bench_with_input(BenchmarkId::new("blake3", size), &bytes, |bench, bytes| {
            bench.iter(|| blake3::hash(black_box(bytes)));
        });
        group.bench_with_input(BenchmarkId::new("fingerprint", size), &bytes, |bench, bytes| {
            bench.iter(|| fingerprint(b"", black_box(bytes)));
        });
        group.finish();
    }
    criterion.final_summary();
}
