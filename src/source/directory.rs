//! A directory of files as a source.

mod body;
mod hold;
mod path;
mod state;
#[cfg(test)]
mod tests;
mod watch;

use super::{Answer, Known, Retrieved, Source, SourceError, Unmirrored, Version};
use crate::config::Freshness as Mode;
use crate::wire::types::Fingerprinter;
use crate::wire::{Fingerprint, HeaderBlock, HeaderName, Key};
use body::FileBody;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use hold::Hold;
use rustix::fs::OFlags;
use rustix::io::Errno;
use state::FileState;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;

/// How often a file that changes under the reader is read again before the source gives up.
const MAX_ATTEMPTS: usize = 8;
/// How many files one [`Directory`] reads at a time. Bounds threads, and memory to so many items.
const MAX_CONCURRENT_READS: usize = 32;
/// How much is read by one system call: small enough to be hashed while it is still in the cache.
const READ_SIZE: usize = 64 * 1024;
/// How much goes to one hash before the other: stays in the first-level cache between the two.
const HASH_SIZE: usize = 16 * 1024;

/// The files beneath one directory, the *root*, served as they are at the moment of each request.
///
/// **Keys.** A key's path, percent-decoded, is the path of a file beneath the root; its query is
/// ignored. A key that ends in `/` names the `index.html` of that folder.
///
/// **What is never read.** These keys are refused whatever lies there: those with a `.` or `..`
/// segment, an escaped `/` or NUL, a broken escape, one that is not UTF-8, or a segment that starts
/// with `.` (hidden files), in any encoding. What is refused by what lies there: folders, pipes,
/// sockets and devices (never opened, so they cannot block), files without permission, and symbolic
/// links that are absolute or lead out of the root, with one text for the last two, so that an
/// answer never tells what exists outside. The kernel itself refuses to leave the root (`openat2`
/// on Linux; elsewhere step by step), so no race between check and use opens a way out. Relative
/// links inside the root are followed, also to hidden files: whoever may place links may publish.
///
/// **Freshness `always`.** Each retrieval looks at the file's state: device, inode, size, time of
/// modification and time of change. No program can set the last one, so equal states mean equal
/// bytes, except within one tick of the file system's clock. Therefore a version gets a stamp only
/// if its time of change was [`DirectoryOptions::trust_after`] old when reading began; a file that
/// changed more recently is read at every request. What this cannot see: stores through a shared
/// memory mapping into a page that is already dirty, and what a network file system's own cache
/// hides. The root is opened once: if its path later leads elsewhere, that is not followed; a link
/// that is switched from release to release belongs inside the root.
///
/// **Freshness `watch`.** An answer comes with a [`Lease`](super::Lease), which is revoked when the
/// file system tells of a change to the file or to a folder on the way to it. It lasts for a time
/// at the most, after which the file is looked at again, because not everything is told: stores
/// through a shared mapping that goes on, writes through a second name made outside after the look,
/// other machines' changes to a network file system, and a file system mounted over a folder, which
/// is noticed after twice that time. What a symbolic link leads to, a file with a second name, and
/// one whose folder cannot be watched get no lease. Only on Linux.
///
/// **Freshness `ttl`.** An answer holds for a fixed time.
///
/// **Headers.** A content type guessed from the name and nothing else, so that the digest of a file
/// that was touched stays the same.
///
/// Needs a tokio runtime with its clock. Only on Unix.
#[derive(Debug)]
pub struct Directory {
    root: Arc<Dir>,
    options: DirectoryOptions,
    hold: Hold,
    reads: Arc<Semaphore>,
}

/// How a [`Directory`] serves.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// The size in bytes above which a file is passed on piece by piece and not mirrored.
    pub max_item: u64,
    /// How old a file's time of change must be to be trusted. It must exceed the tick of the file
    /// system's clock: 10 ms on today's Unix file systems, 1 s on some old ones, 2 s on FAT.
    pub trust_after: Duration,
    /// For how long what was read is taken for what is there.
    pub freshness: Mode,
}

