//! A router with all servers in one, over real QUIC, that misbehaves when it is told to.

use crate::config::bundled;
use crate::mirror::{Version, decide};
use crate::net::frames::FrameReader;
use crate::net::tls;
use crate::wire::frame::{MAX_INLINE_BODY, MAX_PAYLOAD};
use crate::wire::lane::{Body, BodyStart, ErrorCode, Get, Outcome, Reply};
use crate::wire::session::{ALPN, Hello, Limits, Welcome};
use crate::wire::{Assignment, ClientId, Epoch, Fingerprint, HeaderBlock, HeaderName, Key, Name};
use bytes::Bytes;
use quinn::VarInt;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// What to do with the next request instead of answering it as it should be.
pub(crate) enum Fault {
    /// Bytes that are no frame.
    Garbage,
    /// Close the connection with this code.
    Close(u32),
    /// No answer.
    Silence,
    /// Answer when told to.
    Hold(Arc<Notify>),
    /// A body that is reset in its middle.
    BrokenBody,
    /// A body that never ends.
    EndlessBody,
    /// The answer to another question: this one.
    Outcome(Outcome),
}

/// What routers of one test share.
#[derive(Default)]
pub(crate) struct Pool {
    items: Mutex<BTreeMap<Key, Version>>,
    mirrors: Mutex<BTreeMap<[u8; 16], Mirror>>,
    faults: Mutex<VecDeque<Fault>>,
    hellos: Mutex<Vec<Hello>>,
    gets: Mutex<Vec<Get>>,
}

type Mirror = BTreeMap<u64, (Key, Option<Fingerprint>)>;

pub(crate) struct FakeRouter {
    pub(crate) address: SocketAddr,
    endpoint: quinn::Endpoint,
}

impl Pool {
    pub(crate) fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        let headers = HeaderBlock::new([(HeaderName::ContentType, "text/plain")]).unwrap();
        let version = Version::new(headers, bytes.into());
        self.items.lock().unwrap().insert(key.parse().unwrap(), version);
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }

    /// The HELLOs that came since this was last called.
    pub(crate) fn hellos(&self) -> Vec<Hello> {
        std::mem::take(&mut self.hellos.lock().unwrap())
    }

    /// The GETs that came since this was last called.
    pub(crate) fn gets(&self) -> Vec<Get> {
        std::mem::take(&mut self.gets.lock().unwrap())
    }

    fn answer(&self, client: [u8; 16], get: &Get) -> (Outcome, Option<Version>) {
        let mut mirrors = self.mirrors.lock().unwrap();
        let mirror = mirrors.entry(client).or_default();
        let known = mirror.get(&get.slot).cloned();
        let (key, held) = match (&get.key, known) {
            (Some(key), Some((known, held))) if *key == known => (known, held),
            (Some(key), _) => (key.clone(), None),
            (None, Some(known)) => known,
            (None, None) => return (Outcome::UnknownSlot, None),
        };
        let Some(fresh) = self.items.lock().unwrap().get(&key).cloned() else {
            mirror.insert(get.slot, (key, None));
            return (Outcome::NotFound, None);
        };
        let print = *fresh.fingerprint();
        let verdict = decide(held.as_ref(), &get.validator, &print);
        let tag = key.tag(&print.digest);
        mirror.insert(get.slot, (key, Some(print)));
        if verdict.use_cached.is_some() {
            return (Outcome::UseCached { tag }, None);
        }
        let headers = fresh.headers().clone();
        match fresh.body().len() {
            0..=MAX_INLINE_BODY => {
                let body = Body::Inline(fresh.body().clone());
                (Outcome::Full { tag, headers, body }, None)
            }
            length => {
                let body = Body::Stream { length: length as u64 };
                (Outcome::Full { tag, headers, body }, Some(fresh))
            }
        }
    }
}

impl FakeRouter {
    /// Starts a router on loopback.
    pub(crate) fn start(pool: &Arc<Pool>) -> Self {
        Self::start_for(pool, ALPN)
    }

