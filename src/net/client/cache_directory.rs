//! A client's cache on disk: one file an item, named by its slot, and one for the token.
//!
//! The cache is allowed to forget, never to lie. So nothing is flushed to the disk by force: a file
//! is written under another name and renamed, which survives a crash of the process; and what a
//! crash of the machine tears is recognised when it is read. The header of an item's file, its key
//! and slot among them, has a checksum of its own; header block and bytes have their digest, which
//! the client machine compares before it hands anything out. A file that is damaged, or of another
//! format, counts as not there.
//!
//! ```text
//! lock                       locked while a process uses the directory; holds its process id
//! token                      magic, version, token, checksum
//! items/17                   magic, version, slot, key, header block, fingerprint, checksum; bytes
//! ```

use crate::config::{read_bounded, write_whole};
use crate::node::client::{Item, Saved, SavedItem};
use crate::wire::codec::{DecodeError, Reader, put};
use crate::wire::headers::MAX_HEADER_BLOCK;
use crate::wire::lane::MAX_SLOTS;
use crate::wire::session::MAX_TOKEN;
use crate::wire::types::MAX_KEY;
use crate::wire::{Fingerprint, HeaderBlock, Key};
use bytes::{BufMut, Bytes, BytesMut};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What an item's file starts with; the last byte is the version of the format.
const ITEM_MAGIC: &[u8; 16] = b"understudy item\x01";
/// What the token's file starts with.
const TOKEN_MAGIC: &[u8; 16] = b"understudytoken\x01";
const CHECKSUM: usize = 16;
/// Longest header of an item's file: three varints, key, header block, digest and CRC, and the two
/// lengths in front of them.
const MAX_ITEM_HEADER: usize = 16 + 3 * 8 + MAX_KEY + MAX_HEADER_BLOCK + 20 + 8 + CHECKSUM;
const MAX_TOKEN_FILE: usize = 16 + 8 + MAX_TOKEN + CHECKSUM;
/// What a file is called until it is whole.
const UNFINISHED: &str = ".new";

/// A directory that this process has to itself.
#[derive(Debug)]
pub(super) struct CacheDirectory {
    path: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

/// Why a directory cannot be used.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Another process uses it: this one, if it says.
    InUse(Option<u32>),
    /// It cannot be read or written.
    Unusable(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Unusable(error)
    }
}

impl CacheDirectory {
    /// Opens a directory, makes it if need be, and lists what is there. Damaged files are removed,
    /// and counted in the last value.
    pub(super) fn open(path: &Path) -> Result<(Self, Saved, u64), OpenError> {
        create_private(path)?;
        create_private(&path.join("items"))?;
        let directory = Self { path: path.to_owned(), _lock: lock(&path.join("lock"))? };
        let mut damaged = 0;
        let token = directory.read_token(&mut damaged);
        let items = directory.read_items(&mut damaged)?;
        Ok((directory, Saved { token, items }, damaged))
    }

