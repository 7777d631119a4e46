//! The built-in sample: what is served when nothing else is named.

use super::{
    Answer, CallRequest, CallResponse, Freshness, Known, Retrieved, Source, SourceError, Version,
};
use crate::wire::{HeaderBlock, HeaderName, Key};
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::OnceCell;

/// The key of the item that changes every second.
const NOW: &str = "/now.json";
/// The longest that a call may sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const BINARY: &str = "application/octet-stream";

/// The items that stay as they are: key, content type, content.
const ITEMS: [(&str, &str, Content); 9] = [
    ("/", HTML, Content::Text(include_str!("sample/welcome.html"))),
    ("/index.html", HTML, Content::Text(include_str!("sample/welcome.html"))),
    ("/items/1k.bin", BINARY, Content::Noise(1024)),
    ("/items/16k.bin", BINARY, Content::Noise(16 * 1024)),
    ("/items/64k.bin", BINARY, Content::Noise(64 * 1024)),
    ("/items/1m.bin", BINARY, Content::Noise(1024 * 1024)),
    ("/items/10m.bin", BINARY, Content::Noise(10 * 1024 * 1024)),
    ("/text/gettysburg.txt", TEXT, Content::Text(include_str!("sample/gettysburg.txt"))),
    ("/list.json", JSON, Content::List),
];

/// What an item is made of.
#[derive(Clone, Copy)]
enum Content {
    /// This text.
    Text(&'static str),
    /// So many bytes that look random and are the same on every server.
    Noise(usize),
    /// The keys of all items.
    List,
}

/// A small tree of items that needs no files: a welcome page, items of 1 KiB to 10 MiB, a text, the
/// time, and a list of them all.
///
/// Every instance serves the same bytes, on every machine, also for the item that changes every
/// second (within the same second of their clocks). A version's stamp is its digest, so that one
/// made elsewhere is recognised too. Items are made when they are first asked for.
///
/// Calls: `/echo` gives back what it was given, `/count` counts its calls, `/sleep?ms=N` takes so
/// many milliseconds.
///
/// Needs a tokio runtime.
#[derive(Debug, Default)]
pub struct Sample {
    /// The versions of [`ITEMS`], in the same order.
    versions: [OnceCell<Version>; ITEMS.len()],
    /// The version of [`NOW`], and its second.
    now: Mutex<Option<(u64, Version)>>,
    /// Calls of `/count`.
    count: AtomicU64,
}

impl Sample {
    /// A sample of which nothing is made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The item `path` in the given second since 1970; `None` if there is no such item.
    async fn version(&self, path: &str, second: u64) -> Result<Option<Version>, SourceError> {
        if path == NOW {
            return Ok(Some(self.now_version(second)));
        }
        let Some(place) = ITEMS.iter().position(|(key, ..)| *key == path) else {
            return Ok(None);
        };
        // Made on a thread that may take its time: 10 MiB cost some milliseconds.
        let make = || async move {
            tokio::task::spawn_blocking(move || make(&ITEMS[place]))
                .await
                .map_err(|error| SourceError::Failed(format!("{path} was not made: {error}")))
        };
        self.versions[place].get_or_try_init(make).await.cloned().map(Some)
    }

    fn now_version(&self, second: u64) -> Version {
        let mut cached = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some((of, version)) if *of == second => version.clone(),
            _ => {
                let (hour, minute) = (second / 3600 % 24, second / 60 % 60);
                let text = format!(
                    "{{\"unix_seconds\": {second}, \"utc\": \"{hour:02}:{minute:02}:{:02}\"}}\n",
                    second % 60
                );
                cached.insert((second, stamped(JSON, text.into()))).1.clone()
            }
        }
    }
}

impl Source for Sample {
    async fn retrieve(&self, key: &Key, known: Option<&Known>) -> Result<Answer, SourceError> {
        let path = key.as_str().split('?').next().unwrap_or_default();
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let Some(version) = self.version(path, second).await? else {
            return Ok(Retrieved::NotFound.into());
        };
        let unchanged = known.is_some_and(|known| known.stamp() == version.stamp());
        let retrieved = if unchanged { Retrieved::Unchanged } else { Retrieved::Version(version) };
        let freshness = if path == NOW { Freshness::default() } else { Freshness::forever() };
        Ok(retrieved.lasting(freshness))
    }

