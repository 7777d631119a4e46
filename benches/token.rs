//! What sealing and opening a client's token costs a router: one of each for a client that comes
//! back, one seal for each new epoch.

use criterion::Criterion;
use std::hint::black_box;
use std::time::Duration;
use understudy::wire::token::{TOKEN_KEY_SIZE, Token, TokenKeys};
use understudy::wire::{Assignment, ClientId, Epoch, Name};

// The allocator of the real binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of a nonce of AES-256-GCM-SIV.
const NONCE_SIZE: usize = 12;
const NOW_S: u64 = 1_000;

fn token() -> Token {
    let name = |text| Name::new(text).expect("it is a name");
    let epoch = Epoch::new(3, name("server-1"));
    let assignment = Assignment { epoch, alternate: Some(name("server-2")) };
    let (client, pool) = (ClientId([7; 16]), name("default"));
    Token { client, pool, assignment, expires_s: NOW_S + 1 }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let (old, new) = ([1; TOKEN_KEY_SIZE], [2; TOKEN_KEY_SIZE]);
    let (token, nonce) = (token(), [9; NONCE_SIZE]);
    let sealed = TokenKeys::new(&[new]).seal(&token, nonce);
    let sealed_before = TokenKeys::new(&[old]).seal(&token, nonce);
    let keys = TokenKeys::new(&[new, old]);
    let mut group = criterion.benchmark_group("token");
    group.bench_function("seal", |bench| bench.iter(|| keys.seal(black_box(&token), nonce)));
    group.bench_function("open", |bench| bench.iter(|| keys.open(black_box(&sealed), NOW_S)));
    group.bench_function("open by the second key", |bench| {
        bench.iter(|| keys.open(black_box(&sealed_before), NOW_S));
    });
    group.bench_function("refuse what is damaged", |bench| {
        bench.iter(|| keys.open(black_box(&sealed[1..]), NOW_S));
    });
    group.finish();
    criterion.final_summary();
}
