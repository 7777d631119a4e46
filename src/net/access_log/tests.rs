//! The log as a whole, and its queue.

use super::*;
use std::fs;
use std::time::Duration;

/// An entry of 2000-10-10 13:55:36.000042 UTC.
pub(super) fn entry(target: &str) -> Entry {
    Entry {
        time_us: 971_186_136_000_042,
        peer: "192.0.2.7:5000".parse().unwrap(),
        version: "3",
        method: "GET".to_owned(),
        scheme: "https",
        authority: "edge.example".to_owned(),
        target: target.to_owned(),
        status: 200,
        sent_bytes: 2326,
        duration_us: 815,
        client: None,
        referer: None,
        user_agent: None,
    }
}

fn wait_until(is_true: impl Fn() -> bool) {
    while !is_true() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn everything_is_written_when_the_last_handle_goes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let log = AccessLog::open(&path, AccessLogFormat::Json).unwrap();
    let recorders = (0..4).map(|recorder| {
        let log = log.clone();
        std::thread::spawn(move || {
            for number in 0..500 {
                log.record(entry(&format!("/{recorder}/{number}")));
            }
        })
    });
    recorders.collect::<Vec<_>>().into_iter().for_each(|recorder| recorder.join().unwrap());
    let counts = Arc::clone(&log.0.queue.counts);
    assert_eq!(log.dropped(), 0);
    drop(log);
    assert_eq!(counts.written.load(Ordering::Relaxed), 2_000);
    let text = fs::read_to_string(&path).unwrap();
    let mut targets: Vec<String> = text
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["target"].as_str().unwrap().to_owned()
        })
        .collect();
    targets.sort_unstable();
    targets.dedup();
    assert_eq!(targets.len(), 2_000);
}

#[test]
fn a_log_that_was_moved_goes_on_at_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (directory.path().join("log"), directory.path().join("log.1"));
    let log = AccessLog::open(&path, AccessLogFormat::Common).unwrap();
    log.record(entry("/before"));
    wait_until(|| log.written() == 1);
    fs::rename(&path, &old).unwrap();
    log.record(entry("/after"));
    drop(log);
    let line = |path: &Path| fs::read_to_string(path).unwrap();
    assert!(line(&old).contains("GET /before ") && line(&old).ends_with("\"-\"\n"));
    assert!(line(&path).contains("GET /after ") && line(&path).ends_with("\"-\"\n"));
    assert_eq!((line(&old) + &line(&path)).lines().count(), 2);
}

#[test]
fn a_directory_that_vanishes_costs_entries_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let logs = directory.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let log = AccessLog::open(&logs.join("log"), AccessLogFormat::Common).unwrap();
    // Moved first, so that the writer cannot make its file anew while they are removed.
    let gone = directory.path().join("gone");
    fs::rename(&logs, &gone).unwrap();
    fs::remove_dir_all(&gone).unwrap();
    log.record(entry("/lost"));
    wait_until(|| log.dropped() == 1);
    fs::create_dir(&logs).unwrap();
    log.record(entry("/kept"));
    drop(log);
    let text = fs::read_to_string(logs.join("log")).unwrap();
    assert!(text.contains("/kept") && !text.contains("/lost"), "{text}");
}

#[test]
fn a_full_queue_drops_what_comes_and_counts_it() {
    let (queue, waiting) = Queue::new(2, MAX_WAITING_BYTES);
    (0..5).for_each(|number| queue.push(entry(&format!("/{number}"))));
    assert_eq!(queue.counts.dropped.load(Ordering::Relaxed), 3);
    let targets: Vec<_> = waiting.try_iter().map(|entry| entry.target).collect();
    assert_eq!(targets, ["/0", "/1"], "the first ones are kept");
    let weight: usize = [entry("/0"), entry("/1")].iter().map(Entry::weight_bytes).sum();
    assert_eq!(queue.counts.waiting_bytes.load(Ordering::Relaxed), weight);
    drop(waiting);
    queue.push(entry("/"));
    assert_eq!(queue.counts.dropped.load(Ordering::Relaxed), 4, "nobody writes any more");
}

#[test]
fn long_texts_fill_the_queue_sooner() {
    let long = || entry(&"a".repeat(10_000));
    let (queue, waiting) = Queue::new(100, 2 * long().weight_bytes());
    (0..5).for_each(|_| queue.push(long()));
    assert_eq!(queue.counts.dropped.load(Ordering::Relaxed), 3);
    assert_eq!(waiting.try_iter().count(), 2);
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing/log");
    let error = AccessLog::open(&missing, AccessLogFormat::Json).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}
