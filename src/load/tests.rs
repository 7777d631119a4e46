//! Runs against a router that does not always tell the truth.

use super::config::{Claim, KeyChoice, LoadConfig, Mode, Target, Trust};
use super::tally::{FailureKind, ReplyKind};
use super::{LoadError, Measured, Progress, run};
use crate::net::client::fake_router::{FakeRouter, Fault, Pool};
use crate::wire::lane::{Body, ErrorCode, Outcome, Validator};
use crate::wire::{HeaderBlock, Key, Tag};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const LARGE: usize = 40_000;

fn config(router: SocketAddr, mode: Mode) -> LoadConfig {
    let key = |text: &str| text.parse::<Key>().unwrap();
    LoadConfig {
        target: Target::Routers { addresses: vec![router], pool: None },
        trust: Trust::Bundled,
        server_name: "localhost".to_owned(),
        mode,
        keys: KeyChoice::Named(vec![key("/a"), key("/b")]),
        claim: Claim::None,
        connections: 1,
        in_flight: 2,
        rate: None,
        warmup: Duration::ZERO,
        duration: Duration::from_millis(200),
        workers: 1,
        pids: vec![],
    }
}

fn router() -> (Arc<Pool>, FakeRouter) {
    let pool = Arc::new(Pool::default());
    pool.put("/a", "alpha");
    pool.put("/b", "beta");
    let router = FakeRouter::start(&pool);
    (pool, router)
}

/// Runs to its end. The faults are for the first requests after the connections are ready.
async fn load(config: LoadConfig, pool: &Pool, faults: Vec<Fault>) -> Result<Measured, LoadError> {
    let mut faults = Some(faults);
    run(config, std::future::pending(), &mut |progress| {
        if let Progress::Ready(_) = progress {
            faults.take().into_iter().flatten().for_each(|fault| pool.fault(fault));
        }
    })
    .await
}

fn count(measured: &Measured, kind: FailureKind) -> u64 {
    measured.total.failures_of(kind)
}

#[tokio::test]
async fn unchanged_items_are_use_cached_and_keys_leave_the_frame() {
    let (pool, router) = router();
    for (claim, has_validator) in [(Claim::None, false), (Claim::Crc, true), (Claim::Strong, true)]
    {
        let config = LoadConfig { claim, ..config(router.address, Mode::UseCached) };
        pool.gets();
        let measured = load(config, &pool, vec![]).await.unwrap();
        let total = &measured.total;
        assert_eq!((total.failures(), total.asked_again), (0, 0));
        assert!(total.of(ReplyKind::UseCached) > 0);
        assert_eq!(total.replies(), total.of(ReplyKind::UseCached));
        assert_eq!(total.latency_ns.len(), total.replies());
        assert!(measured.wire_bytes.received > 0 && measured.wire_bytes.sent > 0);
        let gets = pool.gets();
        let (fill, rest) = gets.split_at(2);
        assert!(fill.iter().all(|get| get.key.is_some()));
        let says = |validator: &Validator| *validator != Validator::None;
        assert!(rest.iter().all(|get| get.key.is_none() && says(&get.validator) == has_validator));
    }
}

#[tokio::test]
async fn whole_and_mixed_answers_are_what_was_asked_for() {
    let (pool, router) = router();
    pool.put("/b", vec![7; LARGE]);
    let whole = load(config(router.address, Mode::Full), &pool, vec![]).await.unwrap();
    assert!(whole.total.of(ReplyKind::Full) > 0, "{whole:?}");
    assert_eq!((whole.total.failures(), whole.total.of(ReplyKind::UseCached)), (0, 0));

    let mixed = load(config(router.address, Mode::Mixed), &pool, vec![]).await.unwrap();
    assert_eq!(mixed.total.failures(), 0);
    assert!(mixed.total.of(ReplyKind::UseCached) > 0 && mixed.total.of(ReplyKind::Full) > 0);
    // The fake router knows no queries: what is new is not found, and then unknown for good.
    assert!(mixed.total.of(ReplyKind::NotFound) > 0);
}

