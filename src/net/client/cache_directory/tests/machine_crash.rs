//! What a crash of the machine leaves of files that were renamed and never flushed: some are there
//! as they were before, some as they were after, some not at all; some are torn, zeroed or mixed.
//! Whatever it is, each item is one that was once stored in that slot under that key, or none.

use super::*;
use crate::node::client::{Client as Node, Config, Output};
use crate::wire::Time;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, BTreeSet};

const SLOTS: u32 = 6;
const KEYS: [&str; 4] = ["/a", "/b", "/c", "/d?e"];
const SIZES: [usize; 6] = [0, 1, 300, 4_000, 9_000, 40_000];

/// Files by their names from the root of the directory.
type Files = BTreeMap<String, Vec<u8>>;
/// What was stored, ever: in this slot, under this key, with these bytes.
type History = BTreeSet<(u32, String, Bytes)>;

/// What the client does.
#[derive(Clone, Debug)]
enum Step {
    Store { slot: u32, key: Index, size: Index, fill: u8 },
    Remove { slot: u32 },
    Token(u8),
}

/// What the crash does to the files of which both indexes name one.
#[derive(Clone, Debug)]
enum Damage {
    Cut(Index),
    /// As where the length was written and the data was not.
    Zero {
        from: Index,
        to_end: bool,
    },
    Flip(Index, u8),
    Append(Vec<u8>),
    /// The start of one file and the end of another.
    Splice(Index),
    Swap,
    Copy,
    /// Under the name of one that is not whole.
    Unfinished,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 0..SLOTS;
    prop_oneof![
        6 => (slot(), any::<Index>(), any::<Index>(), 0..4_u8)
            .prop_map(|(slot, key, size, fill)| Step::Store { slot, key, size, fill }),
        1 => slot().prop_map(|slot| Step::Remove { slot }),
        1 => any::<u8>().prop_map(Step::Token),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<Index>().prop_map(Damage::Cut),
        any::<(Index, bool)>().prop_map(|(from, to_end)| Damage::Zero { from, to_end }),
        (any::<Index>(), 1..=255_u8).prop_map(|(place, bits)| Damage::Flip(place, bits)),
        vec(any::<u8>(), 1..9).prop_map(Damage::Append),
        any::<Index>().prop_map(Damage::Splice),
        Just(Damage::Swap),
        Just(Damage::Copy),
        Just(Damage::Unfinished),
    ]
}

fn run(directory: &CacheDirectory, steps: &[Step], history: &mut History) {
    for step in steps {
        match step {
            Step::Store { slot, key, size, fill } => {
                // Versions of equal length, which share their end: what is easily mistaken.
                let mut bytes = vec![b'.'; *size.get(&SIZES)];
                let half = bytes.len().div_ceil(2);
                bytes[..half].fill(*fill);
                let bytes = Bytes::from(bytes);
                let key = *key.get(&KEYS);
                let item = Item { bytes: bytes.clone(), ..item_of(key, &bytes) };
                directory.store(*slot, &item).unwrap();
                history.insert((*slot, key.to_owned(), bytes));
            }
            Step::Remove { slot } => directory.remove(*slot).unwrap(),
            Step::Token(fill) => directory.store_token(&[*fill; 50]).unwrap(),
        }
    }
}

fn item_of(key: &str, bytes: &[u8]) -> Item {
    let empty = item(key, b"");
    Item { fingerprint: fingerprint(empty.headers.as_bytes(), bytes), ..empty }
}

fn read_all(path: &Path) -> Files {
    let mut files = Files::new();
    for directory in ["", "items"] {
        for entry in fs::read_dir(path.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            let name = Path::new(directory).join(path.file_name().unwrap());
            if path.is_file() && name != Path::new("lock") {
                files.insert(name.to_str().unwrap().to_owned(), fs::read(path).unwrap());
            }
        }
    }
    files
}

/// Of each file what one of the two moments says, or nothing.
fn mix(before: &Files, after: &Files, choices: &[u8]) -> Files {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let choose = |(name, choice): (&String, &u8)| {
        let file = match choice % 8 {
            0..4 => after.get(name),
            4..7 => before.get(name),
            _ => None,
        };
        Some((name.clone(), file?.clone()))
    };
    names.into_iter().zip(choices.iter().cycle()).filter_map(choose).collect()
}

