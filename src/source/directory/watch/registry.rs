//! Which leases a change takes back.
//!
//! Leases are kept by the path of their file, and watches by the path of their folder, both in
//! order, so that all beneath a folder stand together. What is said of a watch is about its folder,
//! whatever path that has by now; so a watch knows the paths under which it was set up, and a path
//! is forgotten, with all beneath it, as soon as anything is said of it.

use crate::mirror::Lease;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::{Duration, Instant};

/// Below so many entries nobody looks for those that are no more needed.
const MIN_SWEEP: usize = 1024;
/// The most entries there are: some hundred megabytes. What is beyond gets no lease.
const MAX_ENTRIES: usize = 1 << 20;

/// How often a registry that is more than half full is swept: it takes some tenths of a second.
const SWEEP_PAUSE: Duration = Duration::from_secs(10);

const _: () = assert!(MIN_SWEEP < MAX_ENTRIES);

/// The kernel's number of a watched folder.
pub(super) type WatchNumber = i32;

#[derive(Debug)]
struct Entry {
    lease: Lease,
    /// Nobody goes by it after this.
    until: Instant,
}

#[derive(Debug)]
struct Folder {
    number: WatchNumber,
    /// When to look whether it is still the one at its path: of most changes one hears, but not
    /// when a file system is mounted over it.
    check_at: Instant,
}

/// The leases of one directory's files, and the folders that are watched for them.
#[derive(Debug)]
pub(super) struct Registry {
    leases: BTreeMap<String, Entry>,
    /// By path; the root's is empty.
    folders: BTreeMap<String, Folder>,
    /// The paths of each watched folder: more than one if it was moved, and that was not told yet.
    paths: HashMap<WatchNumber, Vec<String>>,
    /// Watches of which no folder is left: to be removed.
    unused: Vec<WatchNumber>,
    /// How many entries there are when it is time to sweep.
    sweep_at: usize,
    /// Not before: a full registry would be swept by everyone who asks.
    sweep_after: Option<Instant>,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            leases: BTreeMap::new(),
            folders: BTreeMap::new(),
            paths: HashMap::new(),
            unused: Vec::new(),
            sweep_at: MIN_SWEEP,
            sweep_after: None,
        }
    }

    /// A lease for the file at `path`, all of whose folders are watched. One for all who ask.
    pub(super) fn lease(&mut self, path: &str, until: Instant) -> Option<Lease> {
        if let Some(entry) = self.leases.get_mut(path) {
            entry.until = until;
            return Some(entry.lease.clone());
        }
        if self.len() >= MAX_ENTRIES {
            return None;
        }
        let lease = Lease::new();
        self.leases.insert(path.to_owned(), Entry { lease: lease.clone(), until });
        Some(lease)
    }

    /// Whether the folder at `path` is watched, and need not be looked at now.
    pub(super) fn is_watched(&self, path: &str, now: Instant) -> bool {
        self.folders.get(path).is_some_and(|folder| folder.check_at > now)
    }

    /// The folder that is at `path` now is watched under this number.
    pub(super) fn watched(&mut self, path: &str, number: WatchNumber, check_at: Instant) {
        match self.folders.get_mut(path) {
            Some(folder) if folder.number == number => {
                folder.check_at = check_at;
                return;
            }
            // Another one than before, and nobody said so: something was mounted over it, perhaps.
            Some(_) => self.forget(path),
            None => {}
        }
        self.folders.insert(path.to_owned(), Folder { number, check_at });
        self.paths.entry(number).or_default().push(path.to_owned());
        self.unused.retain(|unused| *unused != number);
    }

    /// Something happened to `name` in a watched folder.
    pub(super) fn changed(&mut self, number: WatchNumber, name: &str) {
        for folder in self.paths.get(&number).cloned().unwrap_or_default() {
            match folder.as_str() {
                "" => self.forget(name),
                folder => self.forget(&format!("{folder}/{name}")),
            }
        }
    }

    /// Something happened to a watched folder itself. If it is `gone`, the watch is too.
    pub(super) fn folder_changed(&mut self, number: WatchNumber, gone: bool) {
        for path in self.paths.get(&number).cloned().unwrap_or_default() {
            self.forget(&path);
        }
        if gone {
            self.unused.retain(|unused| *unused != number);
        }
    }

    /// Revokes the lease at `path` and all beneath, and watches no folder there any longer. The
    /// root's path stands for everything.
    pub(super) fn forget(&mut self, path: &str) {
        for path in at_and_beneath(&self.leases, path) {
            if let Some(entry) = self.leases.remove(&path) {
                entry.lease.revoke();
            }
        }
        for path in at_and_beneath(&self.folders, path) {
            self.forget_folder(&path);
        }
    }

    /// Revokes the lease at `path` alone.
    pub(super) fn withdraw(&mut self, path: &str) {
        if let Some(entry) = self.leases.remove(path) {
            entry.lease.revoke();
        }
    }

    /// Now and then forgets the leases that nobody has or goes by any longer, and the folders that
    /// were watched for them. So there are at most twice as many as needed.
    pub(super) fn sweep(&mut self, now: Instant) {
        if self.len() >= self.sweep_at && self.sweep_after.is_none_or(|after| now > after) {
            self.sweep_now(now);
            self.sweep_at = (self.len() * 2).clamp(MIN_SWEEP, MAX_ENTRIES);
            self.sweep_after = (self.sweep_at == MAX_ENTRIES).then(|| now + SWEEP_PAUSE);
        }
    }

    /// The same, without waiting until there are many.
    pub(super) fn sweep_now(&mut self, now: Instant) {
        self.leases.retain(|_, entry| {
            let needed = entry.until > now && entry.lease.is_shared();
            if !needed {
                entry.lease.revoke();
            }
            needed
        });
        let folders: Vec<_> = self.folders.keys().cloned().collect();
        for folder in folders {
            let beneath = if folder.is_empty() { String::new() } else { format!("{folder}/") };
            let next = self.leases.range(beneath.clone()..).next();
            if !next.is_some_and(|(path, _)| path.starts_with(&beneath)) {
                self.forget_folder(&folder);
            }
        }
    }

    /// The watches to be removed.
    pub(super) fn take_unused(&mut self) -> Vec<WatchNumber> {
        std::mem::take(&mut self.unused)
    }

    /// How many leases and folders there are.
    pub(super) fn len(&self) -> usize {
        self.leases.len() + self.folders.len()
    }

    fn forget_folder(&mut self, path: &str) {
        let Some(folder) = self.folders.remove(path) else {
            return;
        };
        if let Some(paths) = self.paths.get_mut(&folder.number) {
            paths.retain(|other| other != path);
            if paths.is_empty() {
                self.paths.remove(&folder.number);
                self.unused.push(folder.number);
            }
        }
    }
}

