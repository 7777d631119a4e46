//! The shell's side of one HTTP session: who waits for which reply.

use crate::node::router::SessionId;
use crate::wire::lane::{Outcome, Reply, has_streamed_body};
use crate::wire::session::{Assigned, Welcome};
use crate::wire::{ClientId, Frame, FrameType};
use bytes::Bytes;
use hashbrown::HashMap;
use std::cell::{Cell, RefCell};
use tokio::sync::{Notify, mpsc, oneshot};

/// Pieces of one body that wait for the client, at the most; each is at most 64 KiB.
const FEED_PIECES: usize = 4;

/// A part of a body that is passed on to the front.
#[derive(Debug)]
pub(in crate::net::router) enum Feed {
    /// Bytes.
    Data(Bytes),
    /// That was all. What ends without it has broken off.
    End,
}

/// A reply, and the way on which its body comes if it has a stream of its own.
pub(super) struct Answered {
    pub(super) outcome: Outcome,
    pub(super) feed: Option<mpsc::Receiver<Feed>>,
}

/// Where the content of a request is to be sent: the connection for bodies of the server's worker
/// that has taken it, and its number there.
pub(in crate::net::router) struct Taken {
    pub(in crate::net::router) connection: quinn::Connection,
    pub(in crate::net::router) number: u64,
}

/// Who waits for something.
#[derive(Default)]
struct Waiting {
    replies: HashMap<u64, oneshot::Sender<Answered>>,
    feeds: HashMap<u64, mpsc::Sender<Feed>>,
    contents: HashMap<u64, oneshot::Sender<Taken>>,
}

/// The shell's side of one HTTP session.
#[derive(Default)]
pub(in crate::net::router) struct HttpIo {
    waiting: RefCell<Waiting>,
    session: Cell<Option<SessionId>>,
    client: Cell<Option<ClientId>>,
    /// The newest token, sealed.
    token: RefCell<Option<Bytes>>,
    welcomed: Cell<bool>,
    closed: Cell<bool>,
    changed: Notify,
}

impl HttpIo {
    pub(super) fn set_session(&self, session: SessionId) {
        self.session.set(Some(session));
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        self.session.get()
    }

    #[allow(dead_code, reason = "what says who asks comes later")]
    pub(super) fn client(&self) -> Option<ClientId> {
        self.client.get()
    }

    pub(super) fn token(&self) -> Option<Bytes> {
        self.token.borrow().clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Waits until requests may be made; `false` if that will not be.
    pub(super) async fn may_ask(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            if self.closed.get() || self.welcomed.get() {
                return !self.closed.get();
            }
            changed.await;
        }
    }

    /// Has a reply go to whoever waits on what this returns.
    pub(super) fn expect(&self, id: u64) -> oneshot::Receiver<Answered> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().replies.insert(id, sender);
        receiver
    }

    /// The same for word that the content of a request is wanted.
    pub(super) fn expect_taken(&self, id: u64) -> oneshot::Receiver<Taken> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().contents.insert(id, sender);
        receiver
    }

    /// Nobody waits for anything of this request any more.
    pub(super) fn forget(&self, id: u64) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.replies.remove(&id);
        waiting.feeds.remove(&id);
        waiting.contents.remove(&id);
    }

    pub(in crate::net::router) fn welcome(&self) {
        self.welcomed.set(true);
        self.changed.notify_waiters();
    }

    pub(in crate::net::router) fn close(&self) {
        self.closed.set(true);
        *self.waiting.borrow_mut() = Waiting::default();
        self.changed.notify_waiters();
    }

    pub(in crate::net::router) fn take_feed(&self, id: u64) -> Option<mpsc::Sender<Feed>> {
        self.waiting.borrow_mut().feeds.remove(&id)
    }

    pub(in crate::net::router) fn content_wanted(&self, id: u64, taken: Taken) {
        if let Some(waiting) = self.waiting.borrow_mut().contents.remove(&id) {
            // Fails only if the client has gone.
            let _ = waiting.send(taken);
        }
    }

    /// A frame came for the session or one of its requests.
    pub(in crate::net::router) fn take_frame(&self, frame: &Frame) {
        match frame.kind() {
            FrameType::Welcome => {
                if let Ok(welcome) = Welcome::decode(frame.payload()) {
                    self.client.set(Some(welcome.client));
                    self.token.replace(Some(welcome.token));
                }
            }
            FrameType::Assigned => {
                if let Ok(assigned) = Assigned::decode(frame.payload()) {
                    self.token.replace(Some(assigned.token));
                }
            }
            FrameType::Goaway => {}
            _ => match Reply::decode(frame) {
                Ok(reply) => self.take_reply(frame, reply),
                Err(error) => {
                    tracing::warn!(%error, "a server's reply cannot be read");
                    if let Ok(id) = frame.request_id() {
                        self.forget(id);
                    }
                }
            },
        }
    }

    fn take_reply(&self, frame: &Frame, Reply { request_id, outcome }: Reply) {
        let mut waiting = self.waiting.borrow_mut();
        let Some(sender) = waiting.replies.remove(&request_id) else {
            // The body that was announced will not come to its end.
            waiting.feeds.remove(&request_id);
            return;
        };
        let feed = has_streamed_body(frame).then(|| {
            let (sender, receiver) = mpsc::channel(FEED_PIECES);
            waiting.feeds.insert(request_id, sender);
            receiver
        });
        // Fails only if the client has gone.
        let _ = sender.send(Answered { outcome, feed });
    }
}
