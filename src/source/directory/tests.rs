use super::*;
use crate::source::BodyReader;
use crate::wire::types::fingerprint;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

mod freshness;

/// What lies beside the root and must never be seen.
const SECRET: &str = "outside the root";
/// How the content of every file beneath the root begins.
const INSIDE: &str = "inside";

/// A temporary directory with `secret.txt` in it, and the root beside that.
struct Tree {
    home: TempDir,
}

impl Tree {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        fs::create_dir_all(home.path().join("root/folder/deep")).unwrap();
        fs::write(home.path().join("secret.txt"), SECRET).unwrap();
        let tree = Self { home };
        tree.write("index.html", "inside: the first page");
        tree.write("a.txt", "inside: a");
        tree.write("folder/index.html", "inside: a folder's page");
        tree.write("folder/b.txt", "inside: b");
        tree.write(".hidden", "inside: hidden");
        tree
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("root")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::write(self.at(path), content).unwrap();
    }

    /// Makes a link at `path` that leads to `target`, in place of what is there.
    fn link(&self, target: &str, path: &str) {
        let _ = fs::remove_file(self.at(path));
        symlink(target, self.at(path)).unwrap();
    }

    fn open(&self, options: DirectoryOptions) -> Directory {
        Directory::open(&self.root(), options).unwrap()
    }

    fn careful(&self) -> Directory {
        self.open(DirectoryOptions::default())
    }

    /// Trusts every state at once. For tests that make sure of a new time of change themselves.
    fn trusting(&self) -> Directory {
        self.open(DirectoryOptions { trust_after: Duration::ZERO, ..DirectoryOptions::default() })
    }

    fn changed(&self, path: &str) -> (i64, i64) {
        let metadata = fs::metadata(self.at(path)).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    }

    /// Writes over `path` in place and puts its time of modification back, until the file system
    /// gives it another time of change: on some this takes a tick.
    fn swap(&self, path: &str, content: &str) {
        let before = fs::metadata(self.at(path)).unwrap();
        while self.changed(path) == (before.ctime(), before.ctime_nsec()) {
            self.swap_at_once(path, content);
        }
        let after = fs::metadata(self.at(path)).unwrap();
        assert_eq!(after.modified().unwrap(), before.modified().unwrap());
        assert_eq!((after.len(), after.ino()), (before.len(), before.ino()));
    }

    fn swap_at_once(&self, path: &str, content: &str) {
        let modified = fs::metadata(self.at(path)).unwrap().modified().unwrap();
        self.write(path, content);
        let file = fs::OpenOptions::new().write(true).open(self.at(path)).unwrap();
        file.set_times(fs::FileTimes::new().set_modified(modified)).unwrap();
    }
}

async fn ask(directory: &Directory, key: &str, known: Option<&Version>) -> Retrieved {
    let known = known.map(|version| version.known().as_ref());
    directory.retrieve(&key.parse().unwrap(), known).await.unwrap().retrieved
}

async fn version(directory: &Directory, key: &str, known: Option<&Version>) -> Version {
    match ask(directory, key, known).await {
        Retrieved::Version(version) => version,
        Retrieved::Unchanged => panic!("{key} is said to be unchanged"),
        Retrieved::NotFound => panic!("{key} was not found"),
        Retrieved::Unmirrored(_) => panic!("{key} is said to be too large"),
    }
}

async fn refusal(directory: &Directory, key: &str) -> String {
    match directory.retrieve(&key.parse().unwrap(), None).await {
        Err(SourceError::Refused(why)) => why,
        Err(error) => panic!("{key}: {error}"),
        Ok(_) => panic!("{key} was not refused"),
    }
}

async fn is_absent(directory: &Directory, key: &str) -> bool {
    matches!(ask(directory, key, None).await, Retrieved::NotFound)
}

fn text(version: &Version) -> &str {
    std::str::from_utf8(version.body()).unwrap()
}

#[test]
fn a_directory_that_cannot_be_served_is_refused_at_once() {
    let tree = Tree::new();
    let open = |path: &str| {
        Directory::open(&tree.at(path), DirectoryOptions::default()).map_err(|e| e.to_string())
    };
    let missing = open("nothing").unwrap_err();
    assert!(missing.contains("root/nothing does not exist"), "{missing}");
    let file = open("a.txt").unwrap_err();
    assert!(file.contains("root/a.txt is not a directory"), "{file}");
    tree.link("nothing", "broken");
    assert!(open("broken").unwrap_err().contains("does not exist"));
    tree.link("folder", "other");
    assert!(open("other").is_ok(), "the root itself may be a link");
}

