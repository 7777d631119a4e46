//! Clients that ask all the time, in a thread of their own, and complain of everything that is not
//! as it should be.

use crate::common::wait_until;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use understudy::client::{
    CacheConfig, Client, ClientConfig, Reply, ReplyKind, ValidatorKind, ValidatorPolicy,
};

/// Items that each client holds from the beginning.
pub(crate) const HELD: u64 = 8;
/// Large bodies that are asked for at one time, each of another item.
const LARGE: usize = 8;
const LARGE_BYTES: usize = 4 << 20;
/// One more, which is there when the others are on their way.
const MIDDLE: &str = "/middle.bin";
const MIDDLE_BYTES: usize = 1 << 20;
/// A client has room for what it is to hold, and not for a large item: that comes whole each time.
const CACHE_BYTES: u64 = 512 << 10;
/// Each client asks this often: 8 of them ask 200 times a second.
const PERIOD: Duration = Duration::from_millis(40);

/// Files that the cluster serves, clients that ask for them, and what they complain of.
pub(crate) struct Asking {
    files: TempDir,
    clients: Vec<Client>,
    book: Arc<Book>,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is written down while clients ask.
#[derive(Default)]
struct Book {
    is_over: AtomicBool,
    /// Answers of each client.
    answers: Vec<AtomicU64>,
    complaints: Mutex<Vec<String>>,
}

impl Asking {
    /// Writes the files, and starts the thread.
    pub(crate) fn new() -> Self {
        let files = tempfile::tempdir().expect("a temporary directory");
        let write = |key: String| std::fs::write(path(files.path(), &key), bytes(&key)).unwrap();
        (0..HELD).map(held).chain((0..LARGE).map(large)).for_each(write);
        [small(0), MIDDLE.to_owned()].into_iter().for_each(write);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || drop(runtime.block_on(stopped)));
        let (stop, thread) = (Some(stop), Some(thread));
        Self { files, clients: Vec::new(), book: Arc::default(), handle, stop, thread }
    }

    /// Where the files are.
    pub(crate) fn directory(&self) -> &str {
        self.files.path().to_str().expect("temporary paths are text")
    }

    /// A new client that holds what clients are to hold.
    pub(crate) fn connect(&self, routers: &[SocketAddr]) -> Client {
        let mut config = ClientConfig::new(routers.to_vec());
        config.cache = CacheConfig::Memory { max_bytes: CACHE_BYTES };
        self.run(async {
            let client = Client::connect(config).await.expect("there is a router");
            for key in (0..HELD).map(held) {
                let reply = client.get(&key).await.unwrap_or_else(|why| panic!("{key}: {why}"));
                assert_eq!(reply.bytes, bytes(&key));
            }
            client
        })
    }

    /// From now on these clients ask.
    pub(crate) fn begin(mut self, clients: Vec<Client>) -> Self {
        let answers = clients.iter().map(|_| AtomicU64::new(0)).collect();
        self.book = Arc::new(Book { answers, ..Book::default() });
        for (place, client) in clients.iter().cloned().enumerate() {
            self.handle.spawn(ask_on(client, place, Arc::clone(&self.book)));
        }
        self.clients = clients;
        // Once before it counts: then its server has them at hand.
        self.while_bodies_are_under_way(|| ());
        self
    }

    /// The clients that ask.
    pub(crate) fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// Waits until each client has got so many more answers.
    pub(crate) fn wait_for_more(&self, count: u64) {
        for answers in &self.book.answers {
            let goal = answers.load(Ordering::Relaxed) + count;
            wait_until("the clients go on", || answers.load(Ordering::Relaxed) >= goal);
        }
    }