impl Default for DirectoryOptions {
    /// 64 MiB, and 2.5 s: the coarsest tick there is, and a little for the clock that drives it.
    /// Asked every time.
    fn default() -> Self {
        Self {
            max_item: 64 * 1024 * 1024,
            trust_after: Duration::from_millis(2_500),
            freshness: Mode::Always,
        }
    }
}

/// Why a directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is nothing at this path.
    #[error("the directory {} does not exist: create it, or name another", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// What lies at this path is something else.
    #[error("{} is not a directory: name the one whose files are to be served", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be opened or searched.
    #[error("the directory {} cannot be opened: {error}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

impl Directory {
    /// Opens the directory at `root`, which may be a symbolic link to one.
    ///
    /// If it is to be watched and cannot be, a warning is logged that says why, and it is served
    /// all the same: asked every time.
    ///
    /// # Errors
    /// There is none, it is not a directory, or this process may not search it.
    pub fn open(root: &Path, options: DirectoryOptions) -> Result<Self, OpenError> {
        let path = || root.to_owned();
        let opened = Dir::open_ambient_dir(root, ambient_authority())
            // Opening does not ask whether the directory may be searched; looking up a name does.
            .and_then(|dir| dir.metadata(".").map(|_| dir));
        match opened {
            Ok(dir) => {
                let reads = Arc::new(Semaphore::new(MAX_CONCURRENT_READS));
                let dir = Arc::new(dir);
                let hold = Hold::new(&dir, root, options.freshness);
                Ok(Self { root: dir, options, hold, reads })
            }
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound => OpenError::Missing { path: path() },
                io::ErrorKind::NotADirectory => OpenError::NotADirectory { path: path() },
                _ => OpenError::Unreadable { path: path(), error },
            }),
        }
    }
}

impl Source for Directory {
    async fn retrieve(&self, key: &Key, known: Option<&Known>) -> Result<Answer, SourceError> {
        let path = path::path_of(key.as_str())?;
        // Before the file is looked at: a change that comes from now on takes it back.
        let freshness = self.hold.freshness(&self.root, &path);
        // Not sent to another thread: on a local file system it takes a few microseconds, a tenth
        // of what handing it over and back takes.
        let Some(state) = look(&self.root, &path)? else {
            return Ok(Retrieved::NotFound.into());
        };
        if known.and_then(Known::stamp).is_some_and(|stamp| *stamp == state.stamp()) {
            return Ok(Retrieved::Unchanged.lasting(freshness));
        }
        let permit = Arc::clone(&self.reads).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let headers = headers_of(&path);
        let (root, options) = (Arc::clone(&self.root), self.options.clone());
        let known = known.map(|version| *version.fingerprint());
        blocking(move || {
            // Held by the reading thread, which goes on when the request is given up.
            let _permit = permit;
            read(&root, &path, headers, &options, known)
        })
        .await
        .map(|retrieved| retrieved.lasting(freshness))
    }
}

/// The one header of a file with this name.
fn headers_of(path: &str) -> HeaderBlock {
    let guess = mime_guess::from_path(path).first_raw().unwrap_or("application/octet-stream");
    let value = match guess.starts_with("text/") {
        true => format!("{guess}; charset=utf-8"),
        false => guess.to_owned(),
    };
    HeaderBlock::new([(HeaderName::ContentType, value.as_str())])
        .expect("content types are short and plain")
}

/// The state of the file at `path`, without opening it for reading; `None` if there is none.
fn look(root: &Dir, path: &str) -> Result<Option<FileState>, SourceError> {
    match root.metadata(path) {
        Ok(metadata) => FileState::new(&metadata).map(Some),
        Err(error) => absent(error).map(|()| None),
    }
}

