//! A watched directory whose files are changed through a shared mapping, which no event tells of.
#![cfg(all(target_os = "linux", feature = "server"))]
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use understudy::config::Freshness;
use understudy::source::{Answer, Directory, DirectoryOptions, Retrieved, Source};

const PATIENCE: Duration = Duration::from_secs(60);
const SIZE: usize = 4096;

/// The first page of a file, shared with all who read it. The file is closed: the mapping alone
/// keeps it.
struct Mapping {
    at: *mut libc::c_void,
}

impl Mapping {
    fn new(path: &Path) -> Self {
        let file: File = OpenOptions::new().read(true).write(true).open(path).unwrap();
        assert!(file.metadata().unwrap().len() >= SIZE as u64);
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: the kernel chooses a place that nothing else has, and the file has a whole page.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), SIZE, access, kind, file.as_raw_fd(), 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Self { at }
    }

    fn fill(&mut self, byte: u8) {
        // SAFETY: the page is mapped for writing as long as this lives, and no reference leads there.
        unsafe { std::ptr::write_bytes(self.at.cast::<u8>(), byte, SIZE) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and nobody uses it any longer.
        assert_eq!(unsafe { libc::munmap(self.at, SIZE) }, 0);
    }
}

/// A file of one page, and a source that hears of changes and reads a file whenever it looks.
fn watched(verify: Duration) -> (TempDir, Directory) {
    let home = TempDir::new().unwrap();
    std::fs::write(home.path().join("page"), [b'a'; SIZE]).unwrap();
    let options = DirectoryOptions {
        freshness: Freshness::Watch { verify },
        trust_after: Duration::from_secs(3600),
        ..DirectoryOptions::default()
    };
    let directory = Directory::open(home.path(), options).unwrap();
    (home, directory)
}

async fn ask(directory: &Directory) -> (Answer, u8) {
    let answer = directory.retrieve(&"/page".parse().unwrap(), None).await.unwrap();
    let Retrieved::Version(version) = &answer.retrieved else { panic!("it is there") };
    let first = version.body()[0];
    assert!(version.body().iter().all(|byte| *byte == first), "a mixture of two states");
    (answer, first)
}

#[tokio::test]
async fn stores_through_a_mapping_are_told_when_it_ends() {
    let (home, directory) = watched(Duration::from_secs(3600));
    let mut mapping = Mapping::new(&home.path().join("page"));
    let (answer, first) = ask(&directory).await;
    assert!(first == b'a' && answer.freshness.lease().is_some());
    mapping.fill(b'b');
    drop(mapping);
    let began = Instant::now();
    while answer.freshness.holds() {
        assert!(began.elapsed() < PATIENCE, "the end of the mapping was not told");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(ask(&directory).await.1, b'b');
}

#[tokio::test]
async fn stores_through_a_mapping_that_stays_are_found_by_verification() {
    let verify = Duration::from_millis(20);
    let (home, directory) = watched(verify);
    let mut mapping = Mapping::new(&home.path().join("page"));
    for byte in b'b'..b'g' {
        let (answer, _) = ask(&directory).await;
        assert_eq!(answer.freshness.lasts(), verify);
        assert!(answer.freshness.lease().is_some());
        mapping.fill(byte);
        // What a server does when the time is over, whether or not it was told of anything.
        tokio::time::sleep(answer.freshness.lasts()).await;
        assert_eq!(ask(&directory).await.1, byte);
    }
}
