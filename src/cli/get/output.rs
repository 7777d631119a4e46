//! Where bytes go.

use crate::cli::report::Failure;
use crate::wire::Key;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What a key that ends with `/` is called in a directory, as other programs do.
const INDEX: &str = "index.html";

/// Where bytes should go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SinkConfig {
    Stdout,
    File(PathBuf),
    Directory(PathBuf),
    Nowhere,
}

/// Where bytes go.
pub(super) enum Sink {
    Stdout,
    File(PathBuf),
    /// Nothing is written outside it, whatever links lie in it.
    Directory(PathBuf, Dir),
    Nowhere,
}

impl SinkConfig {
    pub(super) fn open(self) -> Result<Sink, Failure> {
        Ok(match self {
            Self::Stdout => Sink::Stdout,
            Self::File(path) => Sink::File(path),
            Self::Directory(path) => {
                let made = std::fs::create_dir_all(&path);
                let opened = made.and_then(|()| Dir::open_ambient_dir(&path, ambient_authority()));
                let directory = opened.map_err(|why| {
                    Failure::Failed(format!("--output-dir {}: {why}", path.display()))
                })?;
                Sink::Directory(path, directory)
            }
            Self::Nowhere => Sink::Nowhere,
        })
    }
}

impl Sink {
    /// Writes an item's bytes. The inner error is that of standard output.
    pub(super) fn write(
        &self,
        key: &Key,
        bytes: &[u8],
        stdout: &mut impl Write,
    ) -> Result<io::Result<()>, String> {
        let failed = |path: &Path, why: io::Error| Err(format!("{}: {why}", path.display()));
        match self {
            Self::Nowhere => {}
            Self::Stdout => return Ok(stdout.write_all(bytes)),
            // Written in place, and not renamed into it: it may be a device or a pipe.
            Self::File(path) => {
                if let Err(why) = std::fs::write(path, bytes) {
                    return failed(path, why);
                }
            }
            Self::Directory(root, directory) => {
                let path = file_name(key);
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let made = parent.map_or(Ok(()), |parent| directory.create_dir_all(parent));
                if let Err(why) = made.and_then(|()| directory.write(&path, bytes)) {
                    return failed(&root.join(path), why);
                }
            }
        }
        Ok(Ok(()))
    }
}

/// The file that a key names below a directory.
fn file_name(key: &Key) -> PathBuf {
    let (path, query) = match key.as_str().split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (key.as_str(), None),
    };
    let mut name = path.strip_prefix('/').expect("a key starts with '/'").to_owned();
    if name.is_empty() || name.ends_with('/') {
        name.push_str(INDEX);
    }
    if let Some(query) = query {
        // A query is not a path, whatever is in it.
        name.push('?');
        name.push_str(&query.replace('/', "%2F"));
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_files() {
        for (key, file) in [
            ("/", "index.html"),
            ("/a", "a"),
            ("/a/b.txt", "a/b.txt"),
            ("/a/", "a/index.html"),
            ("/a?x=../../b", "a?x=..%2F..%2Fb"),
            ("/?q", "index.html?q"),
        ] {
            assert_eq!(file_name(&key.parse().unwrap()), Path::new(file), "{key}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_outside_the_directory() {
        let place = tempfile::tempdir().unwrap();
        let (inside, outside) = (place.path().join("inside"), place.path().join("outside"));
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.join("file"), inside.join("file")).unwrap();
        let sink = SinkConfig::Directory(inside.clone()).open().unwrap();
        for key in ["/link/file", "/file", "/link/a/b"] {
            let key = key.parse().unwrap();
            assert!(sink.write(&key, b"x", &mut Vec::new()).is_err(), "{key}");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        sink.write(&"/a/b".parse().unwrap(), b"x", &mut Vec::new()).unwrap().unwrap();
        assert_eq!(std::fs::read(inside.join("a/b")).unwrap(), b"x");
    }
}
