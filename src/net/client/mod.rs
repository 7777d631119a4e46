//! The client library: a cloneable handle, and one task that does the work.

// A shell has clocks, files and sockets; the rules of the pure core end here.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod cache_directory;
mod calls;
mod command;
mod config;
mod dial;
mod driver;
#[cfg(all(test, feature = "server"))]
pub(crate) mod fake_router;
mod link;
mod storage;
#[cfg(all(test, feature = "server"))]
mod tests;

pub use crate::node::client::{
    CallReply, CallRequest, Details, Error, Failure, Reply, ReplyKind, Statistics, ValidatorKind,
    ValidatorPolicy,
};
pub use calls::CallAnswered;
pub use config::{CacheConfig, ClientConfig, ConnectError, Roots};
#[cfg(feature = "cli")]
pub(crate) use dial::{Lost, any_address, nobody_listens};

use crate::net::clock::Clock;
use crate::net::tls;
use crate::node::client::{Client as Node, Config, Saved};
use crate::wire::session::ALPN;
use crate::wire::{Assignment, ClientId, Key};
use cache_directory::{CacheDirectory, OpenError};
use command::Command;
use dial::Dialer;
use driver::{Driver, First};
use hashbrown::HashMap;
use link::Link;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use storage::Storage;
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that may wait for the task; who has more to say waits too.
const MAX_COMMANDS: usize = 1024;
/// Gets that [`Client::get_many`] has open at one time.
pub(crate) const MANY: usize = 4096;

/// A client of a pool: asks for items, keeps them, and is told in a few bytes that what it has is
/// still fresh.
///
/// Cheap to clone; all clones are one client, with one cache, one session and one place among the
/// servers' mirrors. Needs a tokio runtime of either kind. It reconnects by itself, to the next
/// router if there are several, and asks again for whatever was not answered. When the last clone
/// is dropped it ends; [`Client::close`] also waits until a cache directory is written.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    commands: mpsc::Sender<Command>,
    snapshot: watch::Receiver<Snapshot>,
    next_ticket: AtomicU64,
}

/// What can be seen of a client at one moment.
#[derive(Clone, Debug, Default)]
struct Snapshot {
    client: Option<ClientId>,
    assignment: Option<Assignment>,
    ready: bool,
    statistics: Statistics,
}

/// The end of a get, with the time that it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// What it got.
    pub result: Result<Reply, Failure>,
    /// From the moment the client took it on to its end.
    pub elapsed: Duration,
}

/// A get that is under way. Dropping it gives it up.
#[derive(Debug)]
pub struct Pending {
    shared: Arc<Shared>,
    ticket: u64,
    answer: Option<oneshot::Receiver<Answered>>,
}

impl Client {
    /// Starts a client, and waits for its first session.
    ///
    /// # Errors
    /// A configuration that contradicts itself, certificates that cannot be read, a cache directory
    /// that another process uses, or no router that answers: each is tried once.
    pub async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        config.validate()?;
        let roots = match &config.roots {
            Roots::Bundled => tls::Roots::Bundled,
            Roots::File(path) => tls::Roots::File(path),
            Roots::Pem(text) => tls::Roots::Pem(text),
        };
        let tls = tls::public_client(roots, &[ALPN]);
        let tls = tls.map_err(|why| ConnectError::Roots { what: why.to_string() })?;
        let dialer = Dialer::new(&config, tls::quic_client(tls));
        let (node, clock, storage) = open_cache(&config).await?;
        let (commands, received) = mpsc::channel(MAX_COMMANDS);
        let (shown, snapshot) = watch::channel(Snapshot::default());
        let (done, connected) = oneshot::channel();
        let driver = Driver {
            node,
            clock,
            routers: config.routers,
            router: 0,
            dialer,
            link: Link::Down,
            dialled: 0,
            dialling: Link::Down,
            packets: 0,
            storage,
            commands: received,
            open: HashMap::new(),
            calls: HashMap::new(),
            snapshot: shown,
            first: Some(First { done, attempts: Vec::new() }),
            damaged: 0,
        };
        tokio::spawn(driver.run());
        // The task answers before it ends, unless it panics, or the runtime shuts down.
        let gone = || ConnectError::Unreachable { attempts: Vec::new() };
        connected.await.unwrap_or_else(|_| Err(gone()))?;
        let next_ticket = AtomicU64::new(0);
        Ok(Self { shared: Arc::new(Shared { commands, snapshot, next_ticket }) })
    }

    /// Gets an item: from the cache if the server says that it is fresh, else from the server.
    ///
    /// A get for a key that is being asked for already shares that answer. May be dropped at any
    /// time.
    pub async fn get(&self, key: &str) -> Result<Reply, Error> {
        self.get_with(key, ValidatorPolicy::Auto).await
    }

    /// Gets an item, and says of the client's copy what `policy` says.
    pub async fn get_with(&self, key: &str, policy: ValidatorPolicy) -> Result<Reply, Error> {
        let pending = self.start(parse(key)?, policy).await;
        pending.wait().await.result.map_err(|failure| failure.error)
    }

    /// Gets many items at once; the answers are in the order of the keys. Those that the client
    /// holds are asked about together: a few bytes tell which of them are fresh.
    pub async fn get_many(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Vec<Result<Reply, Error>> {
        let keys: Vec<_> = keys.into_iter().map(|key| parse(key.as_ref())).collect();
        let mut results = Vec::with_capacity(keys.len());
        for some in keys.chunks(MANY) {
            let good = some.iter().filter_map(|key| key.as_ref().ok()).cloned().collect();
            let mut pending = self.start_many(good).await.into_iter();
            for key in some {
                results.push(match key {
                    Err(error) => Err(error.clone()),
                    Ok(_) => {
                        let pending = pending.next().expect("each good key was started");
                        pending.wait().await.result.map_err(|failure| failure.error)
                    }
                });
            }
        }
        results
    }

    /// Starts many gets, in the order of the keys, as [`start`](Self::start) does. Those that the
    /// client holds are asked about together.
    pub async fn start_many(&self, keys: Vec<Key>) -> Vec<Pending> {
        let (mut gets, mut pending) = (Vec::new(), Vec::new());
        for key in keys {
            let (get, answer) = self.new_get();
            gets.push((get.ticket, key, answer));
            pending.push(get);
        }
        // Where the task has ended, the senders are dropped here, and the receivers say so.
        let _ = self.shared.commands.send(Command::GetMany { gets }).await;
        pending
    }

    /// The keys of all items in the cache, in no particular order. None once the client is closed.
    pub async fn cached_keys(&self) -> Vec<Key> {
        let (answer, keys) = oneshot::channel();
        let _ = self.shared.commands.send(Command::Keys { answer }).await;
        keys.await.unwrap_or_default()
    }

    /// Starts a get, which goes on while nobody waits for it. Waits only where very many gets are
    /// started faster than they can be taken on.
    pub async fn start(&self, key: Key, policy: ValidatorPolicy) -> Pending {
        let (pending, answer) = self.new_get();
        let ticket = pending.ticket;
        // Where the task has ended, the sender is dropped here, and the receiver says so.
        let _ = self.shared.commands.send(Command::Get { ticket, key, policy, answer }).await;
        pending
    }

    /// A get that the task does not know of yet, and where it is to say how it ended.
    fn new_get(&self) -> (Pending, oneshot::Sender<Answered>) {
        let ticket = self.shared.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        (Pending { shared, ticket, answer: Some(receiver) }, answer)
    }

    /// Who services the client now.
    pub fn assignment(&self) -> Option<Assignment> {
        self.shared.snapshot.borrow().assignment.clone()
    }

    /// Who the client is.
    pub fn client_id(&self) -> Option<ClientId> {
        self.shared.snapshot.borrow().client
    }

    /// Whether there is a session at this moment.
    pub fn is_connected(&self) -> bool {
        self.shared.snapshot.borrow().ready
    }

    /// What the client has counted since its start.
    pub fn statistics(&self) -> Statistics {
        self.shared.snapshot.borrow().statistics
    }

    /// Ends the client, for all its clones, once its cache directory is written. Gets that are
    /// still open fail.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.shared.commands.send(Command::Close { done }).await.is_ok() {
            let _ = closed.await;
        }
    }
}

