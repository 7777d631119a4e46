//! What encoding and decoding the frames of one use-cached request costs: GET and USE_CACHED
//! between client and router, FORWARD and REPLY between router and server.

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput};
use std::hint::black_box;
use std::time::Duration;
use understudy::wire::backplane::{Forward, How, Message, UseCachedBy};
use understudy::wire::frame::MAX_PAYLOAD;
use understudy::wire::lane::{Get, Outcome, Reply, Validator};
use understudy::wire::{ClientId, Frame, Tag};

// The allocator of the real binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Frames that one read of a busy lane holds: 16 in flight.
const FRAMES_PER_READ: usize = 16;

/// A request for a slot that the mirror knows, as in steady state.
fn get() -> Get {
    let validator = Validator::Crc { crc: 0x1234_5678, length: 1024 };
    Get { request_id: 77, slot: 300, key: None, validator }
}

fn use_cached() -> Reply {
    Reply { request_id: 77, outcome: Outcome::UseCached { tag: Tag([7; 16]) } }
}

fn forward(inner: Frame) -> Message {
    Message::Forward(Forward {
        resume: None,
        takes_deltas: true,
        request_id: 123_456,
        client: ClientId([5; 16]),
        term: 1,
        change: 0,
        primary: None,
        how: How::Known,
        deadline_ms: 10_000,
        former: Vec::new(),
        inner,
    })
}

fn reply(inner: Frame) -> Message {
    let by = Some(UseCachedBy::Mirror);
    Message::Reply { request_id: 123_456, assignment: None, by, inner }
}

fn lanes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let (get, use_cached) = (get(), use_cached());
    let (get_frame, use_cached_frame) = (get.encode(), use_cached.encode());
    group.bench_function("GET encode", |bench| bench.iter(|| black_box(&get).encode()));
    group.bench_function("GET decode", |bench| {
        bench.iter(|| Get::decode(black_box(&get_frame).payload()));
    });
    group.bench_function("USE_CACHED encode", |bench| {
        bench.iter(|| black_box(&use_cached).encode());
    });
    group.bench_function("USE_CACHED decode", |bench| {
        bench.iter(|| Reply::decode(black_box(&use_cached_frame)));
    });
    group.finish();
}

fn backplane(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let messages = [("FORWARD", forward(get().encode())), ("REPLY", reply(use_cached().encode()))];
    for (name, message) in messages {
        let frame = message.encode();
        group.bench_function(format!("{name} encode"), |bench| {
            bench.iter(|| black_box(&message).encode());
        });
        group.bench_function(format!("{name} decode"), |bench| {
            bench.iter(|| Message::decode(black_box(&frame)));
        });
    }
    group.finish();
}

fn split(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let stream = get().encode().bytes().repeat(FRAMES_PER_READ);
    group.throughput(Throughput::Elements(FRAMES_PER_READ as u64));
    group.bench_function(format!("split {FRAMES_PER_READ} frames"), |bench| {
        bench.iter_batched_ref(
            || BytesMut::from(&stream[..]),
            |buffer| {
                while let Ok(Some(frame)) = Frame::split_from(buffer, MAX_PAYLOAD) {
                    black_box(frame);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    lanes(&mut criterion);
    backplane(&mut criterion);
    split(&mut criterion);
    criterion.final_summary();
}