#[tokio::test]
async fn files_are_served_with_their_type_and_fingerprint() {
    let tree = Tree::new();
    let directory = tree.careful();
    tree.write("folder/deep/ä b.bin", [0, 1, 2]);
    tree.write("empty", "");
    for (key, content, content_type) in [
        ("/", "inside: the first page", "text/html; charset=utf-8"),
        ("/?query=/../x", "inside: the first page", "text/html; charset=utf-8"),
        ("/a.txt", "inside: a", "text/plain; charset=utf-8"),
        ("/%61.txt?x", "inside: a", "text/plain; charset=utf-8"),
        ("/folder/", "inside: a folder's page", "text/html; charset=utf-8"),
        ("/folder/deep/%C3%A4%20b.bin", "\0\u{1}\u{2}", "application/octet-stream"),
        ("/folder/deep/ä b.bin", "\0\u{1}\u{2}", "application/octet-stream"),
        ("/empty", "", "application/octet-stream"),
    ] {
        let found = version(&directory, key, None).await;
        assert_eq!(text(&found), content, "{key}");
        let headers: Vec<_> = found.headers().iter().collect();
        assert_eq!(headers, [(HeaderName::ContentType, content_type)], "{key}");
        let expected = fingerprint(found.headers().as_bytes(), content.as_bytes());
        assert_eq!(*found.fingerprint(), expected, "{key}");
        assert!(found.is_shareable());
    }
}

