//! Bodies passed on from servers to clients, piece by piece, without copying.

use super::Shell;
use crate::assign::ServerIndex;
use crate::net::frames::FrameReader;
use crate::node::router::{BodyRoute, BodyVerdict};
use crate::wire::FrameType;
use crate::wire::frame::MAX_BACKPLANE_PAYLOAD;
use crate::wire::lane::BodyStart;
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;

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

async fn pass_on(shell: &Rc<Shell>, request_id: u64, route: BodyRoute, frames: FrameReader) {
    let connection = {
        let sessions = shell.sessions.borrow();
        sessions.get(route.session.0).map(|io| io.connection.clone())
    };
    if let Some(connection) = connection {
        let (stop, mut stopped) = oneshot::channel();
        shell.bodies.borrow_mut().insert(request_id, stop);
        if let Ok(mut out) = connection.open_uni().await {
            let (from, first) = frames.into_rest();
            let pieces = pass_pieces(from, &mut out, route.start, first);
            let whole = tokio::select! {
                whole = pieces => whole,
                _ = &mut stopped => false,
            };
            // Both fail only if the client has gone.
            if whole {
                let _ = out.finish();
            } else {
                let _ = out.reset(BODY_BROKEN);
            }
        }
        shell.bodies.borrow_mut().remove(&request_id);
    }
    shell.with(|node, _| node.handle_body_ended(request_id));
}

/// `true` when all of it was passed on.
async fn pass_pieces(
    mut from: quinn::RecvStream,
    out: &mut quinn::SendStream,
    start: BodyStart,
    first: Vec<Bytes>,
) -> bool {
    let mut piece = vec![start.encode().to_bytes()];
    piece.extend(first);
    loop {
        let written = tokio::time::timeout(STALL_TIMEOUT, out.write_all_chunks(&mut piece)).await;
        if !matches!(written, Ok(Ok(()))) {
            return false;
        }
        match from.read_chunk(PIECE, true).await {
            Ok(Some(chunk)) => piece = vec![chunk.bytes],
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}