impl Pending {
    /// Waits for the end. Dropping what this returns gives the get up.
    pub async fn wait(mut self) -> Answered {
        let receiver = self.answer.as_mut().expect("it is waited for once");
        let answered = receiver.await;
        self.answer = None;
        answered.unwrap_or_else(|_| {
            let failure = Failure { error: Error::Closed, details: Details::default() };
            Answered { result: Err(failure), elapsed: Duration::ZERO }
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.answer.is_some() {
            // Where there is no room to say so, the answer comes to nobody.
            let _ = self.shared.commands.try_send(Command::Cancel { ticket: self.ticket });
        }
    }
}

fn parse(key: &str) -> Result<Key, Error> {
    key.parse().map_err(|why| Error::InvalidKey { key: key.to_owned(), why })
}

async fn open_cache(config: &ClientConfig) -> Result<(Node, Clock, Storage), ConnectError> {
    let (max_bytes, max_memory_bytes, directory, saved) = match &config.cache {
        CacheConfig::Memory { max_bytes } => (*max_bytes, *max_bytes, None, Saved::default()),
        CacheConfig::Directory { path, max_bytes, max_memory_bytes } => {
            match open_directory(path.clone()).await? {
                Some((directory, saved)) => (*max_bytes, *max_memory_bytes, Some(directory), saved),
                None => (*max_memory_bytes, *max_memory_bytes, None, Saved::default()),
            }
        }
    };
    let node = Config {
        routers: config.routers.len(),
        pool: config.pool.clone(),
        max_cache_bytes: max_bytes,
        max_memory_bytes,
        max_body: config.max_body,
        request_timeout: config.request_timeout,
        connect_timeout: config.connect_timeout,
        retry_busy: config.retry_busy,
        persist: directory.is_some(),
        ..Config::default()
    };
    let clock = Clock::new();
    let node = Node::new(node, saved, rand::random(), clock.now());
    Ok((node, clock, directory.map(Storage::new).unwrap_or_default()))
}

/// Opens a cache directory; `None` where it cannot be used at all.
async fn open_directory(path: PathBuf) -> Result<Option<(CacheDirectory, Saved)>, ConnectError> {
    let opened = tokio::task::spawn_blocking({
        let path = path.clone();
        move || CacheDirectory::open(&path)
    });
    match opened.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
        Ok((directory, saved, _)) => Ok(Some((directory, saved))),
        Err(OpenError::InUse(process)) => Err(ConnectError::CacheInUse { path, process }),
        Err(OpenError::Unusable(why)) => {
            let shown = path.display();
            tracing::warn!(
                "the cache {shown} cannot be used: {why}; going on without it, in memory"
            );
            Ok(None)
        }
    }
}
