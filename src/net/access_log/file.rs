//! The file that lines are appended to, wherever rotation takes it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Who may read a log that is made here: its owner, and the group that reads logs. Clients are
/// named in it.
const MODE: u32 = 0o640;

/// A file that is appended to, and the path that it is to have.
pub(super) struct LogFile {
    path: PathBuf,
    /// None while there is no file to write to.
    open: Option<OpenFile>,
}

/// What became of lines.
#[derive(Debug)]
pub(super) struct Appended {
    /// How many of them are in the file.
    pub(super) lines: u64,
    /// What went wrong. All lines may be in the file all the same, if that is another file than the
    /// path names.
    pub(super) trouble: Option<io::Error>,
}

impl LogFile {
    /// Opens the file of a path, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let open = OpenFile::new(path)?;
        Ok(Self { path: path.to_owned(), open: Some(open) })
    }

    /// Where it is to be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that the open file is the one at the path, and opens or makes that otherwise.
    pub(super) fn follow(&mut self) -> io::Result<()> {
        let there = std::fs::metadata(&self.path).map(|metadata| identity(&metadata)).ok();
        if let Some(open) = &self.open
            && there == Some(open.identity)
        {
            return Ok(());
        }
        match OpenFile::new(&self.path) {
            Ok(open) => {
                self.open = Some(open);
                Ok(())
            }
            Err(error) => {
                // A file that was moved is still somebody's, and takes lines until there is another
                // one; one that was removed only takes space that nobody sees.
                self.open.take_if(|open| open.is_removed());
                Err(error)
            }
        }
    }

    /// Appends whole lines, each of which ends with the only newline in it, by one system call if
    /// the system takes them at once. What it takes of a line's beginning only is taken back.
    pub(super) fn append(&mut self, lines: &[u8]) -> Appended {
        let moved = self.follow().err();
        let Some(open) = &mut self.open else {
            return Appended { lines: 0, trouble: moved };
        };
        let (whole, failure) = open.append(lines);
        Appended { lines: count_lines(&lines[..whole]), trouble: failure.or(moved) }
    }
}

/// How many lines end in a text.
pub(super) fn count_lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

struct OpenFile {
    file: File,
    identity: Identity,
    /// It ends with the beginning of a line that could not be taken back.
    is_torn: bool,
}

/// Device and inode: the same for one file, whatever it is called.
type Identity = (u64, u64);

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

impl OpenFile {
    fn new(path: &Path) -> io::Result<Self> {
        // Appending, so that a file that was truncated to rotate it goes on at its start.
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
        let identity = identity(&file.metadata()?);
        Ok(Self { file, identity, is_torn: false })
    }

    /// Whether it has no name any more.
    fn is_removed(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Returns how many bytes of whole lines are in the file, and why it is not all of them.
    fn append(&mut self, lines: &[u8]) -> (usize, Option<io::Error>) {
        if self.is_torn {
            match self.file.write_all(b"\n") {
                Ok(()) => self.is_torn = false,
                Err(error) => return (0, Some(error)),
            }
        }
        let (written, failure) = write_all(&mut self.file, lines);
        let newline = lines[..written].iter().rposition(|byte| *byte == b'\n');
        let whole = newline.map_or(0, |newline| newline + 1);
        if whole < written {
            self.is_torn = self.take_back((written - whole) as u64).is_err();
        }
        (whole, failure)
    }

    /// Removes the last bytes of the file, unless somebody has truncated it since.
    fn take_back(&self, bytes: u64) -> io::Result<()> {
        match self.file.metadata()?.len().checked_sub(bytes) {
            Some(length) => self.file.set_len(length),
            None => Ok(()),
        }
    }
}

/// Writes as much as can be written; returns how much that was, and why it was not all.
fn write_all(file: &mut impl Write, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    fn append(file: &mut LogFile, lines: &str) {
        let Appended { lines: count, trouble } = file.append(lines.as_bytes());
        assert_eq!(
            (count, trouble.map(|error| error.to_string())),
            (count_lines(lines.as_bytes()), None)
        );
    }

    #[test]
    fn a_file_that_was_moved_or_removed_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("log"), directory.path().join("log.1"));
        let mut file = LogFile::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o027, 0o000, "private");
        append(&mut file, "a\nb\n");
        fs::rename(&path, &old).unwrap();
        append(&mut file, "c\n");
        assert_eq!((read(&old), read(&path)), ("a\nb\n".to_owned(), "c\n".to_owned()));
        fs::remove_file(&path).unwrap();
        file.follow().unwrap();
        assert_eq!(read(&path), "", "also while nothing is written");
        append(&mut file, "d\n");
        fs::rename(&path, &old).unwrap();
        fs::write(&path, "another\n").unwrap();
        append(&mut file, "e\n");
        assert_eq!((read(&old), read(&path)), ("d\n".to_owned(), "another\ne\n".to_owned()));
    }

    #[test]
    fn a_file_that_was_truncated_goes_on_at_its_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut file = LogFile::open(&path).unwrap();
        append(&mut file, "a\nb\n");
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        append(&mut file, "c\n");
        assert_eq!(read(&path), "c\n");
    }

    #[test]
    fn a_directory_may_vanish_and_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let (logs, moved) = (directory.path().join("logs"), directory.path().join("moved"));
        let path = logs.join("log");
        fs::create_dir(&logs).unwrap();
        let mut file = LogFile::open(&path).unwrap();
        fs::rename(&logs, &moved).unwrap();
        let Appended { lines, trouble } = file.append(b"a\n");
        assert_eq!((lines, trouble.unwrap().kind()), (1, io::ErrorKind::NotFound));
        assert_eq!(read(&moved.join("log")), "a\n", "nothing is lost while it is somewhere");
        fs::remove_dir_all(&moved).unwrap();
        let Appended { lines, trouble } = file.append(b"b\n");
        assert_eq!((lines, trouble.unwrap().kind()), (0, io::ErrorKind::NotFound));
        fs::create_dir(&logs).unwrap();
        append(&mut file, "c\n");
        assert_eq!(read(&path), "c\n");
        assert!(LogFile::open(&logs).is_err(), "a directory is no file");
    }

    #[test]
    fn the_beginning_of_a_line_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut open = OpenFile::new(&path).unwrap();
        assert!(open.append(b"a\nbcd").1.is_none());
        assert_eq!((read(&path), open.is_torn), ("a\n".to_owned(), false));
        open.file.set_len(0).unwrap();
        open.take_back(3).unwrap();
        assert_eq!(read(&path), "");
        open.file.write_all(b"torn").unwrap();
        open.is_torn = true;
        assert_eq!(open.append(b"e\n").0, 2);
        assert_eq!(read(&path), "torn\ne\n", "if it cannot be, the next line is one of its own");
    }

    /// A disk with room for a few bytes, which takes two at a time.
    struct Full(Vec<u8>, usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.1 - self.0.len();
            match bytes.len().min(room).min(2) {
                0 => Err(io::ErrorKind::StorageFull.into()),
                count => {
                    self.0.extend_from_slice(&bytes[..count]);
                    Ok(count)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn as_much_is_written_as_there_is_room_for() {
        let mut disk = Full(Vec::new(), 5);
        let (written, failure) = write_all(&mut disk, b"a\nb\ncd\n");
        assert_eq!((written, failure.unwrap().kind()), (5, io::ErrorKind::StorageFull));
        assert_eq!(disk.0, b"a\nb\nc");
        let (written, failure) = write_all(&mut Full(Vec::new(), 7), b"a\nb\ncd\n");
        assert!(written == 7 && failure.is_none());
    }
}
