//! What deltas save on successive versions of real files, beside sending the new version in full,
//! as it is, by gzip or by Zstandard; and what encoding and decoding cost.
//!
//! Takes directories of which each is one item: its name is the file's, and in it are the versions,
//! named by their numbers. `benches/versions.sh` fetches published ones, and runs this.
//! `--largest` also joins all that it was given into two versions of the greatest length that has a
//! delta, and tells the memory that one takes.
//!
//! Times are the least of several rounds, of which the first is dropped.

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use understudy::mirror::delta::{self, MAX_INPUT};

/// Fewest rounds, without the first.
const ROUNDS: usize = 3;
/// More rounds are made until this has passed.
const ENOUGH: Duration = Duration::from_millis(300);

type Failure = Box<dyn Error>;

#[derive(Default)]
struct Arguments {
    /// Each the versions of one file: its name is the file's, theirs are the versions' numbers.
    directories: Vec<PathBuf>,
    /// Prints one line of JSON for each pair of versions, not a table.
    json: bool,
    /// Measures two versions of the greatest length as well, with the memory that they take.
    largest: bool,
}

impl Arguments {
    fn parse() -> Result<Self, Failure> {
        let mut arguments = Self::default();
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--json" => arguments.json = true,
                "--largest" => arguments.largest = true,
                // Given by `cargo bench`.
                "--bench" => {}
                flag if flag.starts_with('-') => return Err(format!("what is {flag}?").into()),
                directory => arguments.directories.push(directory.into()),
            }
        }
        Ok(arguments)
    }
}

/// Two successive versions of a file.
struct Pair {
    file: String,
    kind: &'static str,
    versions: [String; 2],
    old: Vec<u8>,
    new: Vec<u8>,
}

/// How many bytes it takes to send the new version.
struct Sizes {
    gzip: usize,
    zstd_3: usize,
    zstd_19: usize,
    delta: Option<usize>,
}

/// What the delta costs.
struct Costs {
    encode: Duration,
    decode: Duration,
}

fn kind(file: &str) -> &'static str {
    match Path::new(file).extension().and_then(|ending| ending.to_str()) {
        Some("js" | "mjs" | "ts") => "script",
        Some("css") => "style",
        Some("json") => "JSON",
        Some("wasm" | "so") => "binary",
        _ => "other",
    }
}

/// The numbers in a name, so that 1.10 comes after 1.9.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|sign: char| !sign.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// Each version of the file with the one before it.
fn pairs(directory: &Path) -> Result<Vec<Pair>, Failure> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let entries = fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, Failure>>()?;
    paths.sort_by_key(|path| numbers(&name(path)));
    let file = name(&directory.canonicalize()?);
    let of = |pair: &[PathBuf]| {
        Ok(Pair {
            kind: kind(&file),
            file: file.clone(),
            versions: [name(&pair[0]), name(&pair[1])],
            old: fs::read(&pair[0])?,
            new: fs::read(&pair[1])?,
        })
    };
    paths.windows(2).map(of).collect()
}

impl Pair {
    fn sizes(&self) -> Result<Sizes, Failure> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(&self.new)?;
        Ok(Sizes {
            gzip: gzip.finish()?.len(),
            zstd_3: zstd::bulk::compress(&self.new, 3)?.len(),
            zstd_19: zstd::bulk::compress(&self.new, 19)?.len(),
            delta: delta::encode(&self.old, &self.new).map(|delta| delta.len()),
        })
    }

    /// Panics if the delta gives back anything but the new version.
    fn costs(&self) -> Costs {
        let (encode, delta) = least(|| delta::encode(&self.old, &self.new));
        let Some(delta) = delta else {
            return Costs { encode, decode: Duration::ZERO };
        };
        let (decode, new) = least(|| delta::decode(&self.old, &delta, self.new.len()));
        assert!(new.is_ok_and(|new| new == self.new), "{}: not what it was", self.file);
        Costs { encode, decode }
    }

    fn megabytes_per_second(&self, time: Duration) -> f64 {
        if time.is_zero() { 0.0 } else { self.new.len() as f64 / 1e6 / time.as_secs_f64() }
    }

    fn json(&self, sizes: &Sizes, costs: &Costs) -> Value {
        json!({
            "file": self.file,
            "kind": self.kind,
            "versions": self.versions,
            "old_bytes": self.old.len(),
            "new_bytes": self.new.len(),
            "gzip_bytes": sizes.gzip,
            "zstd_3_bytes": sizes.zstd_3,
            "zstd_19_bytes": sizes.zstd_19,
            "delta_bytes": sizes.delta,
            "encode_ns": costs.encode.as_nanos() as u64,
            "decode_ns": costs.decode.as_nanos() as u64,
        })
    }

    fn row(&self, sizes: &Sizes, costs: &Costs) -> String {
        let [old, new] = &self.versions;
        let saved = |than: usize| {
            let delta = sizes.delta.unwrap_or(self.new.len());
            format!("{:.1} %", 100.0 - 100.0 * delta as f64 / than as f64)
        };
        let time = |time: Duration| {
            let milliseconds = time.as_secs_f64() * 1e3;
            format!("{milliseconds:.2} ms, {:.0} MB/s", self.megabytes_per_second(time))
        };
        let cells = [
            self.file.clone(),
            self.kind.to_owned(),
            format!("{old} → {new}"),
            format!("{} → {}", grouped(self.old.len()), grouped(self.new.len())),
            grouped(sizes.gzip),
            grouped(sizes.zstd_3),
            grouped(sizes.zstd_19),
            sizes.delta.map_or("none".to_owned(), grouped),
            format!("{}, {}, {}", saved(sizes.gzip), saved(sizes.zstd_3), saved(sizes.zstd_19)),
            time(costs.encode),
            time(costs.decode),
        ];
        format!("| {} |", cells.join(" | "))
    }
}

