//! A client's cache on disk: one file an item, named by its slot, and one for the token.
//!
//! The cache is allowed to forget, never to lie. So nothing is flushed to the disk by force: a file
//! is written under another name and renamed, which survives a crash of the process; and what a
//! crash of the machine tears is recognised when it is read. The header of an item's file, its key
//! and slot among them, has a checksum of its own; header block and bytes have their digest, which
//! the client machine compares before it hands anything out. A file that is damaged, or of another
//! format, counts as not there. The time that a file carries is when its item was last written or
//! read: the order of use, as far as it costs nothing.
//!
//! ```text
//! lock                       locked while a process uses the directory; holds its process id
//! token                      magic, version, token, checksum
//! items/17                   magic, version, slot, key, header block, fingerprint, checksum; bytes
//! ```

mod format;
#[cfg(test)]
mod tests;

use crate::config::read_bounded;
use crate::node::client::{Item, Saved, SavedItem};
use bytes::Bytes;
pub(super) use format::file_size;
use format::{MAX_ITEM_HEADER, MAX_TOKEN_FILE};
use format::{decode_item, decode_token, encode_item, encode_token};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

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
        let mut damaged = Damaged::default();
        let token = directory.read_token(&mut damaged);
        let items = directory.read_items(&mut damaged)?;
        if let Some(why) = damaged.first {
            let (path, count) = (path.display(), damaged.count);
            tracing::warn!("{count} files in the cache {path} count as not there: {why}");
        }
        Ok((directory, Saved { token, items }, damaged.count))
    }

    fn read_token(&self, damaged: &mut Damaged) -> Option<Bytes> {
        let path = self.path.join("token");
        // A process died here; nothing was promised.
        let _ = fs::remove_file(unfinished(&path));
        let file = match read_bounded(&path, MAX_TOKEN_FILE as u64) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            file => file.map_err(|error| error.to_string()),
        };
        let token = file.and_then(|file| decode_token(file).map_err(|error| error.to_string()));
        token.map_err(|why| damaged.discard(&path, &why)).ok()
    }

    /// The items, those that were used last at the end.
    fn read_items(&self, damaged: &mut Damaged) -> io::Result<Vec<SavedItem>> {
        let mut items = Vec::new();
        for entry in fs::read_dir(self.path.join("items"))? {
            let entry = entry?;
            let path = entry.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(UNFINISHED) {
                let _ = fs::remove_file(&path);
                continue;
            }
            // What has another name is not ours to judge, nor what is no file (and may be a pipe,
            // which keeps whoever opens it).
            let slot = name.parse::<u32>().ok().filter(|slot| slot.to_string() == name);
            let Some(slot) = slot.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file()))
            else {
                continue;
            };
            match read_item(&path, slot) {
                Ok(item) => items.push(item),
                Err(why) => damaged.discard(&path, &why),
            }
        }
        items.sort_by_key(|(used, item)| (*used, item.slot));
        Ok(items.into_iter().map(|(_, item)| item).collect())
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
        (&file).take(length).read_to_end(&mut bytes)?;
        // Without it the item is only forgotten sooner.
        let _ = file.set_modified(SystemTime::now());
        Ok(bytes.into())
    }

    /// Writes an item in place of what is in its slot.
    pub(super) fn store(&self, slot: u32, item: &Item) -> io::Result<()> {
        let path = self.item_path(slot);
        let result = write_whole(&path, [&encode_item(slot, item), &item.bytes]);
        if result.is_err() {
            // The slot has another item now.
            let _ = fs::remove_file(&path);
        }
        result
    }

    /// How long the file of a slot is, if it has one.
    pub(super) fn size(&self, slot: u32) -> u64 {
        let metadata = fs::metadata(self.item_path(slot)).ok().filter(fs::Metadata::is_file);
        metadata.map_or(0, |metadata| metadata.len())
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
        write_whole(&self.path.join("token"), [&encode_token(token), &[]])
    }

    fn item_path(&self, slot: u32) -> PathBuf {
        self.path.join("items").join(slot.to_string())
    }
}

/// Files that count as not there.
#[derive(Default)]
struct Damaged {
    count: u64,
    /// The first of them, and why. To name thousands would help nobody.
    first: Option<String>,
}

impl Damaged {
    fn discard(&mut self, path: &Path, why: &str) {
        self.count += 1;
        let name = path.file_name().unwrap_or_default().display();
        self.first.get_or_insert_with(|| format!("{name}: {why}"));
        // If it cannot be removed, it will be found damaged again.
        let _ = fs::remove_file(path);
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
    // On a full disk nobody learns who has it; it is locked all the same.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
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
    let used = metadata.modified().map_err(say)?;
    let header = read_header(&mut file).map_err(say)?;
    let (item, start) = decode_item(header).map_err(|error| error.to_string())?;
    if item.slot != slot {
        return Err(format!("it belongs to slot {}", item.slot));
    }
    let (expected, found) = (item.fingerprint.length, metadata.len().saturating_sub(start as u64));
    if found != expected {
        return Err(format!("it has {found} bytes of {expected}"));
    }
    Ok((used, item))
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// Writes a file whole or not at all. Its unfinished name is always the same, so that a process
/// that is killed, however often, leaves one behind.
fn write_whole(path: &Path, parts: [&[u8]; 2]) -> io::Result<()> {
    let unfinished = unfinished(path);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&unfinished).and_then(|mut file| {
        parts.iter().try_for_each(|part| file.write_all(part))?;
        fs::rename(&unfinished, path)
    });
    // Half a file helps nobody.
    written.inspect_err(|_| drop(fs::remove_file(&unfinished)))
}