    pub(crate) fn start_for(pool: &Arc<Pool>, alpn: &[u8]) -> Self {
        let place = tempfile::tempdir().unwrap();
        bundled::write_to(place.path()).unwrap();
        let file = |name: &str| place.path().join(Path::new(name));
        let (cert, key) = (file(bundled::PUBLIC_CERT.name), file(bundled::PUBLIC_KEY.name));
        let config = tls::public_server(&cert, &key, &[alpn]).unwrap();
        let config = quinn::ServerConfig::with_crypto(tls::quic_server(config));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = quinn::Endpoint::server(config, any).unwrap();
        let (accepting, pool) = (endpoint.clone(), Arc::clone(pool));
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                tokio::spawn(serve(Arc::clone(&pool), incoming));
            }
        });
        Self { address: endpoint.local_addr().unwrap(), endpoint }
    }

    /// Ends all connections and takes no new ones.
    pub(crate) fn stop(&self) {
        self.endpoint.close(VarInt::from_u32(4), b"stopped");
    }
}

fn assignment(term: u64) -> Assignment {
    let name = |text| Name::new(text).unwrap();
    let epoch = Epoch::new(term, name("server-1"));
    Assignment { epoch, alternate: Some(name("server-2")) }
}

/// Serves one client; ends quietly when anything breaks, as it does when a test ends.
async fn serve(pool: Arc<Pool>, incoming: quinn::Incoming) -> Option<()> {
    let connection = incoming.await.ok()?;
    let (mut session, receive) = connection.accept_bi().await.ok()?;
    let mut frames = FrameReader::new(receive, MAX_PAYLOAD);
    let hello = Hello::decode(frames.next().await.ok()??.payload()).ok()?;
    let fresh = rand::random::<[u8; 16]>();
    let client = hello.token.as_ref().map_or(fresh, |token| token[..].try_into().unwrap());
    if hello.pool.as_ref().is_some_and(|pool| pool.as_str() != "default") {
        connection.close(VarInt::from_u32(2), b"no such pool");
        return None;
    }
    pool.hellos.lock().unwrap().push(hello);
    let limits = Limits { slots: 1_000, in_flight: 100, max_item: 1 << 26 };
    let token = Bytes::copy_from_slice(&client);
    let (client_id, assignment) = (ClientId(client), assignment(1));
    let welcome = Welcome { version: 1, client: client_id, token, assignment, limits };
    session.write_all(welcome.encode().bytes()).await.ok()?;
    while let Ok((mut send, receive)) = connection.accept_bi().await {
        let mut lane = FrameReader::new(receive, MAX_PAYLOAD);
        while let Ok(Some(frame)) = lane.next().await {
            let get = Get::decode(frame.payload()).ok()?;
            pool.gets.lock().unwrap().push(get.clone());
            request(&pool, &connection, &mut send, client, get).await?;
        }
    }
    Some(())
}

async fn request(
    pool: &Pool,
    connection: &quinn::Connection,
    lane: &mut quinn::SendStream,
    client: [u8; 16],
    get: Get,
) -> Option<()> {
    let fault = pool.faults.lock().unwrap().pop_front();
    let (mut outcome, mut body) = pool.answer(client, &get);
    match &fault {
        None | Some(Fault::BrokenBody) => {}
        Some(Fault::Silence) => return Some(()),
        Some(Fault::Garbage) => return lane.write_all(&[0xee; 100]).await.ok(),
        Some(Fault::Close(code)) => {
            connection.close(VarInt::from_u32(*code), b"\x1b[31mbecause the test says so");
            return None;
        }
        Some(Fault::Hold(until)) => until.notified().await,
        Some(Fault::Outcome(other)) => (outcome, body) = (other.clone(), None),
        Some(Fault::EndlessBody) => {
            let mut stream = connection.open_uni().await.ok()?;
            let start = BodyStart { request_id: get.request_id, offset: 0 };
            stream.write_all(start.encode().bytes()).await.ok()?;
            while stream.write_all(&[0; 65_536]).await.is_ok() {}
            outcome = Outcome::error(ErrorCode::Unavailable, "the reader had enough");
        }
    }
    let frame = Reply { request_id: get.request_id, outcome }.encode();
    lane.write_all(frame.bytes()).await.ok()?;
    if let Some(version) = body {
        let mut stream = connection.open_uni().await.ok()?;
        let start = BodyStart { request_id: get.request_id, offset: 0 };
        stream.write_all(start.encode().bytes()).await.ok()?;
        if let Some(Fault::BrokenBody) = fault {
            stream.write_all(&version.body()[..1_000]).await.ok()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.reset(VarInt::from_u32(0)).ok()?;
        } else {
            tokio::spawn(async move {
                let _ = stream.write_chunk(version.body().clone()).await;
            });
        }
    }
    Some(())
}
