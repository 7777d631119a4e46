//! The whole library against a router over real QUIC.

use super::fake_router::{FakeRouter, Fault, Pool};
use super::*;
use crate::config::bundled;
use crate::wire::Name;
use crate::wire::Tag;
use crate::wire::lane::{Outcome, Validator};
use bytes::Bytes;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use tokio::sync::Notify;

fn config(routers: &[&FakeRouter]) -> ClientConfig {
    ClientConfig::new(routers.iter().map(|router| router.address).collect())
}

fn with_directory(router: &FakeRouter, path: &Path) -> ClientConfig {
    ClientConfig { cache: CacheConfig::directory(path), ..config(&[router]) }
}

async fn connected(router: &FakeRouter) -> Client {
    Client::connect(config(&[router])).await.unwrap()
}

/// An address on which nobody listens: it was given out a moment ago, to somebody who is gone.
fn deserted() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_client_can_be_shared_among_threads() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    fn sent<T: Send>(_: T) {}
    shared::<Client>();
    // What matters is that these compile; no future is run.
    sent(Client::connect(ClientConfig::new(Vec::new())));
    let _ = |client: &Client, key: Key| {
        sent(client.get("/"));
        sent(client.get_many(["/"]));
        sent(client.start(key, ValidatorPolicy::Auto));
    };
}

#[tokio::test]
async fn items_come_whole_once_and_then_as_a_few_bytes() {
    let pool = Arc::new(Pool::default());
    let router = FakeRouter::start(&pool);
    let (small, large) = (Bytes::from("small"), Bytes::from(vec![9; 3_000_000]));
    pool.put("/small", small.clone());
    pool.put("/large", large.clone());
    let client = connected(&router).await;
    for (key, bytes) in [("/small", small), ("/large", large)] {
        let first = client.get(key).await.unwrap();
        assert_eq!((first.kind, &first.bytes), (ReplyKind::Full, &bytes));
        assert!(first.details.wire_bytes > bytes.len() as u64);
        let second = client.clone().get(key).await.unwrap();
        assert_eq!((second.kind, &second.bytes), (ReplyKind::UseCached, &bytes));
        assert_eq!((second.version, second.headers), (first.version, first.headers));
        assert!(second.details.wire_bytes < 50);
        assert_eq!(second.details.client, client.client_id());
    }
    assert_eq!(client.get("/none").await, Err(Error::NotFound));
    pool.put("/small", "changed");
    assert_eq!(client.get("/small").await.unwrap().bytes, "changed");
    assert_eq!(client.assignment().unwrap().primary().as_str(), "server-1");
    let statistics = client.statistics();
    assert_eq!((statistics.full, statistics.use_cached, statistics.tag_mismatches), (3, 2, 0));
    client.close().await;
}

#[tokio::test]
async fn many_gets_at_once_are_answered_in_the_order_of_their_keys() {
    let pool = Arc::new(Pool::default());
    let router = FakeRouter::start(&pool);
    let names: Vec<_> = (0..700).map(|number| format!("/{number}")).collect();
    for (size, name) in names.iter().enumerate() {
        pool.put(name, vec![size as u8; size * 40]);
    }
    let client = connected(&router).await;
    let mut keys = names.clone();
    keys.insert(300, "/none".to_owned());
    keys.insert(301, "no key".to_owned());
    for kind in [ReplyKind::Full, ReplyKind::UseCached] {
        let mut replies = client.get_many(&keys).await;
        assert!(matches!(replies.remove(301), Err(Error::InvalidKey { .. })));
        assert_eq!(replies.remove(300), Err(Error::NotFound));
        assert_eq!(replies.len(), 700);
        for (size, reply) in replies.into_iter().enumerate() {
            let reply = reply.unwrap();
            assert_eq!((reply.bytes, reply.kind), (vec![size as u8; size * 40].into(), kind));
        }
    }
}

#[tokio::test]
async fn a_get_that_is_dropped_harms_no_other() {
    let pool = Arc::new(Pool::default());
    let router = FakeRouter::start(&pool);
    pool.put("/a", "a");
    pool.put("/b", "b");
    let client = connected(&router).await;
    let held = Arc::new(Notify::new());
    pool.fault(Fault::Hold(Arc::clone(&held)));
    let waits = Duration::from_millis(20);
    assert!(tokio::time::timeout(waits, client.get("/a")).await.is_err());
    let pending = client.start("/b".parse().unwrap(), ValidatorPolicy::Auto).await;
    held.notify_one();
    assert_eq!(pending.wait().await.result.unwrap().bytes, "b");
    let reply = client.get("/a").await.unwrap();
    assert_eq!(reply.kind, ReplyKind::UseCached, "what was given up came to the cache");
}

