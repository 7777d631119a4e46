//! Being told of changes by Linux: inotify, and a thread that listens.

use super::registry::{Registry, WatchNumber};
use crate::mirror::Lease;
use cap_std::fs::Dir;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, WatchFlags};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{io, iter};

/// How many bytes of events are read at a time: some hundred events.
const BUFFER_SIZE: usize = 16 * 1024;
/// All that can change what a name in a folder leads to, or what is there. The end of writing is
/// told too: it comes when the last mapping is gone, and stores through one are told by nothing
/// else.
const CHANGES: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Watches the folders of one directory, and gives leases for its files.
#[derive(Debug)]
pub(in super::super) struct Watch {
    shared: Arc<Shared>,
}

/// What the thread that listens knows too.
#[derive(Debug)]
struct Shared {
    events: Arc<OwnedFd>,
    root: Arc<Dir>,
    verify: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    registry: Registry,
    /// Nobody listens any longer: there are no leases.
    ended: bool,
    /// Until then no further folders are watched: there were too many.
    full_until: Option<Instant>,
    /// The operator was told so.
    full_was_told: bool,
}

impl Watch {
    /// Starts to listen. A lease lasts for `verify` at the most.
    ///
    /// # Errors
    /// The system has no room for one more listener, or does not let folders be watched.
    pub(in super::super) fn start(root: &Arc<Dir>, verify: Duration) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::CLOEXEC).map_err(|error| match error {
            Errno::MFILE => io::Error::other(
                "too many listeners (raise fs.inotify.max_user_instances) or open files",
            ),
            error => error.into(),
        })?;
        let state = State {
            registry: Registry::new(),
            ended: false,
            full_until: None,
            full_was_told: false,
        };
        let (events, root) = (Arc::new(events), Arc::clone(root));
        let (state, heard) = (Mutex::new(state), Arc::clone(&events));
        let shared = Arc::new(Shared { events, root, verify, state });
        match shared.watch_folders(&mut shared.lock(), "index.html", Instant::now()) {
            // A lack of room may pass, and is told where it is noticed.
            Ok(()) | Err(Errno::NOSPC) => {}
            Err(error) => return Err(error.into()),
        }
        let ending = Ending(Arc::downgrade(&shared));
        let listener = std::thread::Builder::new().name("watch".to_owned());
        listener.spawn(move || listen(&heard, &ending))?;
        Ok(Self { shared })
    }

    /// For how long a lease lasts at the most.
    pub(in super::super) fn verify(&self) -> Duration {
        self.shared.verify
    }

    /// A lease for the file at `path`, which is to be looked at only now; none if one of its
    /// folders cannot be watched, or is a symbolic link.
    pub(in super::super) fn lease(&self, path: &str) -> Option<Lease> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        if state.ended {
            return None;
        }
        state.registry.sweep(now);
        let watched = self.shared.watch_folders(&mut state, path, now);
        self.shared.remove_unused(&mut state);
        watched.ok()?;
        state.registry.lease(path, now + self.shared.verify)
    }

    /// Takes back what was promised of the file at `path`.
    pub(in super::super) fn withdraw(&self, path: &str) {
        self.shared.lock().registry.withdraw(path);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().end();
        // The listener waits for an event, and the end of a watch is one.
        if let Ok(number) = self.shared.add_watch(&*self.shared.root) {
            let _ = inotify::remove_watch(&*self.shared.events, number);
        }
    }
}

impl State {
    fn end(&mut self) {
        self.ended = true;
        self.registry.forget("");
    }
}

impl Shared {
    /// A listener that panics takes all leases back: what it leaves behind harms nobody.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches all folders on the way to `path`, from the root on. Those that are watched already
    /// are looked at anew after a while.
    fn watch_folders(&self, state: &mut State, path: &str, now: Instant) -> Result<(), Errno> {
        let ends = path.match_indices('/').map(|(end, _)| end);
        let folders = iter::once(0).chain(ends).map(|end| &path[..end]);
        if folders.clone().all(|folder| state.registry.is_watched(folder, now)) {
            return Ok(());
        }
        if state.full_until.is_some_and(|until| now < until) {
            return Err(Errno::NOSPC);
        }
        let mut within: Option<OwnedFd> = None;
        for folder in folders {
            let name = match folder.rsplit('/').next() {
                None | Some("") => ".",
                Some(name) => name,
            };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = match &within {
                None => openat(&*self.root, name, flags, Mode::empty())?,
                Some(within) => openat(within, name, flags, Mode::empty())?,
            };
            let number = self.add_watch(&opened).inspect_err(|error| {
                if *error == Errno::NOSPC {
                    self.make_room(state, now);
                }
            })?;
            state.registry.watched(folder, number, now + self.verify);
            within = Some(opened);
        }
        Ok(())
    }

    /// Watches the very folder that was opened, whatever its path leads to by now.
    fn add_watch(&self, folder: &impl AsFd) -> Result<WatchNumber, Errno> {
        let path = format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd());
        inotify::add_watch(&*self.events, path, CHANGES)
    }

    /// The system's limit is reached.
    fn make_room(&self, state: &mut State, now: Instant) {
        state.registry.sweep_now(now);
        state.full_until = Some(now + self.verify);
        if !std::mem::replace(&mut state.full_was_told, true) {
            tracing::warn!(
                "no more folders can be watched: files in the others are looked at for each \
                 request, as with freshness = \"always\"; raise fs.inotify.max_user_watches, one \
                 for each folder in use"
            );
        }
    }

    fn remove_unused(&self, state: &mut State) {
        for number in state.registry.take_unused() {
            // It may have gone with its folder meanwhile.
            let _ = inotify::remove_watch(&*self.events, number);
        }
    }

    /// Takes back what an event is about. Says whether to go on listening.
    fn handle_event(&self, event: &Event<'_>) -> bool {
        let mut state = self.lock();
        if state.ended {
            return false;
        }
        let (number, flags) = (event.wd(), event.events());
        match event.file_name().map(|name| name.to_str()) {
            // Some events were lost.
            None if flags.contains(ReadFlags::QUEUE_OVERFLOW) => state.registry.forget(""),
            None => state.registry.folder_changed(number, flags.contains(ReadFlags::IGNORED)),
            Some(Ok(name)) => state.registry.changed(number, name),
            // Keys are UTF-8: none leads there.
            Some(Err(_)) => {}
        }
        self.remove_unused(&mut state);
        true
    }
}

