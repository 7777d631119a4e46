//! What reading an item for its CRC and its digest costs, by size: each alone, and both in the one
//! pass that every retrieved item gets.

use aws_lc_rs::rand::fill;
use criterion::{BenchmarkId, Criterion, Throughput};
use std::hint::black_box;
use std::time::Duration;
use understudy::wire::types::{Fingerprinter, fingerprint};

// The allocator of the real binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KIB: usize = 1024;
const SIZES: [usize; 7] = [64, 256, KIB, 16 * KIB, 256 * KIB, 1024 * KIB, 16 * 1024 * KIB];
/// Pieces in which a source may read a file of [`PIECED`] bytes.
const PIECES: [usize; 4] = [16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB];
const PIECED: usize = 1024 * KIB;

fn random_bytes(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    fill(&mut bytes).expect("there is randomness");
    bytes
}

/// BLAKE3 hashes many blocks at once, if it is given many.
fn in_pieces(criterion: &mut Criterion) {
    let bytes = random_bytes(PIECED);
    let mut group = criterion.benchmark_group("fingerprint of 1 MiB in pieces");
    group.throughput(Throughput::Bytes(PIECED as u64));
    for size in PIECES {
        group.bench_with_input(BenchmarkId::from_parameter(size), &bytes, |bench, bytes| {
            bench.iter(|| {
                let mut pass = Fingerprinter::new(b"");
                black_box(bytes).chunks(size).for_each(|piece| pass.update(piece));
                pass.finish()
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args();
    for size in SIZES {
        let bytes = random_bytes(size);
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
    in_pieces(&mut criterion);
    criterion.final_summary();
}
