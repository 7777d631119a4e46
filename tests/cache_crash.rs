//! A cache directory whose process is killed, over and over: whatever moment the end comes at, the
//! next process finds a directory that opens, in which nothing is damaged, nothing is left over,
//! nothing is wrong, and no more lies than the budget allows.
//!
//! The process that dies is this program itself: it runs its ignored test `a_client_at_work`, which
//! gets items through the client library for as long as it lives. A file's text says in every line
//! which version of which item it is, and the client compares what it got with what the file said
//! before and after: so every answer is one of the versions that were there during the get.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use common::{Cluster, PATIENCE};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{env, fs};
use understudy::client::{CacheConfig, Client, ClientConfig, ReplyKind};

/// What tells the program that it is the client: router, files, cache, budget, rounds, seed.
const CLIENT: &str = "UNDERSTUDY_TEST_CLIENT";
/// Processes of which most are killed.
const RUNS: u64 = 230;
/// How many of them must die by our hand, before their end: all others were bound to end.
const MIN_KILLED: u64 = 200;
/// How many of those must have died while they wrote a file.
const MIN_WRITING: u64 = 10;
/// How many answers must have come from files that a process before had written.
const MIN_FROM_DISK: u64 = 100;
/// Sizes of items: inline, on a stream, in many packets. Each item is also a little longer or
/// shorter from version to version.
const SIZES: [usize; 6] = [200, 5_000, 16_300, 30_000, 300_000, 1_200_000];
const ITEMS: usize = 18;
/// All items are longer than this together, so that there is eviction.
const BUDGETS: [u64; 3] = [2_500_000, 3_500_000, 1 << 30];
/// An item, with its key and the header of its file.
const LARGEST: u64 = 1_200_000 + 1_000;
/// Lock, token, and a token that is being written.
const SMALL_FILES: u64 = 4_096;
const MEMORY: u64 = 200_000;

fn key(item: usize) -> String {
    format!("/item-{item}.txt")
}

/// The text of a version of an item. Its first line says what the others repeat.
fn text(key: &str, version: u64) -> Vec<u8> {
    let item: usize = key.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    let size = SIZES[item % SIZES.len()] - (version % 97) as usize;
    let line = format!("{key} {version}\n");
    line.bytes().cycle().take(size).collect()
}

/// The version of which this is the text, whole and unmixed.
fn version(key: &str, found: &[u8]) -> Option<u64> {
    let version = first_line(found, key)?;
    (text(key, version) == found).then_some(version)
}

fn first_line(found: &[u8], key: &str) -> Option<u64> {
    let line = found.split(|byte| *byte == b'\n').next()?;
    std::str::from_utf8(line).ok()?.strip_prefix(key)?.trim().parse().ok()
}

/// The version that a file has now.
fn current(files: &Path, key: &str) -> u64 {
    let mut start = Vec::new();
    let file = fs::File::open(files.join(&key[1..])).unwrap();
    file.take(100).read_to_end(&mut start).unwrap();
    first_line(&start, key).unwrap()
}

#[test]
fn mixtures_and_mistaken_items_are_recognised() {
    let (one, two) = (text("/item-4.txt", 1), text("/item-4.txt", 98));
    assert_eq!(version("/item-4.txt", &one), Some(1));
    assert_eq!(version("/item-10.txt", &one), None);
    assert_eq!(version("/item-4.txt", &one[..one.len() - 1]), None);
    let mixed = [&one[..9_000], &two[9_000..]].concat();
    assert_eq!(version("/item-4.txt", &mixed), None);
    assert_eq!(version("/item-4.txt", b""), None);
}

/// The client that is killed: says on standard output what it is about to do and what it got.
#[test]
#[ignore = "what the other test starts, not a test by itself"]
fn a_client_at_work() {
    let given = env::var(CLIENT).expect("the other test starts this");
    let given: Vec<_> = given.split('\n').collect();
    let [router, files, cache, budget, rounds, seed] = given[..] else { panic!("{given:?}") };
    let mut config = ClientConfig::new(vec![router.parse().unwrap()]);
    let max_bytes = budget.parse().unwrap();
    let max_memory_bytes = MEMORY;
    config.cache = CacheConfig::Directory { path: cache.into(), max_bytes, max_memory_bytes };
    // What the library warns of goes to standard error.
    let writer = std::io::stderr;
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(writer).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let random = StdRng::seed_from_u64(seed.parse().unwrap());
    runtime.block_on(work(config, Path::new(files), rounds.parse().unwrap(), random));
}