#[tokio::test]
async fn the_one_pass_fingerprint_is_that_of_all_bytes() {
    let tree = Tree::new();
    for size in [READ_SIZE - 1, READ_SIZE, READ_SIZE + 1, 3 * READ_SIZE + HASH_SIZE + 7] {
        let content: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
        tree.write("large.png", &content);
        let found = version(&tree.careful(), "/large.png", None).await;
        assert_eq!(found.body(), &content, "{size}");
        assert_eq!(*found.fingerprint(), fingerprint(found.headers().as_bytes(), &content));
        assert_eq!(found.headers().value(HeaderName::ContentType), Some("image/png"));
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let tree = Tree::new();
    let directory = tree.careful();
    let too_long = format!("/{}", "n".repeat(300));
    for key in ["/nothing", "/folder/deep/", "/a.txt/", "/a.txt/b", "/nothing/x", &too_long] {
        assert!(is_absent(&directory, key).await, "{key}");
    }
}

#[tokio::test]
async fn hidden_files_and_folders_are_refused() {
    let tree = Tree::new();
    let directory = tree.careful();
    assert!(refusal(&directory, "/.hidden").await.contains("hidden"));
    assert!(refusal(&directory, "/%2ehidden").await.contains("hidden"));
    assert!(refusal(&directory, "/.not-even-there/x").await.contains("hidden"));
    let folder = refusal(&directory, "/folder").await;
    assert!(folder.contains("end the key in '/'"), "{folder}");
}

#[tokio::test]
async fn links_inside_the_root_are_followed() {
    let tree = Tree::new();
    let directory = tree.careful();
    tree.link("../a.txt", "folder/up.txt");
    tree.link("folder", "other");
    tree.link("folder/nothing", "broken");
    tree.link("round", "round");
    assert_eq!(text(&version(&directory, "/folder/up.txt", None).await), "inside: a");
    assert_eq!(text(&version(&directory, "/other/b.txt", None).await), "inside: b");
    assert!(is_absent(&directory, "/broken").await);
    assert!(refusal(&directory, "/round").await.contains("circle"));
}

#[tokio::test]
async fn links_out_of_the_root_are_refused_and_tell_nothing() {
    let tree = Tree::new();
    let directory = tree.careful();
    let home = tree.home.path().to_str().unwrap();
    tree.link("../secret.txt", "there");
    tree.link("../no-secret.txt", "not-there");
    tree.link(&format!("{home}/secret.txt"), "absolute");
    tree.link(&format!("{home}/no-secret.txt"), "absolute-not-there");
    tree.link(&format!("{home}/root/a.txt"), "absolute-inside");
    tree.link("..", "up");
    tree.link("/proc/self/root", "magic");
    tree.link("there", "folder-of-links");
    let expected = refusal(&directory, "/there").await;
    assert!(expected.contains("leads out of the served directory"), "{expected}");
    for key in [
        "/not-there",
        "/absolute",
        "/absolute-not-there",
        "/absolute-inside",
        "/folder-of-links",
        "/up/secret.txt",
        "/up/no-secret.txt",
        "/up/root/a.txt",
        "/magic/etc/passwd",
    ] {
        assert_eq!(refusal(&directory, key).await, expected, "{key}");
    }
    // The guard behind the guard: the same for a file that became such a link after the look.
    for path in ["there", "absolute", "up/secret.txt", "../secret.txt", "folder/../../secret.txt"] {
        assert!(matches!(open(&directory.root, path), Err(SourceError::Refused(_))), "{path}");
    }
}

#[tokio::test]
async fn special_files_are_refused_without_waiting() {
    let tree = Tree::new();
    let directory = tree.careful();
    let made = std::process::Command::new("mkfifo").arg(tree.at("pipe")).status().unwrap();
    assert!(made.success());
    let _listener = UnixListener::bind(tree.at("socket")).unwrap();
    for path in ["pipe", "socket"] {
        assert_eq!(refusal(&directory, &format!("/{path}")).await, "it is not a regular file");
        // A file when it was looked at, and a special one when it is opened.
        let headers = HeaderBlock::default();
        let found = read(&directory.root, path, headers, &directory.options, None);
        assert_eq!(found.err(), Some(SourceError::Refused("it is not a regular file".into())));
    }
}

#[tokio::test]
async fn an_unchanged_file_is_known_by_its_stamp() {
    let tree = Tree::new();
    let directory = tree.trusting();
    let first = version(&directory, "/a.txt", None).await;
    assert!(first.stamp().is_some());
    assert!(matches!(ask(&directory, "/a.txt", Some(&first)).await, Retrieved::Unchanged));
    let other = version(&directory, "/folder/b.txt", Some(&first)).await;
    assert_eq!(text(&other), "inside: b", "the stamp is of another file");
}

#[tokio::test]
async fn a_recent_change_gives_no_stamp() {
    let tree = Tree::new();
    let hour = Duration::from_secs(3600);
    let directory = tree.open(DirectoryOptions { trust_after: hour, ..Default::default() });
    let first = version(&directory, "/a.txt", None).await;
    assert!(first.stamp().is_none());
    // It was read again, and is the same.
    assert!(matches!(ask(&directory, "/a.txt", Some(&first)).await, Retrieved::Unchanged));
    // Once it is old enough it gets one.
    let later = version(&tree.trusting(), "/a.txt", Some(&first)).await;
    assert_eq!(later.fingerprint(), first.fingerprint());
    assert!(later.stamp().is_some());
}

#[tokio::test]
async fn every_kind_of_change_shows_in_the_stamp() {
    let tree = Tree::new();
    let directory = tree.trusting();
    tree.write("new", "inside: n");
    tree.link("a.txt", "link");
    let first = version(&directory, "/link", None).await;
    assert_eq!(text(&first), "inside: a");

    // Same size, same time of modification, same inode.
    tree.swap("a.txt", "inside: A");
    let second = version(&directory, "/link", Some(&first)).await;
    assert_eq!(text(&second), "inside: A");

    fs::rename(tree.at("new"), tree.at("a.txt")).unwrap();
    let third = version(&directory, "/link", Some(&second)).await;
    assert_eq!(text(&third), "inside: n");

    tree.link("folder/b.txt", "link");
    let fourth = version(&directory, "/link", Some(&third)).await;
    assert_eq!(text(&fourth), "inside: b");

    fs::remove_file(tree.at("folder/b.txt")).unwrap();
    assert!(matches!(ask(&directory, "/link", Some(&fourth)).await, Retrieved::NotFound));
}

#[tokio::test]
async fn touching_a_file_leaves_its_digest() {
    let tree = Tree::new();
    let directory = tree.trusting();
    let first = version(&directory, "/a.txt", None).await;
    let file = fs::OpenOptions::new().write(true).open(tree.at("a.txt")).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(1000)).unwrap();
    let second = version(&directory, "/a.txt", Some(&first)).await;
    assert_ne!(first.stamp(), second.stamp());
    assert_eq!(first.fingerprint(), second.fingerprint());
}

/// With the real margin and no waiting: changes within one tick of the file system's clock, which
/// leave the same size and times, are all seen.
#[tokio::test]
async fn a_change_is_always_seen_by_the_next_request() {
    let tree = Tree::new();
    let directory = tree.careful();
    tree.write("one", "inside: 1000");
    tree.write("two", "inside: 1000");
    let mut known = version(&directory, "/a.txt", None).await;
    for round in 0..300 {
        let content = format!("inside: {}", 1000 + round);
        match round % 4 {
            0 => tree.swap_at_once("a.txt", &content),
            1 => tree.write("a.txt", &content),
            2 => {
                tree.write("next", &content);
                fs::rename(tree.at("next"), tree.at("a.txt")).unwrap();
            }
            _ => {
                let target = if round % 8 < 4 { "one" } else { "two" };
                tree.write(target, &content);
                tree.link(target, "a.txt");
            }
        }
        known = version(&directory, "/a.txt", Some(&known)).await;
        assert_eq!(text(&known), content, "round {round}");
    }
}