#[tokio::test]
async fn each_wrong_answer_counts_as_what_it_is() {
    let (pool, router) = router();
    pool.put("/b", vec![7; LARGE]);
    let wrong = Tag([9; 16]);
    let full = |tag| Outcome::Full {
        tag,
        headers: HeaderBlock::default(),
        body: Body::Inline("another".into()),
    };
    let unchanged = || Outcome::UseCached { tag: wrong };
    for (mode, outcome, expected) in [
        (Mode::UseCached, unchanged(), FailureKind::WrongTag),
        (Mode::UseCached, full(wrong), FailureKind::WrongBytes),
        (Mode::Full, full(wrong), FailureKind::WrongBytes),
    ] {
        // Two are in flight, by slot alone; then the first of them is asked for again, by its key.
        let faults = || (0..3).map(|_| Fault::Outcome(outcome.clone()));
        let once = load(config(router.address, mode), &pool, faults().take(1).collect()).await;
        let once = once.unwrap().total;
        assert_eq!((once.failures(), once.asked_again), (0, 1), "{mode:?}: any client asks again");
        let measured = load(config(router.address, mode), &pool, faults().collect()).await.unwrap();
        assert_eq!(count(&measured, expected), 1, "{mode:?}");
        assert_eq!((measured.total.failures(), measured.total.asked_again), (1, 2), "{mode:?}");
    }
    for (mode, outcome) in [(Mode::UseCached, Outcome::FateUnknown), (Mode::Full, unchanged())] {
        let faults = vec![Fault::Outcome(outcome)];
        let measured = load(config(router.address, mode), &pool, faults).await.unwrap();
        assert_eq!(count(&measured, FailureKind::WrongReply), 1, "{mode:?}");
        assert_eq!(measured.total.failures(), 1, "{mode:?}");
        assert!(measured.total.replies() > 0, "it goes on");
    }
    // The requests for the two items alternate, and only one has a body that can break.
    let faults = vec![Fault::BrokenBody, Fault::BrokenBody];
    let measured = load(config(router.address, Mode::Full), &pool, faults).await.unwrap();
    assert_eq!((count(&measured, FailureKind::BrokenBody), measured.total.failures()), (1, 1));
}

#[tokio::test]
async fn refusals_are_answers_and_an_unknown_slot_is_asked_for_again() {
    let (pool, router) = router();
    let faults = vec![
        Fault::Outcome(Outcome::UnknownSlot),
        Fault::Outcome(Outcome::Busy { retry_after_ms: 1 }),
        Fault::Outcome(Outcome::error(ErrorCode::Source, "it is broken")),
    ];
    let measured = load(config(router.address, Mode::UseCached), &pool, faults).await.unwrap();
    let total = &measured.total;
    assert_eq!((total.failures(), total.asked_again), (0, 1));
    assert_eq!((total.of(ReplyKind::Busy), total.of(ReplyKind::Error)), (1, 1));
    let sum: u64 = ReplyKind::ALL.into_iter().map(|kind| total.of(kind)).sum();
    assert_eq!((sum, total.latency_ns.len()), (total.replies(), total.replies()));
}

#[tokio::test]
async fn a_lost_connection_costs_what_was_in_flight_and_is_made_again() {
    let (pool, router) = router();
    for (fault, expected) in
        [(Fault::Close(4), FailureKind::ConnectionLost), (Fault::Garbage, FailureKind::Protocol)]
    {
        let config = config(router.address, Mode::UseCached);
        let measured = load(config, &pool, vec![fault]).await.unwrap();
        assert_eq!(count(&measured, expected), 2, "{:?}", measured.total.events);
        assert_eq!((measured.total.failures(), measured.total.reconnects), (2, 1));
        assert_eq!(measured.total.events.len(), 1);
        assert!(measured.total.of(ReplyKind::UseCached) > 0);
    }
}

