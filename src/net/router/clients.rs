//! Connections of clients.

use super::http::HttpIo;
use super::{Shell, http};
use crate::net::backplane;
use crate::net::frames::{FrameReader, ReadFrameError};
use crate::net::outbox::Outbox;
use crate::node::router::{LaneId, SessionId};
use crate::wire::frame::MAX_PAYLOAD;
use crate::wire::session::CloseCode;
use crate::wire::{DecodeError, Frame};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long a client may take from its first packet to its HELLO.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Lanes that a client may open in the life of a session: each leaves a little behind.
const MAX_LANES: LaneId = 4096;
/// How long a refused client has to read why.
const CLOSE_DELAY: Duration = Duration::from_millis(50);

/// The sending side of one session.
pub(super) enum SessionIo {
    /// Of a native client.
    Native(NativeIo),
    /// Of one that speaks HTTP; a connection that is QUIC is its own.
    Http(Rc<HttpIo>, Option<quinn::Connection>),
}

/// The sending side of a native client's session.
pub(super) struct NativeIo {
    connection: quinn::Connection,
    first: Outbox,
    /// By their numbers, from 1.
    lanes: Vec<Outbox>,
    welcomed: Rc<Notify>,
}

impl SessionIo {
    /// Sends a frame for the session. Returns what is to be flushed for it.
    pub(super) fn push_first(&self, frame: &Frame) -> Option<Outbox> {
        match self {
            Self::Native(io) => io.first.push(frame).then(|| io.first.clone()),
            Self::Http(io, _) => {
                io.take_frame(frame);
                None
            }
        }
    }

    /// Sends a frame on a lane. Returns what is to be flushed for it.
    pub(super) fn push_lane(&self, lane: LaneId, frame: &Frame) -> Option<Outbox> {
        match self {
            Self::Native(io) => {
                let outbox = io.lanes.get(usize::try_from(lane).ok()?.checked_sub(1)?)?;
                outbox.push(frame).then(|| outbox.clone())
            }
            Self::Http(io, _) => {
                io.take_frame(frame);
                None
            }
        }
    }

    /// Requests may come from now on.
    pub(super) fn welcome(&self) {
        match self {
            Self::Native(io) => io.welcomed.notify_one(),
            Self::Http(io, _) => io.welcome(),
        }
    }

    /// The connection, if it is QUIC.
    pub(super) fn connection(&self) -> Option<&quinn::Connection> {
        match self {
            Self::Native(io) => Some(&io.connection),
            Self::Http(_, connection) => connection.as_ref(),
        }
    }

    /// No more comes for this session.
    pub(super) fn say_goodbye(&self, goaway: &Frame) {
        match self {
            Self::Native(io) => {
                io.first.push(goaway);
                io.first.close();
            }
            Self::Http(io, _) => io.take_frame(goaway),
        }
    }

    /// Lets what was written last reach the client, then closes. A client that speaks HTTP may
    /// begin another session on its connection.
    pub(super) async fn close(self, code: CloseCode, reason: String) {
        match self {
            Self::Native(io) => {
                // The stream stays open meanwhile: its end would be all that the client learns.
                tokio::time::sleep(CLOSE_DELAY).await;
                backplane::close(&io.connection, code, &reason);
            }
            Self::Http(io, _) => io.close(),
        }
    }
}

/// Accepts clients until the endpoint closes.
pub(super) async fn accept(shell: Rc<Shell>, endpoint: quinn::Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let Some(admitted) = shell.door.admit(&endpoint, incoming) else {
            continue;
        };
        let shell = Rc::clone(&shell);
        tokio::task::spawn_local(async move {
            if let Some(connection) = admitted.await
                && let Err(error) = serve(shell, connection).await
            {
                tracing::debug!(%error, "a client's connection ended");
            }
        });
    }
}

/// Why a client's connection ended early.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
    #[error("no HELLO within {HELLO_TIMEOUT:?}")]
    Silent,
}

/// A session that ends with the task that serves it, in whatever way that ends.
struct Serving {
    shell: Rc<Shell>,
    session: SessionId,
    connection: quinn::Connection,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shell.gone.borrow_mut().add_connection(&self.connection.stats());
        self.shell.sessions.borrow_mut().remove(self.session.0);
        self.shell.with(|node, now| node.handle_disconnected(now, self.session));
        // Already closed, unless the task panicked.
        backplane::close(&self.connection, CloseCode::Shutdown, "the router failed");
    }
}