#[test]
fn a_file_that_changed_while_it_was_read_does_not_count() {
    let tree = Tree::new();
    let directory = tree.careful();
    let opened = || {
        let file = open(&directory.root, "a.txt").unwrap().unwrap();
        let state = FileState::of(&file).unwrap();
        (file, state)
    };
    let whole = |(file, state): (File, FileState)| {
        read_whole(&file, &state, &HeaderBlock::default()).unwrap().map(|(bytes, _)| bytes)
    };
    assert_eq!(whole(opened()).as_deref(), Some(b"inside: a".as_slice()));
    let before = opened();
    tree.swap("a.txt", "inside: A");
    assert_eq!(whole(before), None, "swapped");
    for changed in ["inside", "inside: a, and more"] {
        let before = opened();
        tree.write("a.txt", changed);
        assert_eq!(whole(before), None, "{changed}");
    }
}

/// A writer that counts at the end of a file and then at its start. A reader that goes from start
/// to end without care finds an end that is far ahead.
#[test]
fn what_is_read_under_a_writer_is_one_state() {
    let tree = Tree::new();
    let directory = tree.careful();
    tree.write("busy", vec![0; READ_SIZE + 1]);
    let read = || {
        let headers = HeaderBlock::default();
        match read(&directory.root, "busy", headers, &directory.options, None)? {
            Retrieved::Version(version) => Ok((version.body()[0], version.body()[READ_SIZE])),
            _ => Err(SourceError::Refused("it is there, and small".into())),
        }
    };
    let done = AtomicBool::new(false);
    let found: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::OpenOptions::new().write(true).open(tree.at("busy")).unwrap();
            let mut count: u8 = 0;
            while !done.load(Ordering::Relaxed) {
                count = count.wrapping_add(1);
                file.write_all_at(&[count], READ_SIZE as u64).unwrap();
                file.write_all_at(&[count], 0).unwrap();
                // Breathes now and then, so that some reads succeed.
                if count.is_multiple_of(64) {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        let found = (0..500).map(|_| read()).collect();
        done.store(true, Ordering::Relaxed);
        found
    });
    for found in found {
        match found {
            Ok((start, end)) => assert!(end.wrapping_sub(start) <= 1, "{start} and then {end}"),
            Err(SourceError::Failed(why)) => assert!(why.contains("kept changing"), "{why}"),
            Err(error) => panic!("{error}"),
        }
    }
    let (start, end) = read().expect("the writer has stopped");
    assert_eq!(start, end);
}

async fn unmirrored(directory: &Directory, key: &str) -> Unmirrored {
    match ask(directory, key, None).await {
        Retrieved::Unmirrored(unmirrored) => unmirrored,
        _ => panic!("{key} is above the limit"),
    }
}

#[tokio::test]
async fn a_file_above_the_limit_is_passed_on_in_pieces() {
    let tree = Tree::new();
    let options =
        DirectoryOptions { max_item: 1000, trust_after: Duration::ZERO, ..Default::default() };
    let directory = tree.open(options);
    tree.write("limit.txt", vec![b'x'; 1000]);
    assert_eq!(version(&directory, "/limit.txt", None).await.body().len(), 1000);
    for size in [1001, 256 * 1024, 256 * 1024 + 1, 3_000_000] {
        let content: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
        tree.write("large.txt", &content);
        let Unmirrored { headers, length, mut body } = unmirrored(&directory, "/large.txt").await;
        assert_eq!(length, size as u64);
        let content_type = headers.value(HeaderName::ContentType);
        assert_eq!(content_type, Some("text/plain; charset=utf-8"));
        let mut found = Vec::new();
        loop {
            let piece = body.next().await.unwrap();
            assert!(piece.len() <= 256 * 1024);
            if piece.is_empty() {
                break;
            }
            found.extend_from_slice(&piece);
        }
        assert!(found == content, "{size}");
        assert!(body.next().await.unwrap().is_empty(), "the end stays the end");
    }
}