/// Opens the file at `path`; `None` if there is none.
fn open(root: &Dir, path: &str) -> Result<Option<File>, SourceError> {
    let mut options = OpenOptions::new();
    // What was a file a moment ago may be a pipe by now: opening it must not wait for a writer.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    options.read(true).custom_flags(flags.bits().cast_signed());
    match root.open_with(path, &options) {
        Ok(file) => Ok(Some(file)),
        Err(error) => absent(error).map(|()| None),
    }
}

/// Whether an error on the way to a file only means that there is none.
fn absent(error: io::Error) -> Result<(), SourceError> {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound, PermissionDenied};
    let refused = |why: &str| Err(SourceError::Refused(why.into()));
    match (error.kind(), Errno::from_io_error(&error)) {
        (NotFound | NotADirectory | InvalidFilename, _) => Ok(()),
        (PermissionDenied, _) => refused(
            "it may not be read: the server lacks permission, or a symbolic link leads out of the \
             served directory",
        ),
        (_, Some(Errno::LOOP)) => refused("its symbolic links lead in a circle"),
        (_, Some(Errno::NXIO)) => refused("it is not a regular file"),
        _ => Err(failed(error)),
    }
}

/// Reads the file at `path`, again if it changes meanwhile.
///
/// If its time of change is too recent to show a further change, what was read counts only when
/// reading it all a second time gives the same: at the moment between the two, these were its
/// bytes.
fn read(
    root: &Dir,
    path: &str,
    headers: HeaderBlock,
    options: &DirectoryOptions,
    known: Option<Fingerprint>,
) -> Result<Retrieved, SourceError> {
    let mut last = None;
    for _ in 0..MAX_ATTEMPTS {
        let began = SystemTime::now();
        let Some(file) = open(root, path)? else {
            return Ok(Retrieved::NotFound);
        };
        let state = FileState::of(&file)?;
        let unsettled = state.unsettled(began, options.trust_after);
        if state.size() > options.max_item {
            let (length, body) = (state.size(), Box::new(FileBody::new(file, state, unsettled)));
            return Ok(Retrieved::Unmirrored(Unmirrored { headers, length, body }));
        }
        let Some((body, fingerprint)) = read_whole(&file, &state, &headers)? else {
            last = None;
            continue;
        };
        if unsettled.is_some() {
            if last.replace(fingerprint) != Some(fingerprint) {
                continue;
            }
            if known == Some(fingerprint) {
                return Ok(Retrieved::Unchanged);
            }
        }
        let version = Version::with_fingerprint(headers, body, fingerprint);
        return Ok(Retrieved::Version(match unsettled {
            Some(_) => version,
            None => version.with_stamp(state.stamp()),
        }));
    }
    let why = "the file kept changing while it was read: ask again, or replace files by renaming";
    Err(SourceError::Failed(why.into()))
}

/// Reads an open file from its start and fingerprints it on the way; `None` unless it is in `state`
/// when that is done.
fn read_whole(
    mut file: &File,
    state: &FileState,
    headers: &HeaderBlock,
) -> Result<Option<(Bytes, Fingerprint)>, SourceError> {
    let size = usize::try_from(state.size()).map_err(io::Error::other).map_err(failed)?;
    let mut bytes = vec![0; size];
    let mut pass = Fingerprinter::new(headers.as_bytes());
    for piece in bytes.chunks_mut(READ_SIZE) {
        match file.read_exact(piece) {
            Ok(()) => piece.chunks(HASH_SIZE).for_each(|part| pass.update(part)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
    }
    // Some file systems understate a size: what has more bytes than that is not read whole.
    let more = file.take(1).read_to_end(&mut Vec::new()).map_err(failed)?;
    let whole = more == 0 && FileState::of(file)? == *state;
    Ok(whole.then(|| (Bytes::from(bytes), pass.finish())))
}

/// Runs what may wait for a disk on a thread that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => Err(SourceError::Failed(format!("reading was broken off: {error}"))),
    }
}

/// An error that is the file system's.
fn failed(error: io::Error) -> SourceError {
    SourceError::Failed(format!("the file cannot be read: {error}"))
}
