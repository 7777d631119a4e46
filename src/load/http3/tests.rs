//! Runs against a small HTTP/3 server that can be told to misbehave.

use crate::config::bundled;
use crate::load::config::{Claim, KeyChoice, LoadConfig, Mode, Target, Trust};
use crate::load::tally::{FailureKind, ReplyKind};
use crate::load::{LoadError, Measured, Progress, run};
use crate::net::tls;
use bytes::Bytes;
use http::header::{ETAG, IF_NONE_MATCH};
use http::{Response, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const LIST: &str = "[\"/a\", \"/b\", \"/now.json\"]";

/// What the next whole answers are instead of being right.
#[derive(Default)]
struct Faults {
    /// So many have other bytes under the same ETag.
    other_bytes: AtomicU32,
    /// So many say 304, whatever was asked.
    not_modified: AtomicU32,
    /// So many say 503.
    unavailable: AtomicU32,
}

fn takes_one(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
}

fn start() -> (SocketAddr, Arc<Faults>) {
    let place = tempfile::tempdir().unwrap();
    bundled::write_to(place.path()).unwrap();
    let file = |name: &str| place.path().join(name);
    let (cert, key) = (file(bundled::PUBLIC_CERT.name), file(bundled::PUBLIC_KEY.name));
    let config = tls::public_server(&cert, &key, &[b"h3"]).unwrap();
    let config = quinn::ServerConfig::with_crypto(tls::quic_server(config));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint = quinn::Endpoint::server(config, any).unwrap();
    let address = endpoint.local_addr().unwrap();
    let faults = Arc::new(Faults::default());
    let told = Arc::clone(&faults);
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(serve(incoming, Arc::clone(&told)));
        }
    });
    (address, faults)
}

/// Serves one client; ends quietly when anything breaks, as it does when a test ends.
async fn serve(incoming: quinn::Incoming, faults: Arc<Faults>) -> Option<()> {
    let connection = h3_quinn::Connection::new(incoming.await.ok()?);
    let mut connection = h3::server::Connection::<_, Bytes>::new(connection).await.ok()?;
    while let Some(resolver) = connection.accept().await.ok()? {
        let (request, mut stream) = resolver.resolve_request().await.ok()?;
        let path = request.uri().path();
        let etag = format!("\"{path}\"");
        let holds = request.headers().get(IF_NONE_MATCH).is_some_and(|held| *held == etag[..]);
        let (status, body) = match path {
            _ if takes_one(&faults.not_modified) => (StatusCode::NOT_MODIFIED, ""),
            _ if holds => (StatusCode::NOT_MODIFIED, ""),
            _ if takes_one(&faults.unavailable) => (StatusCode::SERVICE_UNAVAILABLE, ""),
            _ if takes_one(&faults.other_bytes) => (StatusCode::OK, "other"),
            "/list.json" => (StatusCode::OK, LIST),
            "/a" | "/b" | "/plain" => (StatusCode::OK, "bytes"),
            _ => (StatusCode::NOT_FOUND, ""),
        };
        let mut response = Response::builder().status(status);
        if path != "/plain" {
            response = response.header(ETAG, etag);
        }
        stream.send_response(response.body(()).ok()?).await.ok()?;
        stream.send_data(Bytes::from_static(body.as_bytes())).await.ok()?;
        stream.finish().await.ok()?;
    }
    Some(())
}

fn config(address: SocketAddr, mode: Mode) -> LoadConfig {
    LoadConfig {
        target: Target::Http3 { address, authority: address.to_string(), prefix: String::new() },
        trust: Trust::Anybody,
        server_name: "another.example".to_owned(),
        mode,
        keys: KeyChoice::Listed(3),
        claim: Claim::None,
        connections: 2,
        in_flight: 2,
        rate: None,
        warmup: Duration::ZERO,
        duration: Duration::from_millis(200),
        workers: 1,
        pids: vec![],
    }
}

async fn load(config: LoadConfig) -> Result<Measured, LoadError> {
    run(config, std::future::pending(), &mut |_| {}).await
}

#[tokio::test]
async fn each_mode_gets_what_it_asks_for() {
    let (address, _) = start();
    for mode in [Mode::UseCached, Mode::Full, Mode::Mixed, Mode::Connect] {
        let measured = load(config(address, mode)).await.unwrap();
        let total = &measured.total;
        assert_eq!(total.failures(), 0, "{mode:?} {:?}", total.events);
        let [same, whole, welcome] =
            [ReplyKind::UseCached, ReplyKind::Full, ReplyKind::Welcome].map(|kind| total.of(kind));
        let expected = match mode {
            Mode::UseCached => (true, false, false),
            Mode::Full => (false, true, false),
            Mode::Mixed => (true, true, false),
            Mode::Connect | Mode::Echo => (false, false, true),
        };
        assert_eq!((same > 0, whole > 0, welcome > 0), expected, "{mode:?}");
        assert_eq!(same + whole + welcome, total.replies());
    }
}

#[tokio::test]
async fn wrong_answers_count_as_what_they_are() {
    let (address, faults) = start();
    for (fault, mode, expected) in [
        (&faults.other_bytes, Mode::Full, Err(FailureKind::WrongBytes)),
        (&faults.not_modified, Mode::Full, Err(FailureKind::WrongReply)),
        (&faults.unavailable, Mode::Full, Ok(ReplyKind::Busy)),
    ] {
        let ready = &mut |progress: Progress<'_>| {
            if let Progress::Ready(_) = progress {
                fault.store(3, Ordering::SeqCst);
            }
        };
        let measured = run(config(address, mode), std::future::pending(), ready).await.unwrap();
        let total = &measured.total;
        let (counted, failures) = match expected {
            Ok(kind) => (total.of(kind), 0),
            Err(kind) => (total.failures_of(kind), 3),
        };
        assert_eq!((counted, total.failures()), (3, failures), "{expected:?}");
        assert!(total.of(ReplyKind::Full) > 0, "it goes on");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_one_clear_line() {
    let (address, _) = start();
    let reason = async |key: &str, mode, trust| {
        let keys = KeyChoice::Named(vec![key.parse().unwrap()]);
        let config = LoadConfig { keys, trust, ..config(address, mode) };
        load(config).await.map(|measured| measured.total.failures()).map_err(|why| why.to_string())
    };
    let text = reason("/none", Mode::Full, Trust::Anybody).await.unwrap_err();
    assert!(text.contains("/none: the answer is 404"), "{text}");
    let text = reason("/plain", Mode::UseCached, Trust::Anybody).await.unwrap_err();
    assert!(text.contains("use --mode full"), "{text}");
    assert_eq!(reason("/plain", Mode::Full, Trust::Anybody).await, Ok(0));
    let text = reason("/a", Mode::Full, Trust::Bundled).await.unwrap_err();
    assert!(text.contains("certificate"), "another.example is not in it: {text}");
}