/// The head of the table, in Markdown.
const HEAD: &str = "\
| file | kind | versions | old → new = in full, bytes | gzip 6 | zstd 3 | zstd 19 | delta \
| saved against gzip, zstd 3, zstd 19 | encode | decode |
|---|---|---|---|---|---|---|---|---|---|---|";

/// A number with its thousands apart.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// The least time of several rounds, and what the last one gave.
fn least<T>(mut work: impl FnMut() -> T) -> (Duration, T) {
    let began = Instant::now();
    let mut result = work();
    let mut least = Duration::MAX;
    let mut rounds = 0;
    while rounds < ROUNDS || began.elapsed() < ENOUGH {
        let started = Instant::now();
        result = work();
        least = least.min(started.elapsed());
        rounds += 1;
    }
    (least, result)
}

/// What is added to all bytes of a version that is to share nothing with the others.
const UNRELATED: u8 = 128;

/// Both versions of all pairs, one after another, again and again up to the greatest length: each
/// time with other bytes in place of those that they had, so that nothing repeats itself. The first
/// time `added` is added to the new bytes: the two are as alike as their parts if that is 0.
fn largest(pairs: &[Pair], file: &str, added: u8) -> Pair {
    let filled = |version: fn(&Pair) -> &Vec<u8>, first: u8| {
        let mut all = Vec::with_capacity(MAX_INPUT);
        for added in (0..UNRELATED).map(|round| first + round) {
            for pair in pairs {
                let room = (MAX_INPUT - all.len()).min(version(pair).len());
                all.extend(version(pair)[..room].iter().map(|byte| byte.wrapping_add(added)));
            }
        }
        all
    };
    Pair {
        file: file.to_owned(),
        kind: "mixed",
        versions: ["old".to_owned(), "new".to_owned()],
        old: filled(|pair| &pair.old, 0),
        new: filled(|pair| &pair.new, added),
    }
}

/// By how much memory, in KiB, the process has grown at most while it did `work`. Linux only.
fn grown<T>(work: impl FnOnce() -> T) -> Result<(u64, T), Failure> {
    let kib = |name: &str| -> Result<u64, Failure> {
        let status = fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find(|line| line.starts_with(name)).ok_or("no such line")?;
        Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
    };
    // The peak begins anew.
    fs::write("/proc/self/clear_refs", "5")?;
    let before = kib("VmRSS:")?;
    let result = work();
    Ok((kib("VmHWM:")?.saturating_sub(before), result))
}

/// One line about the memory that the greatest length takes.
fn memory(pair: &Pair) -> Result<String, Failure> {
    let (encode, delta) = grown(|| delta::encode(&pair.old, &pair.new))?;
    let delta = delta.ok_or("no delta pays for the largest versions")?;
    let (decode, new) = grown(|| delta::decode(&pair.old, &delta, pair.new.len()))?;
    let new = new?;
    let (encode, decode) = (grouped(encode as usize), grouped(decode as usize));
    Ok(format!(
        "Beside the versions themselves encoding took {encode} KiB of memory ({} of them the \
         delta), decoding {decode} KiB ({} of them the new version).",
        grouped(delta.len() >> 10),
        grouped(new.len() >> 10),
    ))
}

fn show(pair: &Pair, json: bool) -> Result<(), Failure> {
    let (sizes, costs) = (pair.sizes()?, pair.costs());
    if json {
        println!("{}", pair.json(&sizes, &costs));
    } else {
        println!("{}", pair.row(&sizes, &costs));
    }
    Ok(())
}

fn run() -> Result<(), Failure> {
    let arguments = Arguments::parse()?;
    if arguments.directories.is_empty() {
        println!("versions needs some: benches/versions.sh fetches them and runs it");
        return Ok(());
    }
    let mut all = Vec::new();
    for directory in &arguments.directories {
        let pairs = pairs(directory)?;
        if pairs.is_empty() {
            return Err(format!("{}: fewer than two versions", directory.display()).into());
        }
        all.extend(pairs);
    }
    let largest = arguments.largest.then(|| largest(&all, "all of these, joined", 0));
    // First, before anything of this size has been taken and given back.
    let memory = largest.as_ref().map(memory).transpose()?;
    if !arguments.json {
        println!("{HEAD}");
    }
    all.extend(largest);
    for pair in &all {
        show(pair, arguments.json)?;
    }
    if let Some(memory) = memory {
        all.pop();
        show(&self::largest(&all, "the same, unrelated", UNRELATED), arguments.json)?;
        if !arguments.json {
            println!("\n{memory}");
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("versions: {failure}");
            ExitCode::FAILURE
        }
    }
}
