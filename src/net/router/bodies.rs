//! Bodies passed on from servers to clients, piece by piece, without copying.

use super::Shell;
use super::clients::SessionIo;
use super::http::Feed;
use crate::assign::ServerIndex;
use crate::net::frames::FrameReader;
use crate::node::router::{BodyRoute, BodyVerdict};
use crate::wire::FrameType;
use crate::wire::frame::MAX_BACKPLANE_PAYLOAD;
use crate::wire::lane::BodyStart;
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How much is passed on at a time.
const PIECE: usize = 64 * 1024;
/// How long a body may wait for the reply that announces it: they travel on different connections.
const EARLY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take to make room for the next piece.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How a broken-off body ends at the client: it asks again.
pub(super) const BODY_BROKEN: quinn::VarInt = quinn::VarInt::from_u32(1);

/// Accepts bodies of one server until the connection breaks.
pub(super) async fn accept(shell: &Rc<Shell>, from: ServerIndex, bodies: &quinn::Connection) {
    while let Ok(stream) = bodies.accept_uni().await {
        let shell = Rc::clone(shell);
        tokio::task::spawn_local(async move {
            let mut frames = FrameReader::new(stream, MAX_BACKPLANE_PAYLOAD);
            let start = match frames.next().await {
                Ok(Some(frame)) if frame.kind() == FrameType::Body => {
                    BodyStart::decode(frame.payload())
                }
                _ => return,
            };
            if let Ok(start) = start
                && let Some(route) = find_route(&shell, from, start).await
            {
                pass_on(&shell, start.request_id, route, frames).await;
            }
        });
    }
}

/// Where a body goes; waits for the reply that announces it.
async fn find_route(shell: &Rc<Shell>, from: ServerIndex, start: BodyStart) -> Option<BodyRoute> {
    let search = async {
        loop {
            let replied = shell.replied.notified();
            let verdict =
                shell.with(|node, _| node.handle_body(from, start.request_id, start.offset));
            match verdict {
                BodyVerdict::Wanted(route) => return Some(route),
                BodyVerdict::Unwanted => return None,
                BodyVerdict::Early => replied.await,
            }
        }
    };
    tokio::time::timeout(EARLY_TIMEOUT, search).await.ok().flatten()
}

/// A body for which the shell has a client's stream.
pub(super) enum Passing {
    /// A task passes it on, and can be told to stop.
    Active(oneshot::Sender<Stop>),
    /// It broke off at its server, and may go on.
    Suspended(Sink),
}

/// Where a body goes to the client.
pub(super) enum Sink {
    /// A native client's stream.
    Stream(quinn::SendStream),
    /// The front of a client that speaks HTTP.
    Front(mpsc::Sender<Feed>),
}

impl Sink {
    /// Takes all pieces; `false` once the client takes no more.
    async fn write(&mut self, pieces: &mut Vec<Bytes>) -> bool {
        match self {
            Self::Stream(stream) => stream.write_all_chunks(pieces).await.is_ok(),
            Self::Front(front) => {
                for piece in pieces.drain(..) {
                    if front.send(Feed::Data(piece)).await.is_err() {
                        return false;
                    }
                }
                true
            }
        }
    }

    /// That was all.
    async fn finish(self) {
        // Both fail only if the client has gone.
        match self {
            Self::Stream(mut stream) => drop(stream.finish()),
            Self::Front(front) => drop(front.send(Feed::End).await),
        }
    }

    /// The rest does not come.
    fn reset(self) {
        if let Self::Stream(mut stream) = self {
            // Fails only if the client has gone.
            let _ = stream.reset(BODY_BROKEN);
        }
    }
}

/// How passing a body on is stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its server is gone; the client's stream stays open.
    Suspend,
    /// The client's stream is reset.
    Abandon,
}

/// Why a body was not passed on to its end.
enum Broken {
    /// The server does not send the rest.
    AtServer,
    /// The client does not take the rest, or is not to get it.
    AtClient,
}

