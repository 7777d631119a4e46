//! What comes back from a directory that processes and machines died on.

mod machine_crash;

use super::format::{ITEM_MAGIC, TOKEN_MAGIC};
use super::*;
use crate::wire::lane::MAX_SLOTS;
use crate::wire::types::fingerprint;
use crate::wire::{HeaderBlock, HeaderName, Key};
use proptest::prelude::*;

fn item(name: &str, bytes: &'static [u8]) -> Item {
    let headers = HeaderBlock::new([(HeaderName::ContentType, "text/plain")]).unwrap();
    let fingerprint = fingerprint(headers.as_bytes(), bytes);
    Item { key: name.parse().unwrap(), headers, fingerprint, bytes: bytes.into() }
}

fn reopen(path: &Path) -> (CacheDirectory, Saved, u64) {
    CacheDirectory::open(path).unwrap()
}

#[test]
fn what_is_stored_is_there_again() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a/b");
    let (directory, saved, damaged) = reopen(&path);
    assert_eq!((saved.token, saved.items.len(), damaged), (None, 0, 0));
    let (one, two) = (item("/one", b"1"), item("/two", b"22"));
    directory.store_token(b"first").unwrap();
    directory.store_token(b"second").unwrap();
    directory.store(3, &two).unwrap();
    directory.store(3, &one).unwrap();
    directory.store(70_000, &two).unwrap();
    directory.store(5, &two).unwrap();
    directory.remove(5).unwrap();
    directory.remove(5).unwrap();
    drop(directory);

    let (directory, saved, damaged) = reopen(&path);
    assert_eq!((saved.token.unwrap(), damaged), (Bytes::from("second"), 0));
    let found: Vec<_> = saved.items.iter().map(|it| (it.slot, it.key.as_str())).collect();
    assert_eq!(found, [(3, "/one"), (70_000, "/two")]);
    assert_eq!(saved.items[1].fingerprint, two.fingerprint);
    assert_eq!(saved.items[1].headers, two.headers);
    assert_eq!(directory.load(3).unwrap(), "1");
    assert_eq!(directory.load(70_000).unwrap(), "22");
    assert!(directory.load(5).is_err());
}

#[test]
fn a_second_process_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let (held, ..) = reopen(place.path());
    match CacheDirectory::open(place.path()).unwrap_err() {
        OpenError::InUse(process) => assert_eq!(process, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(held);
    reopen(place.path());
}

#[test]
fn any_damage_makes_a_file_count_as_not_there() {
    let place = tempfile::tempdir().unwrap();
    let item = item("/one", b"the bytes");
    let whole = [&encode_item(7, &item)[..], &item.bytes].concat();
    let header = whole.len() - item.bytes.len();
    let path = place.path().join("items/7");
    for change in 0..whole.len() {
        let (directory, ..) = reopen(place.path());
        let mut file = whole.clone();
        file[change] ^= 0x20;
        fs::write(&path, &file).unwrap();
        if change >= header {
            let found = fingerprint(item.headers.as_bytes(), &directory.load(7).unwrap());
            assert_ne!(found, item.fingerprint, "byte {change}");
            continue;
        }
        assert!(directory.load(7).is_err(), "byte {change}");
        drop(directory);
        let (_, saved, damaged) = reopen(place.path());
        assert_eq!((saved.items.len(), damaged), (0, 1), "byte {change}");
        assert!(!path.exists());
    }
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let (_, saved, damaged) = reopen(place.path());
        assert_eq!((saved.items.len(), damaged), (0, 1), "cut at {cut}");
    }
    fs::write(place.path().join("items/8"), &whole).unwrap();
    let (_, saved, damaged) = reopen(place.path());
    assert_eq!((saved.items.len(), damaged), (0, 1), "it belongs to another slot");
}

