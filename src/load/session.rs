//! A session with a router: HELLO, WELCOME, a lane, and what else comes on the connection.

use super::bodies::{self, BodyStream};
use super::shared::{Registered, Shared};
use crate::net::client::Lost;
use crate::net::frames::FrameReader;
use crate::wire::frame::MAX_PAYLOAD;
use crate::wire::lane::{BodyStart, CALL_VERSION};
use crate::wire::session::{
    Assigned, CloseCode, GoawayReason, Hello, Limits, OLDEST_VERSION, Versions, Welcome,
};
use crate::wire::{FrameType, Name};
use bytes::Bytes;
use quinn::{RecvStream, SendStream, VarInt};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How long the router may take to answer HELLO.
const WELCOME_PATIENCE: Duration = Duration::from_secs(4);

/// What others have to say to who runs the lane.
pub(super) enum Message {
    /// A body begins.
    Body(BodyStart, BodyStream),
    /// A body was read; `None` if it broke.
    Received(u64, Option<bodies::Body>),
    /// A request that found no room may be tried again.
    Retry(usize),
    /// The router wants no more requests here.
    Leave,
    /// The peer broke the protocol.
    Violation(String),
}

/// Messages, and the bell that says that there are some.
pub(super) struct Inbox {
    messages: RefCell<Vec<Message>>,
    pub(super) bell: Rc<Notify>,
}

impl Inbox {
    pub(super) fn new(bell: Rc<Notify>) -> Rc<Self> {
        Rc::new(Self { messages: RefCell::default(), bell })
    }

    pub(super) fn put(&self, message: Message) {
        self.messages.borrow_mut().push(message);
        self.bell.notify_one();
    }

    pub(super) fn take(&self) -> Vec<Message> {
        self.messages.take()
    }
}

/// A connection that was welcomed.
pub(super) struct Session {
    pub(super) connection: quinn::Connection,
    pub(super) limits: Limits,
    /// The newest token.
    pub(super) token: Rc<RefCell<Bytes>>,
    session: (SendStream, FrameReader),
}

impl Session {
    /// Says HELLO on a fresh connection, and waits for WELCOME.
    pub(super) async fn greet(
        connection: quinn::Connection,
        pool: Option<Name>,
        token: Option<Bytes>,
    ) -> Result<Self, Lost> {
        let greeting = greet(&connection, pool, token);
        let greeted = tokio::time::timeout(WELCOME_PATIENCE, greeting).await;
        let (welcome, session) =
            greeted.unwrap_or_else(|_| Err(Lost::broken("it does not answer HELLO")))?;
        let token = Rc::new(RefCell::new(welcome.token));
        Ok(Self { connection, limits: welcome.limits, token, session })
    }

    /// Opens a lane, and lets everything that comes beside it go to the inbox.
    pub(super) async fn open_lane(
        self,
        shared: &Rc<Shared>,
        inbox: &Rc<Inbox>,
    ) -> Result<Lane, Lost> {
        let lane = self.connection.open_bi().await?;
        let mut tasks = JoinSet::new();
        let (session_send, frames) = self.session;
        tasks.spawn_local(read_session(frames, self.token, Rc::clone(inbox)));
        tasks.spawn_local(accept_bodies(self.connection.clone(), Rc::clone(inbox)));
        let registered = shared.register(&self.connection);
        Ok(Lane {
            connection: self.connection,
            send: lane.0,
            receive: lane.1,
            tasks,
            _session: session_send,
            _registered: registered,
        })
    }

    /// Ends it, all being well.
    pub(super) fn close(&self) {
        self.connection.close(VarInt::from_u32(CloseCode::Done.code()), b"done");
    }
}

/// A session with its lane open.
pub(super) struct Lane {
    pub(super) connection: quinn::Connection,
    pub(super) send: SendStream,
    pub(super) receive: RecvStream,
    /// Whatever reads beside the lane; ends with it.
    pub(super) tasks: JoinSet<()>,
    /// Open as long as the session is.
    _session: SendStream,
    _registered: Registered,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(CloseCode::Done.code()), b"done");
    }
}

/// Why the connection is gone, where it knows; else `why`.
pub(super) fn lost(connection: &quinn::Connection, why: impl ToString) -> Lost {
    connection.close_reason().map_or_else(|| Lost::broken(why.to_string()), Lost::from)
}

async fn greet(
    connection: &quinn::Connection,
    pool: Option<Name>,
    token: Option<Bytes>,
) -> Result<(Welcome, (SendStream, FrameReader)), Lost> {
    let (mut send, receive) = connection.open_bi().await?;
    let hello = Hello { oldest: OLDEST_VERSION, newest: CALL_VERSION, token, pool };
    let written = send.write_all(hello.encode().bytes()).await;
    written.map_err(|why| lost(connection, why))?;
    let mut frames = FrameReader::new(receive, MAX_PAYLOAD);
    let stranger = "it does not speak this protocol";
    let frame = match frames.next().await {
        Ok(Some(frame)) if frame.kind() == FrameType::Welcome => frame,
        Ok(_) => return Err(lost(connection, stranger)),
        Err(why) => return Err(lost(connection, why)),
    };
    let welcome = Welcome::decode(frame.payload()).map_err(|_| Lost::broken(stranger))?;
    match Versions::ALL.common(welcome.version, welcome.version) {
        Some(_) => Ok((welcome, (send, frames))),
        None => Err(Lost::broken(format!("it speaks version {} only", welcome.version))),
    }
}

async fn read_session(mut frames: FrameReader, token: Rc<RefCell<Bytes>>, inbox: Rc<Inbox>) {
    // The end of the stream is the end of the session, which the lane notices as well.
    while let Ok(Some(frame)) = frames.next().await {
        let read = match frame.kind() {
            FrameType::Assigned => Assigned::decode(frame.payload())
                .map(|assigned| drop(token.replace(assigned.token)))
                .map_err(|why| why.to_string()),
            FrameType::Goaway => GoawayReason::decode(frame.payload())
                .map(|_| inbox.put(Message::Leave))
                .map_err(|why| why.to_string()),
            other => Err(format!("{other:?} on the session stream")),
        };
        if let Err(why) = read {
            return inbox.put(Message::Violation(why));
        }
    }
}

async fn accept_bodies(connection: quinn::Connection, inbox: Rc<Inbox>) {
    let mut starting = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => drop(starting.spawn_local(bodies::start(stream))),
                Err(_) => return,
            },
            Some(Ok(started)) = starting.join_next() => match started {
                Ok(Some((start, body))) => inbox.put(Message::Body(start, body)),
                Ok(None) => {}
                Err(why) => inbox.put(Message::Violation(why.to_owned())),
            },
        }
    }
}
