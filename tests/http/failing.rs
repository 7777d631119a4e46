//! What HTTP/3 clients notice when their primary fails while they ask: nothing.

use super::clients::{Ask, Client, Http3, runtime};
use super::common::{Cluster, understudy, wait_until};
use super::{listed, primaries};
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const CLIENTS: usize = 4;
const ITEMS: usize = 8;
/// Answers that each client must get after something has happened: it goes on.
const MORE: u64 = 20;
/// Each client asks this often.
const PERIOD: Duration = Duration::from_millis(20);

fn item(number: usize) -> (String, Vec<u8>) {
    (format!("/{number}.txt"), super::bytes(1000 * (number + 1), number as u64))
}

/// Clients that ask all the time, and what went wrong.
struct Scene {
    is_over: Arc<AtomicBool>,
    answers: Vec<Arc<AtomicU64>>,
    complaints: Arc<Mutex<Vec<String>>>,
    cluster: Cluster,
    /// The primary of the first client, and who that is.
    victim: String,
    first: String,
    _files: TempDir,
}

impl Scene {
    fn start(arguments: &[&str]) -> Self {
        let files = tempfile::tempdir().expect("a temporary directory");
        for (name, bytes) in (0..ITEMS).map(item) {
            std::fs::write(files.path().join(&name[1..]), bytes).expect("it can be written");
        }
        let dir = files.path().to_str().expect("temporary paths are text");
        let cluster = Cluster::start(&[&["--dir", dir], arguments].concat());
        let mut clients: Vec<_> = (0..1).map(|_| Http3::connect(cluster.router())).collect();
        clients[0].get(&item(0).0).must_be(200);
        let (first, victim) = primaries(&cluster).pop().expect("the first client has a primary");
        clients.extend((1..CLIENTS).map(|_| Http3::connect(cluster.router())));
        let complaints = Arc::<Mutex<Vec<String>>>::default();
        let is_over = Arc::<AtomicBool>::default();
        let mut answers = Vec::new();
        for client in clients {
            let count = Arc::<AtomicU64>::default();
            let book = (Arc::clone(&count), Arc::clone(&is_over), Arc::clone(&complaints));
            runtime().spawn(ask_on(client, book));
            answers.push(count);
        }
        let scene = Self { is_over, answers, complaints, cluster, victim, first, _files: files };
        scene.wait_for_more();
        scene
    }

    /// Waits until each client has got more answers.
    fn wait_for_more(&self) {
        for answers in &self.answers {
            let goal = answers.load(Ordering::Relaxed) + MORE;
            wait_until("the clients go on", || {
                answers.load(Ordering::Relaxed) >= goal || !self.complaints().is_empty()
            });
        }
        assert_eq!(self.complaints(), [""; 0], "{}", self.cluster.stderr());
    }

    fn complaints(&self) -> Vec<String> {
        self.complaints.lock().expect("nobody panics with it").clone()
    }

    /// Waits until another server is the first client's primary, and is asked.
    fn wait_until_taken_over(&self) {
        let others = self.cluster.servers().into_iter().filter(|server| *server != self.victim);
        let others: Vec<_> = others.collect();
        wait_until("another server has the client", || {
            others.iter().any(|server| listed(&self.cluster, server).contains(&self.first))
        });
        let asked = || -> u64 {
            let status = |server: &String| self.cluster.json(server, "/status");
            // The files are looked at for each request, or for a few together.
            let looks = |server| status(server)["retrievals"].as_u64().expect("a number");
            others.iter().map(looks).sum()
        };
        let before = asked();
        self.wait_for_more();
        assert!(asked() >= before + MORE, "the others answer");
    }

    fn end(self) {
        self.wait_for_more();
        self.is_over.store(true, Ordering::Relaxed);
        assert_eq!(self.complaints(), [""; 0]);
    }
}

/// Asks until it is over. Every answer must be there and right.
async fn ask_on(
    client: Http3,
    (count, is_over, complaints): (Arc<AtomicU64>, Arc<AtomicBool>, Arc<Mutex<Vec<String>>>),
) {
    for (target, bytes) in (0..ITEMS).cycle().map(item) {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let complaint = match client.answer(&Ask::get(&target)).await {
            Ok(answer) if answer.status == 200 && answer.body == bytes => {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PERIOD).await;
                continue;
            }
            Ok(answer) => format!("{target}: {} {:?}", answer.status, answer.fields),
            Err(why) => format!("{target}: {why}"),
        };
        // The end of the test ends the cluster too.
        if !is_over.load(Ordering::Relaxed) {
            complaints.lock().expect("nobody panics with it").push(complaint);
        }
        return;
    }
}

#[test]
fn nobody_notices_that_a_primary_is_killed() {
    let scene = Scene::start(&["--no-restart"]);
    scene.cluster.kill(&scene.victim);
    scene.wait_until_taken_over();
    scene.end();
}

#[test]
fn nobody_notices_that_a_primary_is_frozen() {
    let scene = Scene::start(&[]);
    scene.cluster.signal(&scene.victim, Signal::STOP);
    scene.wait_until_taken_over();
    scene.cluster.signal(&scene.victim, Signal::CONT);
    scene.end();
}

#[test]
fn nobody_notices_that_a_primary_is_drained() {
    let scene = Scene::start(&[]);
    let admin = scene.cluster.process("router").admin.to_string();
    let output = understudy(["drain", &scene.victim, "--admin", &admin, "--wait"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(listed(&scene.cluster, &scene.victim), [""; 0], "all were handed over");
    scene.wait_until_taken_over();
    scene.end();
}