#[tokio::test]
async fn a_large_file_that_changes_is_broken_off() {
    let tree = Tree::new();
    let options =
        DirectoryOptions { max_item: 1000, trust_after: Duration::ZERO, ..Default::default() };
    let directory = tree.open(options);
    let size = 600 * 1024;
    let start = async || {
        tree.write("large", "a".repeat(size));
        let mut body = unmirrored(&directory, "/large").await.body;
        assert_eq!(body.next().await.unwrap().len(), 256 * 1024);
        body
    };
    let truncate = |length| {
        let file = fs::OpenOptions::new().write(true).open(tree.at("large")).unwrap();
        file.set_len(length).unwrap();
    };
    for change in 0..4 {
        let mut body = start().await;
        match change {
            0 => truncate(300 * 1024),
            1 => truncate(size as u64 + 1),
            2 => tree.swap("large", &"b".repeat(size)),
            _ => {
                tree.write("next", "b".repeat(size));
                let before = tree.changed("large");
                fs::hard_link(tree.at("large"), tree.at("old")).unwrap();
                while tree.changed("old") == before {
                    fs::remove_file(tree.at("old")).unwrap();
                    fs::hard_link(tree.at("large"), tree.at("old")).unwrap();
                }
                fs::rename(tree.at("next"), tree.at("large")).unwrap();
            }
        }
        match body.next().await {
            Err(SourceError::Failed(why)) => assert!(why.contains("changed"), "{why}"),
            other => panic!("change {change} went unnoticed: {:?}", other.map(|piece| piece.len())),
        }
    }
}

#[tokio::test]
async fn a_large_file_that_changed_just_now_is_held_back_until_a_change_would_show() {
    let tree = Tree::new();
    let hour = Duration::from_secs(3600);
    let directory =
        tree.open(DirectoryOptions { max_item: 10, trust_after: hour, ..Default::default() });
    tree.write("large", "inside: large");
    let mut body = unmirrored(&directory, "/large").await.body;
    let early = tokio::time::timeout(Duration::from_millis(100), body.next()).await;
    assert!(early.is_err(), "a piece came within the hour");

    let file = open(&directory.root, "large").unwrap().unwrap();
    let state = FileState::of(&file).unwrap();
    let mut body = FileBody::new(file, state, Some(Duration::from_millis(1)));
    assert_eq!(body.next().await.unwrap(), "inside: large");
    assert!(body.next().await.unwrap().is_empty());
}

/// Segments that lead out, in many spellings, and some that are fine.
fn any_segment() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "",
        ".",
        "..",
        "...",
        "%2e%2e",
        "%2E.",
        ".%2e",
        "..%2f..",
        "%2f",
        "%2fetc",
        "%5c..",
        "%00",
        "%zz",
        "%",
        "%ff",
        "%c0%ae%c0%ae",
        "secret.txt",
        "root",
        "a.txt",
        "folder",
        "deep",
        "b.txt",
        "index.html",
        ".hidden",
        "in",
        "out",
        "up",
        "absolute",
        "pipe",
        "etc",
        "passwd",
        "a.txt%00",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => "\\PC{0,8}", 1 => "[%0-9a-f./]{0,12}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_key_panics_or_reads_outside_the_root(
        segments in prop::collection::vec(any_segment(), 0..6),
        slash: bool,
        query in "(\\?\\PC{0,6})?",
    ) {
        thread_local! {
            static SHARED: (Tree, Directory, tokio::runtime::Runtime) = {
                let tree = Tree::new();
                tree.link("folder", "in");
                tree.link("../secret.txt", "out");
                tree.link("..", "up");
                tree.link("/", "absolute");
                let made = std::process::Command::new("mkfifo").arg(tree.at("pipe")).status();
                assert!(made.unwrap().success());
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let directory = tree.careful();
                (tree, directory, runtime)
            };
        }
        let end = if slash { "/" } else { "" };
        let text = format!("/{}{end}{query}", segments.join("/"));
        SHARED.with(|(_tree, directory, runtime)| {
            // Whatever the key type lets through, and behind it the path alone.
            if let Ok(key) = text.parse::<Key>()
                && let Ok(found) = runtime.block_on(directory.retrieve(&key, None))
            {
                match found.retrieved {
                    Retrieved::Version(version) => {
                        prop_assert!(version.body().starts_with(INSIDE.as_bytes()));
                    }
                    Retrieved::NotFound => {}
                    _ => prop_assert!(false, "{text} is neither known nor large"),
                }
            }
            if let Ok(path) = path::path_of(&text)
                && let Ok(Some(file)) = open(&directory.root, &path)
                && file.metadata().unwrap().is_file()
            {
                let mut content = String::new();
                (&file).read_to_string(&mut content).unwrap();
                prop_assert!(content.starts_with(INSIDE), "{text} is {content}");
            }
            Ok(())
        })?;
    }
}