/// Takes all leases back when nobody listens any longer, for whatever reason.
struct Ending(Weak<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.lock().end();
        }
    }
}

/// Waits for events until the watch is dropped.
fn listen(events: &OwnedFd, ending: &Ending) {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_SIZE];
    let mut reader = inotify::Reader::new(events, &mut buffer);
    loop {
        match reader.next() {
            Ok(event) => {
                let goes_on = ending.0.upgrade().is_some_and(|shared| shared.handle_event(&event));
                if !goes_on {
                    return;
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "a directory is watched no longer: each request looks");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cap_std::ambient_authority;
    use std::fs;
    use std::time::SystemTime;
    use tempfile::TempDir;

    const PATIENCE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let began = Instant::now();
        while !condition() {
            assert!(began.elapsed() < PATIENCE, "{what} did not happen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn watched() -> (TempDir, Watch) {
        let home = TempDir::new().unwrap();
        for folder in ["quiet", "busy", "other"] {
            fs::create_dir(home.path().join(folder)).unwrap();
        }
        let root = Dir::open_ambient_dir(home.path(), ambient_authority()).unwrap();
        let watch = Watch::start(&Arc::new(root), HOUR).unwrap();
        (home, watch)
    }

    /// The kernel's queue runs over, and what is lost may be about any file.
    #[test]
    fn lost_events_revoke_every_lease() {
        let (home, watch) = watched();
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        let (quiet, busy) = (watch.lease("quiet/a").unwrap(), watch.lease("busy/a").unwrap());
        {
            // The listener cannot go on while this is locked.
            let _state = watch.shared.lock();
            let files = ["a", "b"]
                .map(|name| fs::File::create(home.path().join("busy").join(name)).unwrap());
            // One event each, and never twice the same: such would be one. Those that the listener
            // has read already fit its buffer.
            for round in 0..limit + BUFFER_SIZE {
                files[round % 2].set_modified(SystemTime::UNIX_EPOCH).unwrap();
            }
            assert!(quiet.holds() && busy.holds());
        }
        wait_until("losing events", || !quiet.holds() && !busy.holds());
        let again = watch.lease("quiet/a").unwrap();
        fs::write(home.path().join("quiet/a"), "inside").unwrap();
        wait_until("being told after that", || !again.holds());
    }

    #[test]
    fn no_lease_is_given_where_no_more_folders_can_be_watched() {
        let (home, watch) = watched();
        let before = watch.lease("quiet/a").unwrap();
        watch.shared.make_room(&mut watch.shared.lock(), Instant::now());
        assert!(before.holds() && watch.lease("quiet/b").is_some(), "its folder is watched");
        assert!(watch.lease("other/a").is_none());
        fs::write(home.path().join("quiet/a"), "inside").unwrap();
        wait_until("being told all the same", || !before.holds());
        watch.shared.lock().full_until = Some(Instant::now());
        assert!(watch.lease("other/a").is_some(), "there may be room again");
    }

    #[test]
    fn what_is_no_folder_is_not_watched() {
        let (home, watch) = watched();
        fs::write(home.path().join("file"), "inside").unwrap();
        std::os::unix::fs::symlink("quiet", home.path().join("link")).unwrap();
        for path in ["file/a", "link/a", "nothing/a", "quiet/nothing/a"] {
            assert!(watch.lease(path).is_none(), "{path}");
        }
        assert!(watch.lease("quiet/nothing").is_some(), "which is withdrawn after a look");
    }

    /// The kernel ends a watch by itself, as when its file system is unmounted.
    #[test]
    fn the_end_of_a_watch_revokes_what_is_beneath() {
        let (_home, watch) = watched();
        let (quiet, busy) = (watch.lease("quiet/a").unwrap(), watch.lease("busy/a").unwrap());
        let folder =
            openat(&*watch.shared.root, "quiet", OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        let number = watch.shared.add_watch(&folder.unwrap()).unwrap();
        inotify::remove_watch(&*watch.shared.events, number).unwrap();
        wait_until("the end of the watch", || !quiet.holds());
        assert!(busy.holds());
        assert!(watch.lease("quiet/a").unwrap().holds(), "it is watched anew");
    }

    #[test]
    fn who_listens_ends_with_the_watch_and_its_leases_do() {
        let (_home, watch) = watched();
        let (lease, events) =
            (watch.lease("quiet/a").unwrap(), Arc::downgrade(&watch.shared.events));
        drop(watch);
        assert!(!lease.holds());
        wait_until("the listener's end", || events.upgrade().is_none());
    }

    #[test]
    fn no_lease_is_given_when_nobody_listens() {
        let (_home, watch) = watched();
        let lease = watch.lease("quiet/a").unwrap();
        drop(Ending(Arc::downgrade(&watch.shared)));
        assert!(!lease.holds() && watch.lease("quiet/a").is_none());
    }
}