    async fn call(&self, request: CallRequest) -> Result<CallResponse, SourceError> {
        let CallRequest { key, headers, body, .. } = request;
        let (path, query) = key.as_str().split_once('?').unwrap_or((key.as_str(), ""));
        match path {
            "/echo" => Ok(CallResponse { status: 200, headers, body }),
            "/count" => {
                let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
                Ok(plain(200, format!("{count}\n")))
            }
            "/sleep" => {
                let asked = query.strip_prefix("ms=").and_then(|text| text.parse().ok());
                let asked = asked.map(Duration::from_millis).filter(|time| *time <= LONGEST_SLEEP);
                let Some(time) = asked else {
                    let most = LONGEST_SLEEP.as_millis();
                    return Ok(plain(400, format!("say how long: /sleep?ms=N, at most {most}\n")));
                };
                tokio::time::sleep(time).await;
                Ok(plain(200, "slept\n"))
            }
            _ => Ok(plain(404, "there are /echo, /count and /sleep?ms=N to call\n")),
        }
    }
}

/// A response that is text.
fn plain(status: u16, text: impl Into<Bytes>) -> CallResponse {
    let headers = HeaderBlock::new([(HeaderName::ContentType, TEXT)]).expect("short and plain");
    CallResponse { headers, ..CallResponse::new(status, text) }
}

/// Makes an item that stays as it is.
fn make((key, content_type, content): &(&str, &str, Content)) -> Version {
    let body = match content {
        Content::Text(text) => Bytes::from_static(text.as_bytes()),
        Content::Noise(length) => noise(key, *length),
        Content::List => list().into(),
    };
    stamped(content_type, body)
}

/// A version whose stamp is its digest.
fn stamped(content_type: &str, body: Bytes) -> Version {
    let headers = HeaderBlock::new([(HeaderName::ContentType, content_type)])
        .expect("the sample's content types are short and plain");
    let version = Version::new(headers, body);
    let digest = version.fingerprint().digest;
    version.with_stamp(Bytes::copy_from_slice(&digest.0))
}