#[tokio::test]
async fn a_stall_cannot_hide_from_a_planned_rate() {
    let (pool, router) = router();
    let until = Arc::new(Notify::new());
    let stall = Duration::from_millis(300);
    let config = LoadConfig {
        rate: Some(1_000.0),
        duration: 2 * stall,
        ..config(router.address, Mode::UseCached)
    };
    let release = Arc::clone(&until);
    tokio::spawn(async move {
        // The router waits from the first request on, which is planned at the beginning.
        tokio::time::sleep(stall).await;
        release.notify_one();
    });
    let measured = load(config, &pool, vec![Fault::Hold(until)]).await.unwrap();
    let total = &measured.total;
    assert_eq!((total.replies(), total.failures()), (600, 0));
    // Two requests were in flight, but all that were planned meanwhile were late.
    let late = total.latency_ns.count_between(100_000_000, u64::MAX);
    assert!(late >= 100, "{late} were late");
}

#[tokio::test]
async fn what_is_never_answered_or_sent_fails_in_the_end() {
    let (pool, router) = router();
    let config = LoadConfig { rate: Some(100.0), ..config(router.address, Mode::UseCached) };
    let measured = load(config, &pool, vec![Fault::Silence, Fault::Silence]).await.unwrap();
    assert_eq!(count(&measured, FailureKind::Timeout), 2);
    assert_eq!(count(&measured, FailureKind::NotSent), 18);
    assert_eq!((measured.total.failures(), measured.total.replies()), (20, 0));
}

#[tokio::test]
async fn it_ends_when_it_is_told_to_with_what_was_measured() {
    let (_pool, router) = router();
    let duration = Duration::from_secs(3_600);
    let config = LoadConfig { duration, ..config(router.address, Mode::UseCached) };
    let stop = tokio::time::sleep(Duration::from_millis(700));
    let measured = run(config, stop, &mut |_| {}).await.unwrap();
    assert!(measured.is_cut_short && measured.duration < duration);
    assert!(measured.total.of(ReplyKind::UseCached) > 0);
    assert_eq!(measured.total.failures(), 0);
}

#[tokio::test]
async fn handshakes_are_greeted_one_after_the_other() {
    let (pool, router) = router();
    let measured = load(config(router.address, Mode::Connect), &pool, vec![]).await.unwrap();
    assert_eq!(measured.total.failures(), 0);
    assert!(measured.total.of(ReplyKind::Welcome) > 0);
    assert!(pool.hellos().iter().all(|hello| hello.token.is_none()), "each one is a new client");
}

#[tokio::test]
async fn a_wrong_target_is_one_clear_line() {
    let (pool, router) = router();
    let reason =
        async |config: LoadConfig| load(config, &pool, vec![]).await.unwrap_err().to_string();
    let deserted = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = reason(config(deserted, Mode::UseCached)).await;
    assert!(text.ends_with("nobody listens there"), "{text}");

    let other = FakeRouter::start_for(&pool, b"h3");
    let text = reason(config(other.address, Mode::UseCached)).await;
    assert!(text.ends_with("it does not speak this protocol"), "{text}");

    let mut missing = config(router.address, Mode::Full);
    missing.keys = KeyChoice::Named(vec!["/none".parse().unwrap()]);
    let text = reason(missing).await;
    assert!(text.ends_with("/none: there is no such item"), "{text}");

    let mut unlisted = config(router.address, Mode::Full);
    unlisted.keys = KeyChoice::Listed(4);
    let text = reason(unlisted).await;
    assert!(text.contains("--keys FILE"), "{text}");

    let many = LoadConfig { in_flight: 101, ..config(router.address, Mode::UseCached) };
    let text = reason(many).await;
    assert!(text.contains("--in-flight 100 or less"), "{text}");
}