/// The paths that are `path` or beneath it.
fn at_and_beneath<T>(map: &BTreeMap<String, T>, path: &str) -> Vec<String> {
    if path.is_empty() {
        return map.keys().cloned().collect();
    }
    let beneath = format!("{path}/");
    let at = map.contains_key(path).then(|| path.to_owned());
    let after = map.range::<str, _>((Bound::Included(beneath.as_str()), Bound::Unbounded));
    let after = after.map(|(path, _)| path).take_while(|path| path.starts_with(&beneath));
    at.into_iter().chain(after.cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: WatchNumber = 1;
    const FOLDER: WatchNumber = 2;
    const DEEP: WatchNumber = 3;

    struct Watched {
        registry: Registry,
        now: Instant,
    }

    impl Watched {
        fn new() -> Self {
            let (mut registry, now) = (Registry::new(), Instant::now());
            for (path, number) in [("", ROOT), ("folder", FOLDER), ("folder/deep", DEEP)] {
                registry.watched(path, number, now);
            }
            Self { registry, now }
        }

        fn leases<const N: usize>(&mut self, paths: [&str; N]) -> [Lease; N] {
            let until = self.now + Duration::from_secs(10);
            paths.map(|path| self.registry.lease(path, until).unwrap())
        }
    }

    fn hold<const N: usize>(leases: &[Lease; N]) -> [bool; N] {
        std::array::from_fn(|place| leases[place].holds())
    }

    const PATHS: [&str; 6] =
        ["a", "folder", "folder/a", "folder/deep/a", "folder.txt", "folder0/a"];

    #[test]
    fn a_change_takes_back_what_is_at_its_path_and_beneath() {
        for (number, name, holding) in [
            (ROOT, "a", [false, true, true, true, true, true]),
            (ROOT, "folder", [true, false, false, false, true, true]),
            (FOLDER, "a", [true, true, false, true, true, true]),
            (FOLDER, "deep", [true, true, true, false, true, true]),
            (ROOT, "other", [true; 6]),
            (99, "a", [true; 6]),
        ] {
            let mut watched = Watched::new();
            let leases = watched.leases(PATHS);
            watched.registry.changed(number, name);
            assert_eq!(hold(&leases), holding, "{name} in {number}");
        }
    }

    #[test]
    fn a_changed_folder_takes_back_what_is_beneath_it() {
        for (number, holding, unused) in [
            (DEEP, [true, true, true, false, true, true], vec![DEEP]),
            (FOLDER, [true, false, false, false, true, true], vec![FOLDER, DEEP]),
            (ROOT, [false; 6], vec![ROOT, FOLDER, DEEP]),
        ] {
            let mut watched = Watched::new();
            let leases = watched.leases(PATHS);
            watched.registry.folder_changed(number, false);
            assert_eq!(hold(&leases), holding, "{number}");
            assert_eq!(watched.registry.take_unused(), unused);
        }
        let mut watched = Watched::new();
        watched.registry.folder_changed(DEEP, true);
        assert!(watched.registry.take_unused().is_empty(), "the kernel has removed it");
    }

    #[test]
    fn all_who_ask_share_a_lease_until_it_is_revoked() {
        let mut watched = Watched::new();
        let [first, second] = watched.leases(["a", "a"]);
        watched.registry.changed(ROOT, "a");
        assert!(!first.holds() && !second.holds());
        let [third] = watched.leases(["a"]);
        assert!(third.holds());
        watched.registry.withdraw("a");
        assert!(!third.holds());
    }

    /// A folder is moved, and asked for under its new name before that is told.
    #[test]
    fn a_folder_with_a_new_name_is_forgotten_under_the_old_one_alone() {
        let mut watched = Watched::new();
        let [before] = watched.leases(["folder/a"]);
        let now = watched.now;
        watched.registry.watched("moved", FOLDER, now);
        let [after] = watched.leases(["moved/a"]);
        watched.registry.changed(ROOT, "folder");
        assert_eq!(hold(&[before, after.clone()]), [false, true]);
        assert_eq!(watched.registry.take_unused(), [DEEP], "it is watched under its new name");
        watched.registry.changed(FOLDER, "a");
        assert!(!after.holds());
    }

    #[test]
    fn another_folder_at_the_same_path_takes_back_what_was_beneath() {
        let mut watched = Watched::new();
        let leases = watched.leases(["folder/a", "folder/deep/a", "a"]);
        let now = watched.now;
        watched.registry.watched("folder", 7, now);
        assert_eq!(hold(&leases), [false, false, true]);
        assert_eq!(watched.registry.take_unused(), [FOLDER, DEEP]);
        watched.registry.watched("folder", FOLDER, now);
        watched.registry.watched("folder", 7, now);
        assert_eq!(watched.registry.take_unused(), [FOLDER], "7 is in use again");
    }

    #[test]
    fn what_nobody_has_is_forgotten_with_its_folders() {
        let mut watched = Watched::new();
        let [kept] = watched.leases(["folder/a"]);
        for number in 0..10 * MIN_SWEEP {
            let now = watched.now;
            watched.registry.sweep(now);
            watched.leases([&format!("folder/deep/{number}")]);
            assert!(watched.registry.len() <= MIN_SWEEP + 1, "at {number}");
        }
        watched.registry.sweep_now(watched.now);
        assert!(kept.holds());
        assert_eq!(watched.registry.take_unused(), [DEEP]);
        assert_eq!(watched.registry.len(), 3);
        // Its time is over: nobody goes by it, though somebody may still have it.
        watched.registry.sweep_now(watched.now + Duration::from_secs(11));
        assert!(!kept.holds());
        assert_eq!((watched.registry.len(), watched.registry.paths.len()), (0, 0));
    }
}