async fn serve(shell: Rc<Shell>, connection: quinn::Connection) -> Result<(), SessionError> {
    if http::is_http3(&connection) {
        http::serve(shell, connection).await;
        return Ok(());
    }
    let Ok(first) = tokio::time::timeout(HELLO_TIMEOUT, connection.accept_bi()).await else {
        backplane::close(&connection, CloseCode::ProtocolViolation, "no HELLO came in time");
        return Err(SessionError::Silent);
    };
    let (send, receive) = first?;
    let first = Outbox::by_flush(send);
    let welcomed = Rc::new(Notify::new());
    let io = SessionIo::Native(NativeIo {
        connection: connection.clone(),
        first,
        lanes: Vec::new(),
        welcomed: Rc::clone(&welcomed),
    });
    let pool = shell.pools.of_connection(&connection);
    let session = shell.with(|node, _| node.handle_connected_for(pool));
    shell.sessions.borrow_mut().insert(session.0, io);
    let _serving = Serving { shell: Rc::clone(&shell), session, connection: connection.clone() };
    tokio::select! {
        () = read_session(&shell, session, receive, &connection) => {}
        () = accept_lanes(&shell, session, &connection, &welcomed) => {}
        _ = connection.closed() => {}
    }
    // Whatever ended first, the session is over; a connection that is not closed yet closes now.
    Ok(())
}

/// Reads the session stream; returns only when the session must end.
async fn read_session(
    shell: &Rc<Shell>,
    session: SessionId,
    receive: quinn::RecvStream,
    connection: &quinn::Connection,
) {
    let mut frames = FrameReader::new(receive, MAX_PAYLOAD);
    loop {
        let first = match shell.sessions.borrow().get(session.0) {
            Some(SessionIo::Native(io)) => Some(io.first.clone()),
            _ => None,
        };
        if let Some(first) = first {
            // A client that asks on and on, and reads no answer, is asked to wait.
            first.low_water().await;
        }
        match frames.next().await {
            Ok(Some(frame)) => {
                shell.with(|node, now| node.handle_session_frame(now, session, &frame));
            }
            Ok(None) => break,
            Err(error) => return backplane::refuse(connection, &error),
        }
    }
    // A client may finish its side of the stream; the session lives as long as the connection.
    std::future::pending().await
}

/// Accepts lanes once the client is welcome.
async fn accept_lanes(
    shell: &Rc<Shell>,
    session: SessionId,
    connection: &quinn::Connection,
    welcomed: &Notify,
) {
    welcomed.notified().await;
    let mut number: LaneId = 0;
    while let Ok((send, receive)) = connection.accept_bi().await {
        if number == MAX_LANES {
            let reason = format!("a session opens at most {MAX_LANES} lanes");
            return backplane::close(connection, CloseCode::ProtocolViolation, &reason);
        }
        number += 1;
        let outbox = Outbox::by_flush(send);
        if let Some(SessionIo::Native(io)) = shell.sessions.borrow_mut().get_mut(session.0) {
            io.lanes.push(outbox.clone());
        }
        let (shell, mut guard) = (Rc::clone(shell), ClosesUnlessDone(Some(connection.clone())));
        tokio::task::spawn_local(async move {
            let ended = read_lane(&shell, (session, number), receive, &outbox).await;
            let connection = guard.0.take();
            if let (Err(error), Some(connection)) = (ended, connection) {
                backplane::refuse(&connection, &error);
            }
        });
    }
}

/// Lets a panic in a lane's task end its connection, so that the client does not wait for nothing;
/// other connections go on.
struct ClosesUnlessDone(Option<quinn::Connection>);

impl Drop for ClosesUnlessDone {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            backplane::close(connection, CloseCode::Shutdown, "the router failed");
        }
    }
}

async fn read_lane(
    shell: &Rc<Shell>,
    (session, lane): (SessionId, LaneId),
    receive: quinn::RecvStream,
    outbox: &Outbox,
) -> Result<(), ReadFrameError> {
    let mut frames = FrameReader::new(receive, MAX_PAYLOAD);
    while frames.fill().await? {
        outbox.low_water().await;
        #[cfg(test)]
        assert!(!shell.is_doomed(session), "as a test wants");
        // All that has been read, in one turn of the machine.
        shell.with(|node, now| {
            while let Some(frame) = frames.buffered()? {
                node.handle_lane_frame(now, session, lane, frame);
            }
            Ok::<_, DecodeError>(())
        })?;
    }
    if frames.is_cut_short() { Err(ReadFrameError::CutShort) } else { Ok(()) }
}