async fn work(config: ClientConfig, files: &Path, rounds: u64, mut random: StdRng) {
    let client = Client::connect(config).await.unwrap();
    // No item is in memory from the start: what is the same as before comes from a file.
    let mut asked = [false; ITEMS];
    for _ in 0..rounds {
        let items: Vec<_> = (0..6).map(|_| random.random_range(0..ITEMS)).collect();
        let keys: Vec<_> = items.iter().copied().map(key).collect();
        let before: Vec<_> = keys.iter().map(|key| current(files, key)).collect();
        let replies = client.get_many(&keys).await;
        for (place, reply) in replies.into_iter().enumerate() {
            let (key, item) = (&keys[place], items[place]);
            let reply = reply.unwrap_or_else(|error| panic!("{key}: {error}"));
            let found = version(key, &reply.bytes);
            let allowed = before[place]..=current(files, key);
            let is_right = found.is_some_and(|found| allowed.contains(&found));
            assert!(is_right, "WRONG {key}: {found:?}, not in {allowed:?}, {:?}", reply.kind);
            let from_disk = !asked[item] && reply.kind == ReplyKind::UseCached;
            asked[item] = true;
            println!("\ngot {}", if from_disk { "disk" } else { reply.kind.as_str() });
        }
    }
    assert_eq!(client.statistics().damaged_items, 0);
    client.close().await;
    println!("\nclosed");
}

/// Files that change all the time, half of them often and half of them seldom.
struct Source {
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Source {
    fn start(root: &Path, seed: u64) -> (Self, PathBuf) {
        let (files, unfinished) = (root.join("files"), root.join("unfinished"));
        fs::create_dir(&files).unwrap();
        let put = {
            let files = files.clone();
            move |item: usize, version: u64| {
                fs::write(&unfinished, text(&key(item), version)).unwrap();
                fs::rename(&unfinished, files.join(&key(item)[1..])).unwrap();
            }
        };
        let mut versions = [1; ITEMS];
        (0..ITEMS).for_each(|item| put(item, 1));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut random = StdRng::seed_from_u64(seed);
        let writer = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let seldom = !random.random_ratio(1, 50);
                let half = if seldom { 0..ITEMS / 2 } else { 0..ITEMS };
                let item = random.random_range(half);
                versions[item] += 1;
                put(item, versions[item]);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        (Self { stop, writer: Some(writer) }, files)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.writer.take().expect("it is dropped once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the writer of files failed");
    }
}

/// When a process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after its start; often before it has a session.
    Start(Duration),
    /// So long after so many answers.
    Answers(u64, Duration),
    /// When it is seen to write a file.
    Writing,
    /// Not at all: it ends by itself.
    Never,
}

impl Moment {
    fn random(run: u64, random: &mut StdRng) -> Self {
        let a_while = Duration::from_micros(random.random_range(0..3_000));
        match random.random_range(0..10) {
            _ if run.is_multiple_of(12) => Self::Never,
            0..2 => Self::Start(Duration::from_micros(random.random_range(0..120_000))),
            2..6 => Self::Answers(random.random_range(1..40), a_while),
            _ => Self::Writing,
        }
    }
}

/// A client process, which ends when this does.
struct Process {
    child: Child,
    answers: std::sync::mpsc::Receiver<String>,
    readers: Vec<JoinHandle<String>>,
}

