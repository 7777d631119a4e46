//! What the connections of one worker share: the clock of the run, the counts, the sockets.
//!
//! A worker is one thread, so all of this is cells; nothing is shared among workers while they run.

use super::config::LoadConfig;
use super::dialer::Dialer;
use super::pace::{Pace, Window};
use super::tally::{FailureKind, ReplyKind, Tally};
use crate::wire::Key;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::ops::AddAssign;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, Semaphore};

/// Connections that one worker makes at a time, at the most.
const MAX_DIALING: usize = 32;

/// Bytes of UDP payload, as the transport counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WireBytes {
    /// Received.
    pub(crate) received: u64,
    /// Sent.
    pub(crate) sent: u64,
}

/// What the connections of one worker share.
pub(super) struct Shared {
    pub(super) config: Arc<LoadConfig>,
    pub(super) keys: Arc<[Key]>,
    pub(super) dialer: Dialer,
    /// Who wants to connect takes a turn: a target may not have room for thousands of handshakes
    /// at a time.
    pub(super) dialing: Semaphore,
    /// `None` until all connections of the run stand and hold what they are to hold.
    window: Cell<Option<Window>>,
    tally: RefCell<Tally>,
    /// Requests that count and are not answered.
    open: Cell<u64>,
    /// One for each connection: rung when there may be something to do.
    bells: RefCell<Vec<Rc<Notify>>>,
    live: RefCell<Slab<quinn::Connection>>,
    /// Of the connections that are gone.
    gone: Cell<WireBytes>,
    /// Connections that are ready for the run.
    ready: Cell<usize>,
    /// Rung when one more is.
    pub(super) readiness: Notify,
}

impl Shared {
    pub(super) fn new(config: Arc<LoadConfig>, keys: Arc<[Key]>, dialer: Dialer) -> Self {
        Self {
            config,
            keys,
            dialer,
            dialing: Semaphore::new(MAX_DIALING),
            window: Cell::new(None),
            tally: RefCell::default(),
            open: Cell::new(0),
            bells: RefCell::default(),
            live: RefCell::default(),
            gone: Cell::default(),
            ready: Cell::new(0),
            readiness: Notify::new(),
        }
    }

    /// The times of the run, once they are known.
    pub(super) fn window(&self) -> Option<Window> {
        self.window.get()
    }

    /// Lets the run begin, or changes when it ends.
    pub(super) fn set_window(&self, window: Window) {
        self.window.set(Some(window));
        self.ring_all();
    }

    /// Whether nothing is planned any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.window.get().is_some_and(|window| now >= window.end)
    }

    /// The planned time of a request that is to be made now, if one is. Who takes it must
    /// [settle](Self::settle) it.
    pub(super) fn take(&self, pace: &Pace, now: Instant) -> Option<Instant> {
        let window = self.window.get()?;
        let planned = pace.take(&window, now)?;
        if planned >= window.begin {
            self.open.set(self.open.get() + 1);
        }
        Some(planned)
    }

    /// Waits for the planned time of the next request, for one who makes them one by one; `None`
    /// at the end. Who takes it must [settle](Self::settle) it.
    pub(super) async fn next(&self, pace: &Pace, bell: &Notify) -> Option<Instant> {
        loop {
            let now = Instant::now();
            if let Some(planned) = self.take(pace, now) {
                return Some(planned);
            }
            if self.is_over(now) {
                return None;
            }
            bell.notified().await;
        }
    }

    /// Counts what became of a request.
    pub(super) fn settle(
        &self,
        planned: Instant,
        now: Instant,
        outcome: Result<ReplyKind, FailureKind>,
    ) {
        let counts = self.window.get().is_some_and(|window| planned >= window.begin);
        if !counts {
            return;
        }
        self.open.set(self.open.get() - 1);
        let mut tally = self.tally.borrow_mut();
        match outcome {
            Ok(kind) => tally.reply(kind, now.saturating_duration_since(planned)),
            Err(kind) => tally.failed(kind, 1),
        }
    }

    /// Counts a failure that belongs to no request.
    pub(super) fn stray(&self, kind: FailureKind, now: Instant) {
        let window = self.window.get();
        if window.is_some_and(|window| now >= window.begin && now < window.end) {
            self.tally.borrow_mut().failed(kind, 1);
        }
    }

    /// Changes the counts.
    pub(super) fn note(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.borrow_mut());
    }

    /// Takes what was counted since the last time.
    pub(super) fn take_tally(&self) -> Tally {
        self.tally.take()
    }

    /// Requests that count and are not answered.
    pub(super) fn unanswered(&self) -> u64 {
        self.open.get()
    }

    /// A bell for one more connection.
    pub(super) fn new_bell(&self) -> Rc<Notify> {
        let bell = Rc::new(Notify::new());
        self.bells.borrow_mut().push(Rc::clone(&bell));
        bell
    }

    /// Wakes every connection.
    pub(super) fn ring_all(&self) {
        for bell in self.bells.borrow().iter() {
            // One for who waits now, one for who will.
            bell.notify_waiters();
            bell.notify_one();
        }
    }

    /// Says that one more connection is ready for the run.
    pub(super) fn is_ready(&self) {
        self.ready.set(self.ready.get() + 1);
        self.readiness.notify_one();
    }

    /// How many connections are ready.
    pub(super) fn ready(&self) -> usize {
        self.ready.get()
    }

    /// Counts the bytes of a connection from now on, until what is returned is dropped.
    pub(super) fn register(self: &Rc<Self>, connection: &quinn::Connection) -> Registered {
        let place = self.live.borrow_mut().insert(connection.clone());
        Registered { shared: Rc::clone(self), place }
    }

    /// Bytes of all connections so far.
    pub(super) fn wire_bytes(&self) -> WireBytes {
        let mut sum = self.gone.get();
        self.live.borrow().iter().for_each(|(_, connection)| sum += bytes_of(connection));
        sum
    }
}

/// A connection whose bytes are counted.
pub(super) struct Registered {
    shared: Rc<Shared>,
    place: usize,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let connection = self.shared.live.borrow_mut().remove(self.place);
        let mut gone = self.shared.gone.get();
        gone += bytes_of(&connection);
        self.shared.gone.set(gone);
    }
}

fn bytes_of(connection: &quinn::Connection) -> WireBytes {
    let stats = connection.stats();
    WireBytes { received: stats.udp_rx.bytes, sent: stats.udp_tx.bytes }
}

impl AddAssign for WireBytes {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.sent += other.sent;
    }
}
