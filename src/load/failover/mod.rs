//! Load for a cluster in which something is about to fail: few clients that last, requests by a
//! plan that waits for nobody, and every answer held against the bytes that it must have.
//!
//! It uses the client library, not the lean client of the other loads: what counts here is what an
//! application sees, reconnecting and asking again included, and a thousand requests a second cost
//! little either way.

mod items;

pub(crate) use items::{Class, Items, KINDS, PER_MILLE};

use super::LoadError;
use super::timer::Timer;
use crate::net::client::{
    Answered, CacheConfig, Client, ClientConfig, ReplyKind, ValidatorKind, ValidatorPolicy,
};
use bytes::Bytes;
use items::{CACHE_BYTES, Wanted};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::LocalOptions;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// A request that was not answered for so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Bodies up to this length are held against what they should be where they come in; longer ones
/// beside it, as that takes long enough to hold up other answers.
const COMPARED_AT_ONCE: usize = 64 << 10;
/// Different reasons of failures that are kept.
const MAX_REASONS: usize = 16;

/// What a load is told.
#[derive(Debug)]
pub(crate) struct Load {
    /// The routers that each client knows; their first one differs from client to client.
    pub(crate) routers: Vec<SocketAddr>,
    /// Clients, each with a connection.
    pub(crate) connections: usize,
    /// Requests a second, of all together.
    pub(crate) rate: f64,
    /// What is asked for.
    pub(crate) items: Items,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The copy is good: what the request that brought this said of it.
    UseCached(ValidatorKind),
    /// The bytes came, whole or as a difference.
    Sent,
    /// It brought other bytes than it should.
    WrongBytes,
    /// An error, or no answer in time.
    Failed,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// When it was planned, from the start of the load.
    pub(crate) planned: Duration,
    /// From then to its end.
    pub(crate) latency: Duration,
    /// How much later than planned it was begun: the generator's part of the latency.
    pub(crate) late: Duration,
    pub(crate) class: Class,
    /// Which client asked.
    pub(crate) client: usize,
    pub(crate) outcome: Outcome,
    /// How often it was asked.
    pub(crate) attempts: u32,
    /// Bytes that came beyond those of one whole answer.
    pub(crate) sent_again: u64,
}

/// All that there is to tell of a load.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    pub(crate) all: Vec<Sample>,
    /// Why requests failed, each reason once.
    pub(crate) reasons: Vec<String>,
}

/// What a load is told while it is under way.
#[derive(Default)]
struct Orders {
    stop: AtomicBool,
    /// Clients that are to ask for 10 MiB next, one bit for each.
    long: AtomicU64,
}

/// A load that is under way. It ends when this is dropped.
pub(crate) struct Running {
    /// The clients, to see who services them. The first router of client `n` is router `n` modulo
    /// their number.
    pub(crate) clients: Vec<Client>,
    /// When the first request was planned.
    pub(crate) start: Instant,
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
    samples: oneshot::Receiver<Samples>,
}

impl Running {
    /// Connects the clients, lets each fetch what it is to hold, and begins.
    pub(crate) async fn start(load: Load) -> Result<Self, LoadError> {
        let (ready, when_ready) = oneshot::channel();
        let (done, samples) = oneshot::channel();
        let orders = Arc::<Orders>::default();
        let given = Arc::clone(&orders);
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(work(load, &given, ready, done)),
                Err(why) => {
                    let error = LoadError::new(&format!("no event loop: {why}"));
                    // Who started the load may have given it up.
                    let _ = ready.send(Err(error));
                }
            }
        });
        let thread = thread.map_err(|why| LoadError::new(&format!("no thread: {why}")))?;
        let (clients, start) = when_ready.await.map_err(|_| LoadError::given_up())??;
        Ok(Self { clients, start, orders, thread: Some(thread), samples })
    }

    /// Has a client ask for 10 MiB in place of its next request, so that a body is under way soon.
    /// Of the first 64 clients only.
    pub(crate) fn ask_for_longest(&self, client: usize) {
        self.orders.long.fetch_or(1_u64.checked_shl(client as u32).unwrap_or(0), Ordering::Relaxed);
    }

    /// Ends the load, waits for the answers that are still to come, and returns all.
    pub(crate) async fn finish(mut self) -> Result<Samples, LoadError> {
        self.orders.stop.store(true, Ordering::Relaxed);
        let samples = (&mut self.samples).await.map_err(|_| LoadError::given_up());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        samples
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.orders.stop.store(true, Ordering::Relaxed);
    }
}

type Ready = oneshot::Sender<Result<(Vec<Client>, Instant), LoadError>>;