impl Shell {
    /// Stops passing a body on, or lets go of one that was suspended.
    pub(super) fn stop_body(&self, body: u64, stop: Stop) {
        match self.bodies.borrow_mut().remove(&body) {
            // Fails only if the body has just ended by itself.
            Some(Passing::Active(order)) => drop(order.send(stop)),
            Some(Passing::Suspended(out)) => out.reset(),
            None => {}
        }
    }
}

async fn pass_on(shell: &Rc<Shell>, request_id: u64, route: BodyRoute, frames: FrameReader) {
    let Some((mut out, start)) = open(shell, &route).await else {
        return shell.with(|node, _| node.handle_body_ended(request_id));
    };
    let (order, mut ordered) = oneshot::channel();
    shell.bodies.borrow_mut().insert(route.body, Passing::Active(order));
    let mut passed = 0;
    let ended = pass_pieces(frames, &mut out, start, &mut ordered, &mut passed).await;
    shell.bodies.borrow_mut().remove(&route.body);
    match ended {
        // One that takes nothing does not take the end either.
        Ok(()) => drop(tokio::time::timeout(STALL_TIMEOUT, out.finish()).await),
        Err(Broken::AtClient) => out.reset(),
        Err(Broken::AtServer) => {
            shell.bodies.borrow_mut().insert(route.body, Passing::Suspended(out));
            if !shell.with(|node, now| node.handle_body_broken(now, request_id, passed)) {
                // Given up at the same moment: nobody will ask for the rest.
                shell.stop_body(route.body, Stop::Abandon);
            }
            return;
        }
    }
    shell.with(|node, _| node.handle_body_ended(request_id));
}

/// Where a body goes: where it went before, or to a new stream of the client's, and how that
/// starts.
async fn open(shell: &Rc<Shell>, route: &BodyRoute) -> Option<(Sink, Option<BodyStart>)> {
    if let Some(Passing::Suspended(out)) = shell.bodies.borrow_mut().remove(&route.body) {
        return Some((out, None));
    }
    if route.start.offset > 0 {
        // The stream was kept for a client that has gone meanwhile.
        return None;
    }
    let connection = match shell.sessions.borrow().get(route.session.0)? {
        SessionIo::Http(io, _) => {
            return Some((Sink::Front(io.take_feed(route.start.request_id)?), None));
        }
        io => io.connection()?.clone(),
    };
    Some((Sink::Stream(connection.open_uni().await.ok()?), Some(route.start)))
}

/// Passes on what comes, and counts it in `passed`, until all has come or it is stopped.
async fn pass_pieces(
    frames: FrameReader,
    out: &mut Sink,
    start: Option<BodyStart>,
    stop: &mut oneshot::Receiver<Stop>,
    passed: &mut u64,
) -> Result<(), Broken> {
    let (mut from, first) = frames.into_rest();
    let mut piece: Vec<Bytes> = start.map(|start| start.encode().to_bytes()).into_iter().collect();
    let mut size = first.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
    piece.extend(first);
    loop {
        // Never given up half way: how much was passed on must be known.
        let written = tokio::time::timeout(STALL_TIMEOUT, out.write(&mut piece)).await;
        if !matches!(written, Ok(true)) {
            return Err(Broken::AtClient);
        }
        *passed += size;
        let chunk = tokio::select! {
            biased;
            ordered = &mut *stop => match ordered {
                Ok(Stop::Suspend) => return Err(Broken::AtServer),
                Ok(Stop::Abandon) | Err(_) => return Err(Broken::AtClient),
            },
            chunk = from.read_chunk(PIECE, true) => chunk,
        };
        match chunk {
            Ok(Some(chunk)) => {
                size = chunk.bytes.len() as u64;
                piece = vec![chunk.bytes];
            }
            Ok(None) => return Ok(()),
            Err(_) => return Err(Broken::AtServer),
        }
    }
}