    fn read_token(&self, damaged: &mut u64) -> Option<Bytes> {
        let path = self.path.join("token");
        let file = match read_bounded(&path, MAX_TOKEN_FILE as u64) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            file => file.map_err(|error| error.to_string()),
        };
        let token = file.and_then(|file| decode_token(file).map_err(|error| error.to_string()));
        token.map_err(|why| self.discard(&path, &why, damaged)).ok()
    }

    /// The items, those that were written last at the end.
    fn read_items(&self, damaged: &mut u64) -> io::Result<Vec<SavedItem>> {
        let mut items = Vec::new();
        for entry in fs::read_dir(self.path.join("items"))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(UNFINISHED) {
                // A process died here; nothing was promised.
                let _ = fs::remove_file(&path);
                continue;
            }
            // What has another name is not ours to judge.
            let Ok(slot) = name.parse::<u32>() else {
                continue;
            };
            match read_item(&path, slot) {
                Ok(item) => items.push(item),
                Err(why) => self.discard(&path, &why, damaged),
            }
        }
        items.sort_by_key(|(written, item)| (*written, item.slot));
        Ok(items.into_iter().map(|(_, item)| item).collect())
    }

    fn discard(&self, path: &Path, why: &str, damaged: &mut u64) {
        *damaged += 1;
        tracing::warn!("{}: {why}; it counts as not there", path.display());
        // If it cannot be removed, it will be found damaged again.
        let _ = fs::remove_file(path);
    }

    /// Reads the bytes of an item; the caller compares them with their digest.
    pub(super) fn load(&self, slot: u32) -> io::Result<Bytes> {
        let mut file = File::open(self.item_path(slot))?;
        let header = read_header(&mut file)?;
        let (item, start) = decode_item(header).map_err(io::Error::other)?;
        file.seek(io::SeekFrom::Start(start as u64))?;
        // The header's checksum vouches for the length.
        let length = item.fingerprint.length;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length as usize)?;
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }

    /// Writes an item in place of what is in its slot.
    pub(super) fn store(&self, slot: u32, item: &Item) -> io::Result<()> {
        let path = self.item_path(slot);
        let unfinished = self.path.join("items").join(format!("{slot}{UNFINISHED}"));
        let result = write_item(&unfinished, slot, item);
        let result = result.and_then(|()| fs::rename(&unfinished, &path));
        if result.is_err() {
            // The slot has another item now; and half a file helps nobody.
            let _ = fs::remove_file(&unfinished);
            let _ = fs::remove_file(&path);
        }
        result
    }

    /// Removes what is in a slot.
    pub(super) fn remove(&self, slot: u32) -> io::Result<()> {
        match fs::remove_file(self.item_path(slot)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes the token in place of the one before.
    pub(super) fn store_token(&self, token: &[u8]) -> io::Result<()> {
        write_whole(&self.path.join("token"), &encode_token(token), true)
    }

    fn item_path(&self, slot: u32) -> PathBuf {
        self.path.join("items").join(slot.to_string())
    }
}

/// What a client has cached is its own affair, and its token is a secret.
fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.take(20).read_to_string(&mut text);
            return Err(OpenError::InUse(text.trim().parse().ok()));
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

fn read_header(file: &mut File) -> io::Result<Bytes> {
    let mut header = Vec::with_capacity(MAX_ITEM_HEADER);
    file.take(MAX_ITEM_HEADER as u64).read_to_end(&mut header)?;
    Ok(header.into())
}

fn read_item(path: &Path, slot: u32) -> Result<(SystemTime, SavedItem), String> {
    let say = |error: io::Error| error.to_string();
    let mut file = File::open(path).map_err(say)?;
    let metadata = file.metadata().map_err(say)?;
    let written = metadata.modified().map_err(say)?;
    let header = read_header(&mut file).map_err(say)?;
    let (item, start) = decode_item(header).map_err(|error| error.to_string())?;
    if item.slot != slot {
        return Err(format!("it belongs to slot {}", item.slot));
    }
    let (expected, found) = (item.fingerprint.length, metadata.len().saturating_sub(start as u64));
    if found != expected {
        return Err(format!("it has {found} bytes of {expected}"));
    }
    Ok((written, item))
}

fn write_item(path: &Path, slot: u32, item: &Item) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(&encode_item(slot, item))?;
    file.write_all(&item.bytes)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let hash = blake3::hash(bytes);
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

fn encode_item(slot: u32, item: &Item) -> BytesMut {
    let mut out = BytesMut::with_capacity(256);
    out.put_slice(ITEM_MAGIC);
    put::varint(&mut out, u64::from(slot));
    item.key.encode(&mut out);
    item.headers.encode(&mut out);
    item.fingerprint.encode(&mut out);
    let sum = checksum(&out);
    out.put_slice(&sum);
    out
}

/// Reads the header of an item's file, and where its bytes start.
fn decode_item(file: Bytes) -> Result<(SavedItem, usize), DecodeError> {
    let mut reader = Reader::new(&file);
    check_magic(&mut reader, ITEM_MAGIC)?;
    let slot = reader.varint("slot", MAX_SLOTS - 1)? as u32;
    let key = Key::decode(&mut reader)?;
    let headers = HeaderBlock::decode(&mut reader)?;
    let fingerprint = Fingerprint::decode(&mut reader)?;
    let end = file.len() - reader.remaining();
    check_sum(&mut reader, &file[..end])?;
    // What is kept for long should not keep the whole buffer.
    let key = Key::new(Bytes::copy_from_slice(key.as_bytes()))?;
    let headers = HeaderBlock::parse(Bytes::copy_from_slice(headers.as_bytes()))?;
    Ok((SavedItem { slot, key, headers, fingerprint }, end + CHECKSUM))
}

fn encode_token(token: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(MAX_TOKEN_FILE);
    out.put_slice(TOKEN_MAGIC);
    put::bytes(&mut out, token, MAX_TOKEN);
    let sum = checksum(&out);
    out.put_slice(&sum);
    out
}

fn decode_token(file: Vec<u8>) -> Result<Bytes, DecodeError> {
    let file = Bytes::from(file);
    let mut reader = Reader::new(&file);
    check_magic(&mut reader, TOKEN_MAGIC)?;
    let token = reader.bytes("token", MAX_TOKEN)?;
    let end = file.len() - reader.remaining();
    check_sum(&mut reader, &file[..end])?;
    reader.finish("token file")?;
    Ok(token)
}

fn check_magic(reader: &mut Reader, magic: &[u8; 16]) -> Result<(), DecodeError> {
    match reader.array("file type")? {
        found if found == *magic => Ok(()),
        _ => Err(DecodeError::Invalid { what: "file type", why: "another format or version" }),
    }
}

fn check_sum(reader: &mut Reader, bytes: &[u8]) -> Result<(), DecodeError> {
    match reader.array("checksum")? {
        found if found == checksum(bytes) => Ok(()),
        _ => Err(DecodeError::Invalid { what: "checksum", why: "the file is damaged" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HeaderName;
    use crate::wire::types::fingerprint;
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
        let notes = place.path().join("items/notes.txt");
        fs::write(&notes, b"somebody else's").unwrap();
        let (_, saved, damaged) = reopen(place.path());
        assert_eq!((saved.token, damaged), (None, 1));
        assert!(!unfinished.exists() && notes.exists());
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
}
