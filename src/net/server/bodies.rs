//! Bodies on their way to a router, each on a stream of its own.

use super::{RouterLink, Shell};
use crate::node::server::{Link, unmirrored_trailer};
use crate::source::{BodyPieces, Piece, Unmirrored};
use crate::wire::Key;
use crate::wire::http::{Fields, content_end, piece_start};
use crate::wire::lane::BodyStart;
use crate::wire::types::Fingerprinter;
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;

/// How much of a version is handed to the transport at a time.
pub(super) const PIECE: usize = 64 * 1024;
/// How long a router that has just linked may take to open its connection for bodies.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How a body ends that cannot be sent to its end.
const BODY_BROKEN: quinn::VarInt = quinn::VarInt::from_u32(1);

/// Sends bytes as slices of where they are.
pub(super) async fn send(shell: Rc<Shell>, to: Link, start: BodyStart, pieces: Vec<Bytes>) {
    let Some(mut stream) = open(&shell, &to, start).await else {
        return;
    };
    for mut rest in pieces {
        while !rest.is_empty() {
            let piece = rest.split_to(PIECE.min(rest.len()));
            if stream.write_chunk(piece).await.is_err() {
                // The router does not want it any more.
                return;
            }
        }
    }
    // Fails only if the router has gone.
    let _ = stream.finish();
}

/// Sends an item as it is read, then its tag.
pub(super) async fn send_unmirrored(
    shell: Rc<Shell>,
    to: Link,
    request_id: u64,
    key: Key,
    mut item: Unmirrored,
) {
    let Some(mut stream) = open(&shell, &to, BodyStart { request_id, offset: 0 }).await else {
        return;
    };
    let mut pass = Fingerprinter::new(item.headers.as_bytes());
    loop {
        match item.body.next().await {
            Ok(piece) if piece.is_empty() => break,
            Ok(piece) => {
                pass.update(&piece);
                if stream.write_chunk(piece).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%key, %error, "an item broke off while it was read");
                // Fails only if the router has gone.
                let _ = stream.reset(BODY_BROKEN);
                return;
            }
        }
    }
    let trailer = unmirrored_trailer(&key, &pass.finish().digest);
    if stream.write_chunk(trailer).await.is_ok() {
        let _ = stream.finish();
    }
}

/// Sends the content of an answer as it comes. Where the router does not want it any more, the
/// request is given up at its origin.
pub(super) async fn send_open(
    shell: Rc<Shell>,
    to: Link,
    request_id: u64,
    mut body: Box<dyn BodyPieces>,
) {
    let Some(mut stream) = open(&shell, &to, BodyStart { request_id, offset: 0 }).await else {
        return;
    };
    let mut trailers = Fields::default();
    loop {
        let next = tokio::select! {
            next = body.next() => next,
            _ = stream.stopped() => return,
        };
        match next {
            Ok(Piece::Data(bytes)) if bytes.is_empty() => {}
            Ok(Piece::Data(bytes)) => {
                let mut chunks = [piece_start(bytes.len()), bytes];
                if stream.write_all_chunks(&mut chunks).await.is_err() {
                    return;
                }
            }
            Ok(Piece::Trailers(fields)) => trailers = fields,
            Ok(Piece::End) => break,
            Err(error) => {
                tracing::debug!(%error, "the content of an origin's answer broke off");
                // Fails only if the router has gone.
                let _ = stream.reset(BODY_BROKEN);
                return;
            }
        }
    }
    if stream.write_chunk(content_end(&trailers)).await.is_ok() {
        let _ = stream.finish();
    }
}

async fn open(shell: &Rc<Shell>, to: &Link, start: BodyStart) -> Option<quinn::SendStream> {
    let connection = tokio::time::timeout(CONNECT_TIMEOUT, connection(shell, to)).await.ok()??;
    let mut stream = connection.open_uni().await.ok()?;
    let start: Bytes = start.encode().to_bytes();
    stream.write_chunk(start).await.ok()?;
    Some(stream)
}

/// The router's connection for bodies. `None` once the router has gone.
async fn connection(shell: &Rc<Shell>, to: &Link) -> Option<quinn::Connection> {
    loop {
        let connected = shell.body_connected.notified();
        {
            let routers = shell.routers.borrow();
            let RouterLink { member } = routers.get(to)?;
            let connections = shell.body_connections.borrow();
            if let Some(connection) = connections.get(member) {
                return Some(connection.clone());
            }
        }
        connected.await;
    }
}