impl Process {
    fn start(given: &[String]) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "a_client_at_work", "--ignored", "--nocapture"])
            .env(CLIENT, given.join("\n"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, answers) = std::sync::mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let answer = move || {
            let mut all = String::new();
            for line in stdout.lines().map_while(Result::ok) {
                all += &format!("{line}\n");
                if let Some(answer) = line.strip_prefix("got ") {
                    // Nobody may want to know any more.
                    let _ = sender.send(answer.to_owned());
                }
            }
            all
        };
        let complaint = move || {
            let mut all = String::new();
            stderr.read_to_string(&mut all).unwrap();
            all
        };
        let readers = vec![std::thread::spawn(answer), std::thread::spawn(complaint)];
        Self { child, answers, readers }
    }

    /// Waits for the moment.
    fn wait_for(&mut self, moment: Moment, cache: &Path) {
        let start = Instant::now();
        match moment {
            Moment::Start(a_while) => std::thread::sleep(a_while),
            Moment::Answers(count, a_while) => {
                // It ends early only where something is wrong, which shows afterwards.
                let come = (0..count).map_while(|_| self.answers.recv_timeout(PATIENCE).ok());
                assert!(come.count() as u64 <= count);
                std::thread::sleep(a_while);
            }
            Moment::Writing => {
                // With its first answer it has cleared away what others left.
                let _ = self.answers.recv_timeout(PATIENCE);
                while unfinished(cache) == 0 && self.child.try_wait().unwrap().is_none() {
                    assert!(start.elapsed() < PATIENCE, "nothing is ever written");
                }
            }
            Moment::Never => {
                self.child.wait().unwrap();
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sizes of the files of a cache, by their names from its root.
fn listing(cache: &Path) -> BTreeMap<String, u64> {
    let mut files = BTreeMap::new();
    for directory in ["", "items"] {
        // There may be none yet.
        for entry in fs::read_dir(cache.join(directory)).into_iter().flatten() {
            let entry = entry.unwrap();
            // A file may go while this looks.
            let Some(metadata) = entry.metadata().ok().filter(fs::Metadata::is_file) else {
                continue;
            };
            let name = Path::new(directory).join(entry.file_name());
            files.insert(name.to_str().unwrap().to_owned(), metadata.len());
        }
    }
    files
}

/// Whether a file of the cache is called what only files are called that are not whole.
fn is_unfinished(name: &str) -> bool {
    let slot = name.strip_prefix("items/").is_some_and(|slot| slot.parse::<u32>().is_ok());
    !slot && !["lock", "token"].contains(&name)
}

fn unfinished(cache: &Path) -> usize {
    listing(cache).keys().filter(|name| is_unfinished(name)).count()
}

/// What has come of all processes so far.
#[derive(Debug, Default)]
struct Tally {
    killed: u64,
    writing: u64,
    ended: u64,
    answers: BTreeMap<String, u64>,
}

impl Tally {
    /// Runs a process until its moment, and checks what it said and what it left.
    fn run(&mut self, given: &[String], moment: Moment, cache: &Path, budget: u64) {
        let (before, half): (u64, _) = (listing(cache).values().sum(), unfinished(cache));
        let mut process = Process::start(given);
        process.wait_for(moment, cache);
        let _ = process.child.kill();
        let status = process.child.wait().unwrap();
        let readers = std::mem::take(&mut process.readers);
        let [stdout, stderr] = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        let said = || format!("{status}\n{stdout}\n{stderr}");
        // Neither a wrong answer nor anything that was damaged, nor a directory that did not open.
        assert!(stderr.is_empty(), "{}", said());
        match status.signal() {
            Some(signal) => assert_eq!(signal, 9, "{}", said()),
            None => assert!(status.success() && stdout.contains("\nclosed\n"), "{}", said()),
        }
        self.killed += u64::from(status.signal().is_some());
        self.ended += u64::from(status.signal().is_none());
        for answer in stdout.lines().filter_map(|line| line.strip_prefix("got ")) {
            *self.answers.entry(answer.to_owned()).or_default() += 1;
        }
        // With its first answer a process has cleared away what others left.
        let is_of_this_one = half == 0 || stdout.contains("\ngot ");
        self.check_files(cache, before.max(budget + LARGEST), is_of_this_one);
    }

    fn check_files(&mut self, cache: &Path, limit: u64, is_of_this_one: bool) {
        let files = listing(cache);
        let unfinished = files.keys().filter(|name| is_unfinished(name)).count();
        self.writing += u64::from(is_of_this_one && unfinished > 0);
        assert!(unfinished <= 1, "leftovers pile up: {files:?}");
        let bytes: u64 = files.values().sum();
        assert!(bytes <= limit + SMALL_FILES, "{bytes} bytes, {limit} are allowed: {files:?}");
    }
}

#[test]
fn a_cache_survives_kill_after_kill_and_never_lies() {
    let seed = env::var("UNDERSTUDY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    let place = tempfile::tempdir().unwrap();
    let (_source, files) = Source::start(place.path(), seed);
    let cluster = Cluster::start(&["--servers", "2", "--dir", files.to_str().unwrap()]);
    let cache = place.path().join("cache");
    let mut random = StdRng::seed_from_u64(seed);
    let mut tally = Tally::default();
    for run in 1..=RUNS {
        let moment = Moment::random(run, &mut random);
        let budget = BUDGETS[random.random_range(0..BUDGETS.len())];
        let rounds = if matches!(moment, Moment::Never) { 4 } else { u64::MAX };
        let given = [
            cluster.router().to_string(),
            files.to_str().unwrap().to_owned(),
            cache.to_str().unwrap().to_owned(),
            budget.to_string(),
            rounds.to_string(),
            random.random::<u64>().to_string(),
        ];
        // Shown only if something fails.
        println!("UNDERSTUDY_SEED={seed}, run {run}: budget {budget}, killed at {moment:?}");
        tally.run(&given, moment, &cache, budget);
    }
    let _ = writeln!(std::io::stdout(), "{tally:?}");
    let from_disk = tally.answers.get("disk").copied().unwrap_or_default();
    assert!(tally.killed >= MIN_KILLED && tally.ended >= RUNS / 12, "{tally:?}");
    assert!(tally.writing >= MIN_WRITING && from_disk >= MIN_FROM_DISK, "{tally:?}");
}
