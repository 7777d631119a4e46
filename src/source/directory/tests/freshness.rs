//! What each freshness promises, with a server that gives an answer again as long as it holds.

use super::*;
use crate::mirror::{Freshness, Items};
use crate::wire::Time;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Instant;

/// No test waits for so long unless it fails.
const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A server as far as it matters here.
struct Reader {
    directory: Directory,
    items: Items,
    began: Instant,
    /// How often the directory was asked.
    asked: usize,
}

impl Reader {
    fn new(tree: &Tree, freshness: Mode) -> Self {
        let directory = tree.open(DirectoryOptions { freshness, ..Default::default() });
        Self { directory, items: Items::new(1 << 24), began: Instant::now(), asked: 0 }
    }

    /// One that hears of changes, and would not look by itself before the test has failed.
    fn watching(tree: &Tree) -> Self {
        let reader = Self::new(tree, Mode::Watch { verify: HOUR });
        let watched = matches!(reader.directory.hold, Hold::Watch(_));
        assert!(watched == cfg!(target_os = "linux"), "directories can be watched");
        reader
    }

    fn now(&self) -> Time {
        Time::default() + self.began.elapsed()
    }

    /// What it would answer without asking.
    fn held(&mut self, path: &str) -> Option<String> {
        let (key, now) = (format!("/{path}").parse().unwrap(), self.now());
        let digest = self.items.current(&key, now)?.0.fingerprint().digest;
        let bytes = self.items.payload(&digest).expect("there is room for all");
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// What it answers; none if there is nothing.
    async fn get(&mut self, path: &str) -> Option<String> {
        if let Some(held) = self.held(path) {
            return Some(held);
        }
        let (key, now): (Key, _) = (format!("/{path}").parse().unwrap(), self.now());
        self.asked += 1;
        let known = self.items.known(&key);
        let answer = match self.directory.retrieve(&key, known.as_deref()).await {
            Ok(answer) => answer,
            // A folder, or a link to nowhere: there is nothing to be kept.
            Err(SourceError::Refused(_)) => Retrieved::NotFound.into(),
            Err(error) => panic!("{path}: {error}"),
        };
        match answer.retrieved {
            Retrieved::Version(version) => {
                self.items.insert(&key, &version, now, answer.freshness);
                Some(text(&version).to_owned())
            }
            Retrieved::Unchanged => {
                let known = known.expect("one was known");
                self.items.renew(&key, &known, now, answer.freshness);
                let bytes = self.items.payload(&known.fingerprint().digest);
                Some(String::from_utf8(bytes.expect("there is room for all").to_vec()).unwrap())
            }
            Retrieved::NotFound => {
                self.items.remove(&key);
                None
            }
            Retrieved::Unmirrored(_) => panic!("{path} is small"),
        }
    }

    /// Waits until the answer is what the file system has.
    async fn catches_up(&mut self, tree: &Tree, path: &str) {
        let began = Instant::now();
        loop {
            let (found, wanted) = (self.get(path).await, fs::read_to_string(tree.at(path)).ok());
            if found == wanted {
                return;
            }
            let waited = began.elapsed();
            assert!(waited < PATIENCE, "{path} is still {found:?}, not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until an answer for `path` is given again without asking. What was told of it late,
    /// about a change before the first look, may have taken the first lease back.
    async fn until_leased(&mut self, path: &str) {
        let began = Instant::now();
        while !self.is_leased(path).await {
            assert!(began.elapsed() < PATIENCE, "there is no lease for {path}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Whether an answer for `path` is given again without asking.
    async fn is_leased(&mut self, path: &str) -> bool {
        self.get(path).await;
        self.held(path).is_some()
    }
}

async fn until_revoked(freshness: &Freshness, what: &str) {
    let began = Instant::now();
    while freshness.holds() {
        assert!(began.elapsed() < PATIENCE, "{what} did not revoke the lease");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn always_asks_for_every_request_and_sees_every_change_at_once() {
    let tree = Tree::new();
    let mut reader = Reader::new(&tree, Mode::Always);
    for round in 0..50 {
        tree.swap_at_once("a.txt", &format!("inside: {}", 1000 + round));
        assert_eq!(reader.get("a.txt").await, Some(format!("inside: {}", 1000 + round)));
        assert!(reader.held("a.txt").is_none());
    }
    assert_eq!(reader.asked, 50);
}

#[tokio::test]
async fn ttl_answers_for_its_time_whatever_happens_and_then_looks() {
    let tree = Tree::new();
    let mut reader = Reader::new(&tree, Mode::Ttl { ttl: HOUR });
    for _ in 0..10 {
        assert_eq!(reader.get("a.txt").await.as_deref(), Some("inside: a"));
        tree.write("a.txt", "inside: other");
    }
    assert_eq!(reader.asked, 1);
    fs::remove_file(tree.at("a.txt")).unwrap();
    assert_eq!(reader.get("nothing").await, None);
    tree.write("nothing", "inside: something");
    assert!(reader.get("nothing").await.is_some(), "what is missing is asked for every time");

    let mut reader = Reader::new(&tree, Mode::Ttl { ttl: Duration::from_millis(20) });
    reader.get("folder/b.txt").await;
    tree.swap_at_once("folder/b.txt", "inside: B");
    reader.catches_up(&tree, "folder/b.txt").await;
    fs::remove_file(tree.at("folder/b.txt")).unwrap();
    reader.catches_up(&tree, "folder/b.txt").await;
}

#[cfg(target_os = "linux")]
mod watch {
    use super::*;

    #[tokio::test]
    async fn a_file_that_stays_is_looked_at_once() {
        let tree = Tree::new();
        let mut reader = Reader::watching(&tree);
        for _ in 0..100 {
            for path in ["a.txt", "folder/b.txt", "folder/index.html"] {
                assert!(reader.get(path).await.is_some());
            }
        }
        assert_eq!(reader.asked, 3);
        tree.write("folder/other.txt", "inside: other");
        assert_eq!(reader.get("folder/other.txt").await.as_deref(), Some("inside: other"));
        reader.get("folder/b.txt").await;
        assert_eq!(reader.asked, 4, "its neighbour is another file");
    }

    #[tokio::test]
    async fn a_file_replaced_by_renaming_is_seen() {
        let tree = Tree::new();
        let mut reader = Reader::watching(&tree);
        for round in 0..100 {
            reader.until_leased("folder/b.txt").await;
            tree.write("next", format!("inside: {round}"));
            fs::rename(tree.at("next"), tree.at("folder/b.txt")).unwrap();
            reader.catches_up(&tree, "folder/b.txt").await;
        }
    }

    #[tokio::test]
    async fn a_file_written_in_place_is_seen() {
        let tree = Tree::new();
        let mut reader = Reader::watching(&tree);
        let file = fs::OpenOptions::new().write(true).open(tree.at("a.txt")).unwrap();
        for round in 0..100 {
            reader.until_leased("a.txt").await;
            match round % 3 {
                // The handle stays open: nothing but the store itself can be told.
                0 => file.write_all_at(format!("{}", round % 10).as_bytes(), 0).unwrap(),
                1 => file.set_len(8 + round).unwrap(),
                _ => tree.write("a.txt", format!("inside: {round}")),
            }
            reader.catches_up(&tree, "a.txt").await;
        }
    }

    #[tokio::test]
    async fn a_change_of_equal_size_with_its_time_put_back_is_seen() {
        let tree = Tree::new();
        let mut reader = Reader::watching(&tree);
        for round in 0..100 {
            reader.until_leased("a.txt").await;
            tree.swap_at_once("a.txt", &format!("inside: {}", 1000 + round));
            reader.catches_up(&tree, "a.txt").await;
        }
    }

    #[tokio::test]
    async fn a_file_that_is_removed_and_comes_back_is_seen() {
        let tree = Tree::new();
        let mut reader = Reader::watching(&tree);
        for round in 0..50 {
            reader.until_leased("folder/b.txt").await;
            fs::remove_file(tree.at("folder/b.txt")).unwrap();
            reader.catches_up(&tree, "folder/b.txt").await;
            tree.write("folder/b.txt", format!("inside: {round}"));
            // What was missing is not kept: it is there at once.
            assert_eq!(reader.get("folder/b.txt").await, Some(format!("inside: {round}")));
        }
    }

    /// The very race that a watch set up after the folder's first event would lose.
    #[tokio::test]
    async fn a_file_in_a_new_folder_is_watched_from_its_first_answer_on() {
        let tree = Tree::new();
        let mut reader = Reader::watching(&tree);
        for round in 0..100 {
            let path = format!("new-{round}/deep/er/file");
            fs::create_dir_all(tree.at(&format!("new-{round}/deep/er"))).unwrap();
            tree.write(&path, "inside: first");
            reader.until_leased(&path).await;
            tree.write(&path, "inside: second");
            reader.catches_up(&tree, &path).await;
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_moved_away_and_back_or_replaced_is_seen() {
        let tree = Tree::new();
        let mut reader = Reader::watching(&tree);
        tree.write("folder/deep/c.txt", "inside: c");
        let paths = ["folder/b.txt", "folder/deep/c.txt", "moved/b.txt", "moved/deep/c.txt"];
        let check = async |reader: &mut Reader| {
            for path in paths {
                reader.catches_up(&tree, path).await;
            }
        };
        check(&mut reader).await;
        for round in 0..20 {
            fs::rename(tree.at("folder"), tree.at("moved")).unwrap();
            check(&mut reader).await;
            reader.until_leased("moved/deep/c.txt").await;
            tree.write("moved/deep/c.txt", format!("inside: {round}, moved"));
            check(&mut reader).await;
            // Out of the directory altogether, changed there, and back.
            let outside = tree.home.path().join("outside");
            fs::rename(tree.at("moved"), &outside).unwrap();
            check(&mut reader).await;
            fs::write(outside.join("deep/c.txt"), format!("inside: {round}, outside")).unwrap();
            fs::rename(&outside, tree.at("folder")).unwrap();
            check(&mut reader).await;
            reader.until_leased("folder/deep/c.txt").await;
            // Another folder in its place, with the same names in it.
            fs::create_dir_all(tree.at("next/deep")).unwrap();
            tree.write("next/b.txt", format!("inside: {round}, next"));
            tree.write("next/deep/c.txt", format!("inside: {round}, next"));
            fs::rename(tree.at("folder"), tree.at("old")).unwrap();
            fs::rename(tree.at("next"), tree.at("folder")).unwrap();
            check(&mut reader).await;
            reader.until_leased("folder/deep/c.txt").await;
            fs::remove_dir_all(tree.at("folder")).unwrap();
            check(&mut reader).await;
            fs::rename(tree.at("old"), tree.at("folder")).unwrap();
            check(&mut reader).await;
        }
    }

    #[tokio::test]
    async fn a_root_that_is_moved_is_watched_where_it_is() {
        let tree = Tree::new();
        let mut reader = Reader::watching(&tree);
        reader.until_leased("folder/b.txt").await;
        let elsewhere = tree.home.path().join("elsewhere");
        fs::rename(tree.root(), &elsewhere).unwrap();
        for round in 0..20 {
            let content = format!("inside: {round}");
            fs::write(elsewhere.join("folder/b.txt"), &content).unwrap();
            let began = Instant::now();
            while reader.get("folder/b.txt").await.as_ref() != Some(&content) {
                assert!(began.elapsed() < PATIENCE, "round {round} was not seen");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        reader.until_leased("folder/b.txt").await;
        // Removed while it is served.
        fs::remove_dir_all(&elsewhere).unwrap();
        reader.catches_up(&tree, "folder/b.txt").await;
        assert_eq!(reader.get("folder/b.txt").await, None);
    }

    #[tokio::test]
    async fn a_burst_of_changes_leaves_nothing_stale() {
        let tree = Tree::new();
        let mut reader = Reader::watching(&tree);
        let paths: Vec<_> = (0..100).map(|file| format!("folder/file-{file}")).collect();
        let mut files = Vec::new();
        for path in &paths {
            tree.write(path, "inside: 1000");
            files.push(fs::OpenOptions::new().write(true).open(tree.at(path)).unwrap());
            reader.until_leased(path).await;
        }
        for (round, path) in paths.iter().enumerate() {
            for file in &files {
                file.write_all_at(format!("inside: {}", 2000 + round).as_bytes(), 0).unwrap();
            }
            reader.get(path).await;
        }
        for path in &paths {
            reader.catches_up(&tree, path).await;
        }
    }

    #[tokio::test]
    async fn what_a_symbolic_link_leads_to_is_asked_for_every_time() {
        let tree = Tree::new();
        let mut reader = Reader::watching(&tree);
        tree.link("folder/b.txt", "link");
        tree.link("folder", "linked");
        for round in 0..20 {
            for path in ["link", "linked/b.txt"] {
                assert!(!reader.is_leased(path).await, "{path}");
                tree.swap_at_once("folder/b.txt", &format!("inside: {}", 1000 + round));
                assert_eq!(reader.get(path).await, Some(format!("inside: {}", 1000 + round)));
            }
        }
        // What was a file, or a folder, is one no longer.
        reader.until_leased("a.txt").await;
        reader.until_leased("folder/b.txt").await;
        tree.link("folder/b.txt", "a.txt");
        fs::rename(tree.at("folder"), tree.at("real")).unwrap();
        symlink("real", tree.at("folder")).unwrap();
        for path in ["a.txt", "folder/b.txt"] {
            reader.catches_up(&tree, path).await;
            let began = Instant::now();
            while reader.is_leased(path).await {
                assert!(began.elapsed() < PATIENCE, "{path} is leased");
            }
        }
        tree.write("real/b.txt", "inside: real");
        assert_eq!(reader.get("a.txt").await.as_deref(), Some("inside: real"));
    }

    #[tokio::test]
    async fn a_file_with_two_names_is_asked_for_every_time() {
        let tree = Tree::new();
        let mut reader = Reader::watching(&tree);
        fs::hard_link(tree.at("a.txt"), tree.home.path().join("other-name")).unwrap();
        for round in 0..20 {
            assert!(!reader.is_leased("a.txt").await);
            let content = format!("inside: {round}");
            fs::write(tree.home.path().join("other-name"), &content).unwrap();
            assert_eq!(reader.get("a.txt").await, Some(content));
        }
    }

    /// Nothing is told of a second name outside, nor of what is written there: the bound for that
    /// is the time of verification.
    #[tokio::test]
    async fn a_second_name_made_later_is_found_by_verification() {
        let tree = Tree::new();
        let verify = Duration::from_millis(50);
        let mut reader = Reader::new(&tree, Mode::Watch { verify });
        assert_eq!(reader.get("a.txt").await.as_deref(), Some("inside: a"));
        let other = tree.home.path().join("other-name");
        fs::hard_link(tree.at("a.txt"), &other).unwrap();
        fs::write(&other, "inside: by another name").unwrap();
        reader.catches_up(&tree, "a.txt").await;
        assert!(!reader.is_leased("a.txt").await);
    }

    #[tokio::test]
    async fn an_unchanged_file_gets_a_new_lease_when_it_was_verified() {
        let tree = Tree::new();
        let verify = Duration::from_millis(20);
        let options = DirectoryOptions {
            freshness: Mode::Watch { verify },
            trust_after: Duration::ZERO,
            ..Default::default()
        };
        let directory = tree.open(options);
        let key = "/a.txt".parse().unwrap();
        let first = directory.retrieve(&key, None).await.unwrap();
        let Retrieved::Version(version) = &first.retrieved else { panic!("it is there") };
        assert_eq!(first.freshness.lasts(), verify);
        tokio::time::sleep(verify).await;
        let second = directory.retrieve(&key, Some(version.known())).await.unwrap();
        assert!(matches!(second.retrieved, Retrieved::Unchanged));
        assert!(second.freshness.holds() && second.freshness.lease().is_some());
        tree.write("a.txt", "inside: changed");
        until_revoked(&second.freshness, "writing").await;
    }

    #[tokio::test]
    async fn a_change_while_the_file_is_read_revokes_the_lease() {
        let tree = Tree::new();
        let directory = Reader::watching(&tree).directory;
        for change in ["write", "rename", "remove"] {
            tree.write("folder/b.txt", "inside: before");
            // Events come in order: all of before is told when this one is.
            let marker = directory.hold.freshness(&directory.root, "a.txt");
            tree.write("a.txt", "inside: a marker");
            until_revoked(&marker, "the marker").await;
            let freshness = directory.hold.freshness(&directory.root, "folder/b.txt");
            assert!(freshness.lease().is_some(), "{change}");
            // From here on it is looked at, opened and read.
            match change {
                "write" => tree.swap_at_once("folder/b.txt", "inside: after."),
                "rename" => fs::rename(tree.at("index.html"), tree.at("folder/b.txt")).unwrap(),
                _ => fs::remove_file(tree.at("folder/b.txt")).unwrap(),
            }
            until_revoked(&freshness, change).await;
        }
    }

    /// Whatever is done to a small tree, in whatever order, the answers catch up.
    #[tokio::test]
    async fn random_changes_to_a_tree_are_all_seen() {
        let tree = Tree::new();
        let mut reader = Reader::watching(&tree);
        let mut random = StdRng::seed_from_u64(7);
        let folders = ["one", "two", "one/in", "two/in"];
        let files: Vec<_> = folders
            .iter()
            .flat_map(|folder| [format!("{folder}/a"), format!("{folder}/b")])
            .collect();
        let mut leased = 0;
        for round in 0..400 {
            for step in 0..random.random_range(1..5) {
                let folder = folders[random.random_range(0..folders.len())];
                let other = folders[random.random_range(0..folders.len())];
                let file = &files[random.random_range(0..files.len())];
                let at = |path: &str| tree.at(path);
                // Much of this fails, for want of a folder, and that is fine.
                let _ = match random.random_range(0..10) {
                    0 | 1 => fs::create_dir_all(at(folder)),
                    2 => fs::rename(at(folder), at(other)),
                    3 => fs::remove_dir_all(at(folder)),
                    4 => fs::rename(at(file), at(&files[random.random_range(0..files.len())])),
                    5 => fs::remove_file(at(file)),
                    6 => symlink("../index.html", at(file)),
                    7 => fs::hard_link(at(file), at(&format!("{other}/b"))),
                    _ => fs::write(at(file), format!("inside: {round}.{step}")),
                };
                reader.get(&files[random.random_range(0..files.len())]).await;
            }
            for file in &files {
                reader.catches_up(&tree, file).await;
                leased += usize::from(reader.held(file).is_some());
            }
        }
        assert!(leased > 400, "only {leased} answers were kept");
    }
}