async fn work(load: Load, orders: &Orders, ready: Ready, done: oneshot::Sender<Samples>) {
    let (clients, mut timer) = match prepare(&load).await {
        Ok(prepared) => prepared,
        // Who started the load may have given it up; so below.
        Err(error) => return drop(ready.send(Err(error))),
    };
    let start = Instant::now();
    if ready.send(Ok((clients.clone(), start))).is_err() {
        return;
    }
    let Load { rate, items, .. } = load;
    let seen = Rc::new(RefCell::new(Samples::default()));
    let comparer = Rc::new(Comparer::start());
    let mut requests = JoinSet::new();
    for number in 0.. {
        let planned = Duration::from_secs_f64(number as f64 / rate);
        if start + planned > Instant::now() {
            // Should the timer fail, what is due is late, and counted as such.
            let _ = timer.sleep_until(start + planned).await;
        }
        if orders.stop.load(Ordering::Relaxed) {
            break;
        }
        let place = number as usize % clients.len();
        let bit = 1_u64.checked_shl(place as u32).unwrap_or(0);
        let wanted = match orders.long.fetch_and(!bit, Ordering::Relaxed) & bit {
            0 => items.pick(number, number / clients.len() as u64),
            _ => items.longest(),
        };
        let request = Request { client: clients[place].clone(), place, wanted, start, planned };
        let (seen, comparer) = (Rc::clone(&seen), Rc::clone(&comparer));
        requests.spawn_local(async move { request.run(&seen, &comparer).await });
        while requests.try_join_next().is_some() {}
        if number % 64 == 0 {
            // What is behind its plan must not keep the answers from being read.
            tokio::task::yield_now().await;
        }
    }
    while requests.join_next().await.is_some() {}
    drop(requests);
    for client in clients {
        client.close().await;
    }
    let _ = done.send(seen.take());
}

/// Connects all clients, and lets each fetch what it is to hold.
async fn prepare(load: &Load) -> Result<(Vec<Client>, Timer), LoadError> {
    let timer = Timer::new().map_err(|why| LoadError::new(&format!("no timer: {why}")))?;
    let mut clients = Vec::new();
    for place in 0..load.connections {
        let mut routers = load.routers.clone();
        routers.rotate_left(place % load.routers.len());
        let mut config = ClientConfig::new(routers);
        config.cache = CacheConfig::Memory { max_bytes: CACHE_BYTES };
        config.request_timeout = PATIENCE;
        let client = Client::connect(config).await.map_err(|why| LoadError::new(&why))?;
        for Wanted { key, bytes, .. } in load.items.held() {
            let reply = client.get(&key).await;
            let reply = reply.map_err(|why| LoadError::new(&format!("{key}: {why}")))?;
            if reply.bytes != bytes {
                return Err(LoadError::new(&format!("{key}: it has wrong bytes")));
            }
        }
        clients.push(client);
    }
    Ok((clients, timer))
}

/// One request under way.
struct Request {
    client: Client,
    place: usize,
    wanted: Wanted,
    start: Instant,
    planned: Duration,
}

impl Request {
    async fn run(self, seen: &RefCell<Samples>, comparer: &Comparer) {
        let Self { client, place, wanted, start, planned } = self;
        let policy = match wanted.class {
            Class::Held(ValidatorKind::None) => ValidatorPolicy::None,
            Class::Held(ValidatorKind::Crc) => ValidatorPolicy::Crc,
            Class::Held(ValidatorKind::Strong) => ValidatorPolicy::Strong,
            _ => ValidatorPolicy::Auto,
        };
        let late = start.elapsed().saturating_sub(planned);
        let key = wanted.key.parse().expect("the items' names are keys");
        let pending = client.start(key, policy).await;
        let Answered { result, .. } = pending.wait().await;
        let latency = start.elapsed().saturating_sub(planned);
        let (outcome, details, why) = match result {
            Ok(reply) => {
                let details = reply.details;
                let is_right = comparer.is_same(reply.bytes, wanted.bytes.clone()).await;
                let outcome = match (reply.kind, details.validator) {
                    _ if !is_right => Outcome::WrongBytes,
                    (ReplyKind::UseCached, Some(kind)) => Outcome::UseCached(kind),
                    _ => Outcome::Sent,
                };
                (outcome, details, None)
            }
            Err(failure) => (Outcome::Failed, failure.details, Some(failure.error.to_string())),
        };
        let outcome = if latency > PATIENCE { Outcome::Failed } else { outcome };
        // Frames and headers of one answer take less than what is tolerated here.
        let once = wanted.bytes.len() as u64 + 4_096;
        let sent_again = details.wire_bytes.saturating_sub(once);
        let attempts = details.attempts;
        let client = place;
        let class = wanted.class;
        let mut seen = seen.borrow_mut();
        let sample =
            Sample { planned, latency, late, class, client, outcome, attempts, sent_again };
        seen.all.push(sample);
        if let Some(why) = why
            && seen.reasons.len() < MAX_REASONS
            && !seen.reasons.contains(&why)
        {
            seen.reasons.push(why);
        }
    }
}

/// A thread that holds long bodies against what they should be.
struct Comparer(mpsc::Sender<(Bytes, Bytes, oneshot::Sender<bool>)>);

impl Comparer {
    fn start() -> Self {
        let (sender, receiver) = mpsc::channel::<(Bytes, Bytes, oneshot::Sender<bool>)>();
        std::thread::spawn(move || {
            for (one, other, answer) in receiver {
                // Who asked waits for the answer.
                let _ = answer.send(one == other);
            }
        });
        Self(sender)
    }

    async fn is_same(&self, one: Bytes, other: Bytes) -> bool {
        if one.len() <= COMPARED_AT_ONCE {
            return one == other;
        }
        let (answer, answered) = oneshot::channel();
        self.0.send((one, other, answer)).expect("the thread ends after this");
        answered.await.expect("the thread answers everything")
    }
}