/// Bytes that no compressor shrinks, from the key alone: BLAKE3's extendable output.
fn noise(key: &str, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new_derive_key("understudy 2025 sample items");
    hasher.update(key.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// The keys of all items, as a JSON array. None of them needs escaping.
fn list() -> String {
    let keys: Vec<_> = ITEMS.iter().map(|(key, ..)| *key).chain([NOW]).collect();
    format!("[\n  \"{}\"\n]\n", keys.join("\",\n  \""))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(sample: &Sample, key: &str, known: Option<&Version>) -> Retrieved {
        let known = known.map(|version| version.known().as_ref());
        let answer = sample.retrieve(&key.parse().unwrap(), known).await.unwrap();
        if !matches!(answer.retrieved, Retrieved::NotFound) {
            let stays = answer.freshness.lasts() == Duration::MAX && answer.freshness.holds();
            let time = answer.freshness.lasts().is_zero();
            assert!(if key == NOW { time } else { stays }, "{key}");
        }
        answer.retrieved
    }

    async fn version(sample: &Sample, key: &str) -> Version {
        match ask(sample, key, None).await {
            Retrieved::Version(version) => version,
            _ => panic!("{key} has no version"),
        }
    }

    fn listed(list: &Version) -> Vec<String> {
        serde_json::from_slice(list.body()).unwrap()
    }

    #[tokio::test]
    async fn two_instances_serve_the_same() {
        let (one, two) = (Sample::new(), Sample::new());
        let keys = listed(&version(&one, "/list.json").await);
        assert_eq!(keys.len(), ITEMS.len() + 1);
        for key in &keys {
            let found = one.version(key, 1_700_000_000).await.unwrap().unwrap();
            let other = two.version(key, 1_700_000_000).await.unwrap().unwrap();
            assert_eq!(found.fingerprint(), other.fingerprint(), "{key}");
            assert_eq!(found.stamp(), other.stamp(), "{key}");
            assert_eq!(found.body(), other.body(), "{key}");
            assert!(found.is_shareable() && found.stamp().is_some(), "{key}");
        }
    }

    #[tokio::test]
    async fn the_bytes_are_the_same_in_every_release() {
        let crc = |version: Version| version.fingerprint().crc;
        let sample = Sample::new();
        assert_eq!(version(&sample, "/items/1k.bin").await.body().len(), 1024);
        assert_eq!(crc(version(&sample, "/items/1k.bin").await), 0x2fef_636e);
        assert_eq!(version(&sample, "/items/10m.bin").await.body().len(), 10 << 20);
        assert_eq!(crc(version(&sample, "/items/10m.bin").await), 0x8565_e2a8);
    }

    #[tokio::test]
    async fn an_item_that_stays_is_unchanged_and_not_made_again() {
        let sample = Sample::new();
        for (key, ..) in ITEMS {
            let first = version(&sample, key).await;
            let again = ask(&sample, key, Some(&first)).await;
            assert!(matches!(again, Retrieved::Unchanged), "{key}");
            let second = version(&sample, key).await;
            assert_eq!(first.body().as_ptr(), second.body().as_ptr(), "{key} was made twice");
        }
    }

    #[tokio::test]
    async fn now_changes_every_second_and_not_within_one() {
        let sample = Sample::new();
        let at = async |second| sample.version(NOW, second).await.unwrap().unwrap();
        let (first, second) = (at(1_700_000_000).await, at(1_700_000_001).await);
        assert_eq!(
            first.body(),
            "{\"unix_seconds\": 1700000000, \"utc\": \"22:13:20\"}\n".as_bytes()
        );
        assert_ne!(first.stamp(), second.stamp());
        assert_eq!(first.body(), at(1_700_000_000).await.body());

        let old = ask(&sample, NOW, Some(&first)).await;
        assert!(matches!(old, Retrieved::Version(_)), "long past");
        let text: serde_json::Value =
            serde_json::from_slice(version(&sample, NOW).await.body()).unwrap();
        assert!(text["unix_seconds"].as_u64().unwrap() > 1_700_000_000);
    }

    #[tokio::test]
    async fn calls_echo_count_and_sleep() {
        let sample = Sample::new();
        let headers = HeaderBlock::new([(HeaderName::ContentType, "x/y")]).unwrap();
        let call = async |key: &str, body: &'static str| {
            let (key, headers) = (key.parse().unwrap(), headers.clone());
            let body = Bytes::from_static(body.as_bytes());
            sample.call(CallRequest { key, headers, body, idempotent: false }).await.unwrap()
        };
        let echo = call("/echo", "hello").await;
        assert_eq!((echo.status, &echo.headers, &echo.body[..]), (200, &headers, &b"hello"[..]));
        for count in ["1\n", "2\n"] {
            assert_eq!(call("/count", "").await.body, count);
        }
        assert_eq!(call("/sleep?ms=1", "").await.body, "slept\n");
        for (key, status) in
            [("/sleep", 400), ("/sleep?ms=600001", 400), ("/sleep?ms=x", 400), ("/index.html", 404)]
        {
            assert_eq!(call(key, "").await.status, status, "{key}");
        }
    }

    #[tokio::test]
    async fn queries_are_ignored_and_other_keys_not_found() {
        let sample = Sample::new();
        let (plain, query) = (version(&sample, "/").await, version(&sample, "/?a=b").await);
        assert_eq!(plain.fingerprint(), query.fingerprint());
        assert_eq!(plain.fingerprint(), version(&sample, "/index.html").await.fingerprint());
        assert_eq!(plain.headers().value(HeaderName::ContentType), Some(HTML));
        for key in ["/nothing", "/items/", "/items/2k.bin", "/items%2f1k.bin", "/Index.html"] {
            let found = ask(&sample, key, None).await;
            assert!(matches!(found, Retrieved::NotFound), "{key}");
        }
    }

    #[tokio::test]
    async fn the_welcome_page_stands_alone_and_names_only_what_there_is() {
        let sample = Sample::new();
        let page = version(&sample, "/").await;
        let page = std::str::from_utf8(page.body()).unwrap();
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("src="));
        let keys = listed(&version(&sample, "/list.json").await);
        let mut named = 0;
        for line in page.lines().filter(|line| line.contains("understudy get")) {
            for key in line.split([' ', '<', '"']).filter(|word| word.starts_with('/')) {
                if key.starts_with("/items/") || key.ends_with(".json") || key.ends_with(".txt") {
                    assert!(keys.iter().any(|known| known == key), "{key}");
                    named += 1;
                }
            }
        }
        assert!(named > 0);
    }
}