fn harm(files: &mut Files, one: Index, other: Index, damage: &Damage) {
    let names: Vec<_> = files.keys().filter(|name| !name.ends_with(UNFINISHED)).cloned().collect();
    if names.is_empty() {
        return;
    }
    let (one, other) = (one.get(&names), other.get(&names));
    let from = files[other].clone();
    let file = files.get_mut(one).unwrap();
    let place = |index: &Index, file: &[u8]| index.index(file.len() + 1);
    match damage {
        Damage::Cut(at) => file.truncate(place(at, file)),
        Damage::Zero { from, to_end } => {
            let start = place(from, file);
            let end = if *to_end { file.len() } else { file.len().min(start + 512) };
            file[start..end].fill(0);
        }
        Damage::Flip(at, bits) => {
            let at = place(at, file);
            file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bits);
        }
        Damage::Append(more) => file.extend(more),
        Damage::Splice(at) => {
            let at = place(at, file);
            let end = from.get(at..).unwrap_or_default();
            file.truncate(at);
            file.extend(end);
        }
        Damage::Swap => {
            let taken = std::mem::replace(file, from);
            files.insert(other.clone(), taken);
        }
        Damage::Copy => *file = from,
        Damage::Unfinished => drop(files.insert(format!("{one}{UNFINISHED}"), from)),
    }
}

fn write_all(path: &Path, files: &Files) {
    fs::create_dir_all(path.join("items")).unwrap();
    for (name, bytes) in files {
        fs::write(path.join(name), bytes).unwrap();
    }
}

/// Slots that have a file.
fn slots(path: &Path) -> BTreeSet<u32> {
    read_all(path).keys().filter_map(|name| name.strip_prefix("items/")?.parse().ok()).collect()
}

/// Opens the directory and loads everything; returns how many items are there.
fn check(path: &Path, history: &History, tokens: &BTreeSet<Bytes>) -> usize {
    let found = read_all(path).len() - leftovers(path);
    let (directory, saved, damaged) = CacheDirectory::open(path).unwrap();
    assert!(saved.token.iter().all(|token| tokens.contains(token)), "a token of nobody's");
    // What is there is listed; what is not listed was counted, and is gone.
    assert_eq!(found as u64 - damaged, (saved.items.len() + saved.token.iter().len()) as u64);
    let listed: BTreeSet<_> = saved.items.iter().map(|item| item.slot).collect();
    assert_eq!((listed, leftovers(path)), (slots(path), 0));
    let mut sound = 0;
    for item in &saved.items {
        // As the client machine judges it.
        let bytes = directory.load(item.slot).unwrap();
        if fingerprint(item.headers.as_bytes(), &bytes) == item.fingerprint {
            let stored = (item.slot, item.key.as_str().to_owned(), bytes);
            assert!(history.contains(&stored), "never stored: {stored:?}");
            sound += 1;
        }
    }
    drop(directory);
    let (_, again, damaged) = CacheDirectory::open(path).unwrap();
    assert_eq!((again.items.len(), damaged), (saved.items.len(), 0));
    sound
}

fn leftovers(path: &Path) -> usize {
    read_all(path).keys().filter(|name| name.contains(UNFINISHED)).count()
}

/// Opens the directory with a budget, as a client does; checks that no more lies there.
fn check_budget(path: &Path, max_cache_bytes: u64) {
    let (directory, saved, _) = CacheDirectory::open(path).unwrap();
    let config = Config { persist: true, max_cache_bytes, ..Config::default() };
    let mut node = Node::new(config, saved, 0, Time::from_micros(1));
    while let Some(output) = node.poll_output() {
        if let Output::Removed { slot } = output {
            directory.remove(slot).unwrap();
        }
    }
    let files = read_all(path).into_iter().filter(|(name, _)| name.starts_with("items/"));
    let bytes: usize = files.map(|(_, file)| file.len()).sum();
    assert!(bytes as u64 <= max_cache_bytes, "{bytes} bytes, {max_cache_bytes} are allowed");
    assert_eq!(slots(path).len(), node.cache_size().0);
}

proptest! {
    #[test]
    fn each_item_is_one_that_was_stored_there_or_none(
        first in vec(step(), 0..20),
        second in vec(step(), 0..20),
        choices in vec(any::<u8>(), 1..16),
        damages in vec((any::<Index>(), any::<Index>(), damage()), 0..4),
        budget in 0..120_000_u64,
    ) {
        let place = tempfile::tempdir().unwrap();
        let (whole, left) = (place.path().join("whole"), place.path().join("left"));
        let mut history = History::new();
        let (directory, ..) = CacheDirectory::open(&whole).unwrap();
        run(&directory, &first, &mut history);
        let before = read_all(&whole);
        run(&directory, &second, &mut history);
        let after = read_all(&whole);
        let mut files = mix(&before, &after, &choices);
        let whole = files.keys().filter(|name| name.starts_with("items/")).count();
        for (one, other, damage) in &damages {
            harm(&mut files, *one, *other, damage);
        }
        write_all(&left, &files);
        let tokens = (0..=255).map(|fill| Bytes::from(vec![fill; 50])).collect();
        let sound = check(&left, &history, &tokens);
        // Nothing is lost that was not harmed; a swap harms two.
        prop_assert!(sound + 2 * damages.len() >= whole, "{sound} of {whole}");
        check_budget(&left, budget);
    }
}