#[tokio::test]
async fn a_lost_router_is_replaced_by_the_next_one() {
    let pool = Arc::new(Pool::default());
    let routers = [FakeRouter::start(&pool), FakeRouter::start(&pool)];
    pool.put("/a", "a");
    let client = Client::connect(config(&[&routers[0], &routers[1]])).await.unwrap();
    let id = client.client_id();
    client.get("/a").await.unwrap();
    pool.gets();
    pool.fault(Fault::Silence);
    let pending = client.start("/a".parse().unwrap(), ValidatorPolicy::Auto).await;
    while pool.gets().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    routers[0].stop();
    let reply = pending.wait().await.result.unwrap();
    assert_eq!((reply.kind, reply.details.attempts), (ReplyKind::UseCached, 2));
    let hellos = pool.hellos();
    let shown: Vec<_> = hellos.iter().map(|hello| hello.token.is_some()).collect();
    assert_eq!((shown, client.client_id()), (vec![false, true], id));
    assert_eq!(client.statistics().lost_sessions, 1);
}

#[tokio::test]
async fn a_router_that_breaks_the_rules_is_left_and_tried_again() {
    let pool = Arc::new(Pool::default());
    let router = FakeRouter::start(&pool);
    pool.put("/a", "a");
    let client = connected(&router).await;
    for fault in [Fault::Garbage, Fault::Close(1), Fault::Close(77)] {
        pool.fault(fault);
        assert_eq!(client.get("/a").await.unwrap().bytes, "a");
    }
    let statistics = client.statistics();
    assert_eq!((statistics.violations, statistics.lost_sessions), (1, 3));
    pool.fault(Fault::Outcome(Outcome::UseCached { tag: Tag([3; 16]) }));
    assert_eq!(client.get("/a").await.unwrap().bytes, "a");
    assert_eq!(client.statistics().tag_mismatches, 1);
}

#[tokio::test]
async fn broken_and_endless_bodies_are_survived() {
    let pool = Arc::new(Pool::default());
    let router = FakeRouter::start(&pool);
    let large = Bytes::from(vec![5; 500_000]);
    pool.put("/large", large.clone());
    let client = ClientConfig { max_body: 600_000, ..config(&[&router]) };
    let client = Client::connect(client).await.unwrap();
    pool.fault(Fault::BrokenBody);
    pool.fault(Fault::EndlessBody);
    let reply = client.get("/large").await.unwrap();
    assert_eq!((reply.bytes, reply.details.attempts), (large, 3));
    assert_eq!(client.statistics().broken_bodies, 2);
    pool.put("/large", vec![5; 600_001]);
    let too_large = Error::TooLarge { length: 600_001, limit: 600_000 };
    assert_eq!(client.get("/large").await, Err(too_large));
}

#[tokio::test]
async fn a_superseded_client_says_so_and_stays_away() {
    let pool = Arc::new(Pool::default());
    let router = FakeRouter::start(&pool);
    pool.put("/a", "a");
    let client = connected(&router).await;
    pool.fault(Fault::Close(3));
    assert_eq!(client.get("/a").await, Err(Error::Superseded));
    assert_eq!(client.get("/a").await, Err(Error::Superseded));
    assert_eq!(pool.hellos().len(), 1);
}

#[tokio::test]
async fn gets_of_a_closed_client_end() {
    let pool = Arc::new(Pool::default());
    let router = FakeRouter::start(&pool);
    let client = connected(&router).await;
    pool.fault(Fault::Silence);
    let pending = client.start("/a".parse().unwrap(), ValidatorPolicy::Auto).await;
    client.clone().close().await;
    assert_eq!(pending.wait().await.result.unwrap_err().error, Error::Closed);
    assert_eq!(client.get("/a").await, Err(Error::Closed));
}

#[tokio::test]
async fn connecting_to_nobody_fails_at_once_and_says_why() {
    let pool = Arc::new(Pool::default());
    let foreign = FakeRouter::start_for(&pool, b"another/1");
    let (one, two) = (deserted(), foreign.address);
    let attempts = match Client::connect(ClientConfig::new(vec![one, two])).await {
        Err(ConnectError::Unreachable { attempts }) => attempts,
        other => panic!("{other:?}"),
    };
    let nobody = "nobody listens there".to_owned();
    let foreign = "it does not speak this protocol".to_owned();
    assert_eq!(attempts, [(one, nobody), (two, foreign)]);
}

#[tokio::test]
async fn wrong_certificates_and_pools_are_named() {
    let pool = Arc::new(Pool::default());
    let router = FakeRouter::start(&pool);
    let other_ca = Roots::Pem(bundled::BACKPLANE_CA.pem.into());
    let error = |config| async move { Client::connect(config).await.unwrap_err().to_string() };
    let text = error(ClientConfig { roots: other_ca, ..config(&[&router]) }).await;
    assert!(text.contains("a CA that this client does not trust"), "{text}");
    let elsewhere = "example.net".to_owned();
    let text = error(ClientConfig { server_name: elsewhere, ..config(&[&router]) }).await;
    assert!(text.contains("not valid for name"), "{text}");
    let no_pem = Roots::Pem(Bytes::from_static(b"nothing"));
    let text = error(ClientConfig { roots: no_pem, ..config(&[&router]) }).await;
    assert!(text.contains("no certificate"), "{text}");
    let missing = Some(Name::new("missing").unwrap());
    let text = error(ClientConfig { pool: missing, ..config(&[&router]) }).await;
    assert!(text.contains("no such pool"), "{text}");
    let beyond = ClientConfig::new(vec!["192.0.2.1:4433".parse().unwrap()]);
    assert!(error(beyond).await.contains("bundled CA"));
    assert!(error(ClientConfig::new(Vec::new())).await.contains("no router"));
}