#[test]
fn a_damaged_token_is_none_and_leftovers_are_cleared() {
    let place = tempfile::tempdir().unwrap();
    let (directory, ..) = reopen(place.path());
    directory.store_token(b"secret").unwrap();
    drop(directory);
    let path = place.path().join("token");
    let mut file = fs::read(&path).unwrap();
    file[17] ^= 1;
    fs::write(&path, file).unwrap();
    let unfinished = place.path().join("items/3.new");
    fs::write(&unfinished, b"half").unwrap();
    let unfinished_token = place.path().join("token.new");
    fs::write(&unfinished_token, b"half").unwrap();
    let notes = place.path().join("items/notes.txt");
    fs::write(&notes, b"somebody else's").unwrap();
    let (_, saved, damaged) = reopen(place.path());
    assert_eq!((saved.token, damaged), (None, 1));
    assert!(!unfinished.exists() && !unfinished_token.exists() && notes.exists());
}

#[test]
fn what_is_called_like_a_slot_and_is_no_item_of_it_is_let_be() {
    let place = tempfile::tempdir().unwrap();
    let (directory, ..) = reopen(place.path());
    directory.store(7, &item("/one", b"1")).unwrap();
    drop(directory);
    let items = place.path().join("items");
    for name in ["07", "+7"] {
        fs::copy(items.join("7"), items.join(name)).unwrap();
    }
    fs::create_dir(items.join("8")).unwrap();
    // Nobody writes to it: whoever opened it would wait for ever.
    #[cfg(all(target_os = "linux", feature = "server"))]
    {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, items.join("9"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    }
    let (_, saved, damaged) = reopen(place.path());
    assert_eq!((saved.items.len(), damaged), (1, 0));
    assert_eq!(saved.items[0].slot, 7);
}

#[test]
fn what_was_read_last_comes_last() {
    let place = tempfile::tempdir().unwrap();
    let (directory, ..) = reopen(place.path());
    let an_hour_ago = SystemTime::now() - std::time::Duration::from_secs(3_600);
    for slot in 0..4 {
        directory.store(slot, &item("/one", b"1")).unwrap();
        let file = File::open(place.path().join(format!("items/{slot}"))).unwrap();
        file.set_modified(an_hour_ago + std::time::Duration::from_secs(slot.into())).unwrap();
    }
    directory.load(1).unwrap();
    drop(directory);
    let (_, saved, _) = reopen(place.path());
    let slots: Vec<_> = saved.items.iter().map(|item| item.slot).collect();
    assert_eq!(slots, [0, 2, 3, 1]);
}

#[test]
fn what_cannot_be_a_directory_says_so() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(CacheDirectory::open(&file), Err(OpenError::Unusable(_))));
}

#[test]
fn the_longest_header_is_read() {
    let headers: Vec<_> = [HeaderName::ContentType, HeaderName::Etag, HeaderName::LastModified]
        .map(|name| (name, "x".repeat(1_024)))
        .into();
    let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
    let headers = HeaderBlock::new(headers).unwrap();
    let key: Key = format!("/{}", "k".repeat(1_023)).parse().unwrap();
    let fingerprint = fingerprint(headers.as_bytes(), b"x");
    let item = Item { key, headers, fingerprint, bytes: Bytes::from_static(b"x") };
    let place = tempfile::tempdir().unwrap();
    let (directory, ..) = reopen(place.path());
    directory.store(MAX_SLOTS as u32 - 1, &item).unwrap();
    drop(directory);
    let (directory, saved, damaged) = reopen(place.path());
    assert_eq!((saved.items.len(), damaged), (1, 0));
    assert_eq!(directory.load(MAX_SLOTS as u32 - 1).unwrap(), "x");
}

proptest! {
    #[test]
    fn decoding_anything_never_panics(bytes: Vec<u8>) {
        let _ = decode_item(Bytes::from([&ITEM_MAGIC[..], &bytes].concat()));
        let _ = decode_item(Bytes::from(bytes.clone()));
        let _ = decode_token([&TOKEN_MAGIC[..], &bytes].concat());
        let _ = decode_token(bytes);
    }
}