    /// Lets something happen while the first client receives large bodies: a smaller one, asked for
    /// with them, is there, so they are on their way beside it.
    pub(crate) fn while_bodies_are_under_way(&self, event: impl FnOnce()) {
        let (sender, bodies) = mpsc::channel();
        for key in [MIDDLE.to_owned()].into_iter().chain((0..LARGE).map(large)) {
            let (client, sender) = (self.clients[0].clone(), sender.clone());
            self.handle.spawn(async move {
                let reply = client.get(&key).await;
                let _ = sender.send((key, reply));
            });
        }
        drop(sender);
        let check = |(key, reply): (String, Result<Reply, _>)| {
            let reply = reply.unwrap_or_else(|why| panic!("{key}: {why}"));
            assert!(reply.kind == ReplyKind::Full && reply.bytes == bytes(&key), "{key}");
        };
        check(bodies.recv().expect("there are bodies"));
        event();
        assert_eq!(bodies.iter().map(check).count(), LARGE);
    }

    /// A client that did not ask does so once: what it holds is good, by the mirror alone.
    pub(crate) fn check_one(&self, client: &Client) {
        let client = client.clone();
        assert_eq!(self.run(async move { ask_for_held(&client, &held(0)).await }), Ok(()));
    }

    /// Ends it, and checks that nobody had anything to complain of.
    pub(crate) fn end(&mut self) {
        self.book.is_over.store(true, Ordering::Relaxed);
        let complaints = self.book.complaints.lock().unwrap();
        assert!(complaints.is_empty(), "{} complaints: {complaints:#?}", complaints.len());
    }

    /// Runs something in the clients' thread, to its end.
    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, receiver) = mpsc::channel();
        self.handle.spawn(async move { drop(sender.send(work.await)) });
        receiver.recv().expect("it did not panic")
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn ask_on(client: Client, place: usize, book: Arc<Book>) {
    for turn in 0.. {
        if book.is_over.load(Ordering::Relaxed) {
            return;
        }
        let asked = match turn % 3 {
            0 => ask_for_new(&client, &small(turn + 1)).await,
            _ => ask_for_held(&client, &held(turn % HELD)).await,
        };
        if let Err(why) = asked {
            book.complaints.lock().unwrap().push(format!("client {place}, turn {turn}: {why}"));
        }
        book.answers[place].fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PERIOD).await;
    }
}

/// What the client holds must be called good, by the mirror alone.
async fn ask_for_held(client: &Client, key: &str) -> Result<(), String> {
    let reply = client.get_with(key, ValidatorPolicy::None).await;
    let reply = reply.map_err(|why| format!("{key}: {why}"))?;
    match (reply.kind, reply.details.validator) {
        _ if reply.bytes != bytes(key) => Err(format!("{key}: wrong bytes")),
        (ReplyKind::UseCached, Some(ValidatorKind::None)) => Ok(()),
        _ => Err(format!("{key}: {:?}, {:?}", reply.kind, reply.details)),
    }
}

/// What the client never saw must come whole.
async fn ask_for_new(client: &Client, key: &str) -> Result<(), String> {
    let reply = client.get(key).await.map_err(|why| format!("{key}: {why}"))?;
    match reply.kind {
        _ if reply.bytes != bytes(key) => Err(format!("{key}: wrong bytes")),
        ReplyKind::Full => Ok(()),
        kind => Err(format!("{key}: {kind:?}")),
    }
}

fn held(number: u64) -> String {
    format!("/held-{number}.bin")
}

fn large(number: usize) -> String {
    format!("/large-{number}.bin")
}

/// The same file by another key each time: a source ignores the query.
fn small(number: u64) -> String {
    format!("/small.bin?{number}")
}

fn path(directory: &Path, key: &str) -> std::path::PathBuf {
    directory.join(name(key))
}

fn name(key: &str) -> &str {
    key[1..].split('?').next().expect("there is always a first one")
}

/// The bytes of the file that a key stands for: another one's differ everywhere.
fn bytes(key: &str) -> Vec<u8> {
    let name = name(key);
    let length = match name {
        _ if name.starts_with("large") => LARGE_BYTES,
        _ if MIDDLE.ends_with(name) => MIDDLE_BYTES,
        _ => 1_024,
    };
    let seed = name.bytes().fold(1_u32, |seed, byte| seed.wrapping_mul(31) + u32::from(byte));
    (0..length as u32).map(|place| (place.wrapping_mul(seed | 1) >> 13) as u8).collect()
}