#[tokio::test]
async fn a_directory_outlives_the_process() {
    let pool = Arc::new(Pool::default());
    let router = FakeRouter::start(&pool);
    let place = tempfile::tempdir().unwrap();
    let (small, large) = (Bytes::from("small"), Bytes::from(vec![9; 1_000_000]));
    pool.put("/small", small.clone());
    pool.put("/large", large.clone());
    let mut ids = Vec::new();
    for run in 0..3 {
        let client = Client::connect(with_directory(&router, place.path())).await.unwrap();
        ids.push(client.client_id());
        for (key, bytes) in [("/small", &small), ("/large", &large)] {
            let reply = client.get(key).await.unwrap();
            assert_eq!(reply.kind == ReplyKind::UseCached, run > 0, "run {run}");
            assert_eq!(&reply.bytes, bytes);
            assert!(run == 0 || reply.details.wire_bytes < 200);
        }
        client.close().await;
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "the token is kept: {ids:?}");

    // The bytes of an item rot: it is asked for again, and told so.
    for entry in std::fs::read_dir(place.path().join("items")).unwrap() {
        let path = entry.unwrap().path();
        let mut file = std::fs::read(&path).unwrap();
        *file.last_mut().unwrap() ^= 1;
        std::fs::write(&path, file).unwrap();
    }
    pool.gets();
    let client = Client::connect(with_directory(&router, place.path())).await.unwrap();
    for (key, bytes) in [("/small", &small), ("/large", &large)] {
        let reply = client.get(key).await.unwrap();
        assert_eq!((reply.kind, &reply.bytes), (ReplyKind::Full, bytes));
    }
    assert_eq!(client.statistics().damaged_items, 2);
    let strong =
        pool.gets().iter().filter(|get| matches!(get.validator, Validator::Strong { .. })).count();
    assert_eq!(strong, 4);
}

#[tokio::test]
async fn a_directory_belongs_to_one_client_at_a_time() {
    let pool = Arc::new(Pool::default());
    let router = FakeRouter::start(&pool);
    let place = tempfile::tempdir().unwrap();
    let client = Client::connect(with_directory(&router, place.path())).await.unwrap();
    let second = Client::connect(with_directory(&router, place.path())).await.unwrap_err();
    let expected = format!("is used by process {}", std::process::id());
    assert!(second.to_string().contains(&expected), "{second}");
    client.close().await;
    let unreachable = ClientConfig {
        cache: CacheConfig::directory(place.path()),
        ..ClientConfig::new(vec![deserted()])
    };
    Client::connect(unreachable).await.unwrap_err();
    Client::connect(with_directory(&router, place.path())).await.unwrap();
}

#[tokio::test]
async fn without_a_usable_directory_the_cache_is_in_memory() {
    let pool = Arc::new(Pool::default());
    let router = FakeRouter::start(&pool);
    pool.put("/a", "a");
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let client = Client::connect(with_directory(&router, &file)).await.unwrap();
    for kind in [ReplyKind::Full, ReplyKind::UseCached] {
        assert_eq!(client.get("/a").await.unwrap().kind, kind);
    }

    // A directory that goes bad while it is used.
    let path = place.path().join("cache");
    let client = Client::connect(with_directory(&router, &path)).await.unwrap();
    std::fs::remove_dir_all(path.join("items")).unwrap();
    for kind in [ReplyKind::Full, ReplyKind::UseCached] {
        assert_eq!(client.get("/a").await.unwrap().kind, kind);
    }
    client.close().await;
}

#[tokio::test]
async fn what_left_memory_comes_back_from_disk() {
    let pool = Arc::new(Pool::default());
    let router = FakeRouter::start(&pool);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().to_owned();
    let cache = CacheConfig::Directory { path, max_bytes: 1 << 20, max_memory_bytes: 0 };
    let config = ClientConfig { cache, ..config(&[&router]) };
    pool.put("/a", vec![1; 1_000]);
    let client = Client::connect(config).await.unwrap();
    client.get("/a").await.unwrap();
    // Only what is on disk leaves memory; from then on a damaged file shows.
    let file = place.path().join("items/0");
    for _ in 0..1_000 {
        let Ok(mut bytes) = std::fs::read(&file) else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let reply = client.get("/a").await.unwrap();
        assert_eq!(reply.bytes, vec![1; 1_000]);
        if client.statistics().damaged_items > 0 {
            assert_eq!(reply.kind, ReplyKind::Full);
            return;
        }
    }
    panic!("the bytes never left memory");
}
