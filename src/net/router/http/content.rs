//! The content of requests: in the frame if it is short, else on a stream to the server that has
//! taken the request.

use super::io::Taken;
use super::within::within;
use crate::wire::http::{Piece, content_end, piece_start};
use crate::wire::lane::BodyStart;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a client may take for the next piece of its content.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long is waited for each piece of content that may be short, before the server is told of the
/// request without it.
const SHORT_WAIT: Duration = Duration::from_millis(5);
/// How content ends at a server that does not come to its end.
const CONTENT_BROKEN: quinn::VarInt = quinn::VarInt::from_u32(1);

/// Why content does not come to its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client is gone, or took its request back.
    Gone,
    /// It did not come in time.
    Stalled,
    /// It is not what was announced, or breaks a rule.
    Malformed,
}

/// Content that comes piece by piece.
pub(super) trait Pieces {
    /// The next one.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Piece, Broken>> + '_>>;
}

/// The content of a request.
pub(super) enum Content {
    /// There is none.
    None,
    /// This.
    Whole(Bytes),
    /// As it comes.
    Pieces(Box<dyn Pieces>),
}

/// The next piece, if it comes in time.
async fn next_in_time(pieces: &mut dyn Pieces) -> Result<Piece, Broken> {
    within(STALL_TIMEOUT, pieces.next()).await.unwrap_or(Err(Broken::Stalled))
}

/// Takes content of which `length` bytes are announced: all of it, if it fits into `room` bytes
/// and, where no length is announced, comes at once.
pub(super) async fn take(
    mut pieces: Box<dyn Pieces>,
    length: Option<u64>,
    room: usize,
) -> Result<Content, Broken> {
    if length.is_some_and(|length| length > room as u64) {
        return Ok(Content::Pieces(pieces));
    }
    let patience = if length.is_some() { STALL_TIMEOUT } else { SHORT_WAIT };
    let mut begun = VecDeque::new();
    let mut size = 0;
    let is_whole = loop {
        match within(patience, pieces.next()).await {
            Ok(Ok(Piece::Data(bytes))) => {
                size += bytes.len();
                begun.push_back(Piece::Data(bytes));
            }
            Ok(Ok(Piece::End(trailers))) if trailers.is_empty() => break true,
            Ok(Ok(end)) => {
                begun.push_back(end);
                break false;
            }
            Ok(Err(broken)) => return Err(broken),
            Err(_) if length.is_some() => return Err(Broken::Stalled),
            Err(_) => break false,
        }
        if size > room {
            break false;
        }
    };
    if !is_whole {
        return Ok(Content::Pieces(Box::new(Begun { begun, rest: pieces })));
    }
    let mut whole = BytesMut::with_capacity(size);
    for piece in begun {
        if let Piece::Data(bytes) = piece {
            whole.extend_from_slice(&bytes);
        }
    }
    Ok(Content::Whole(whole.freeze()))
}

/// Content of which some has been taken already.
struct Begun {
    begun: VecDeque<Piece>,
    rest: Box<dyn Pieces>,
}

impl Pieces for Begun {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Piece, Broken>> + '_>> {
        match self.begun.pop_front() {
            Some(piece) => Box::pin(async { Ok(piece) }),
            None => self.rest.next(),
        }
    }
}

/// Sends content to the server that takes the request, once one has.
pub(super) async fn send_content(mut pieces: Box<dyn Pieces>, taken: oneshot::Receiver<Taken>) {
    let Ok(Taken { connection, number }) = taken.await else {
        return;
    };
    let Ok(mut stream) = connection.open_uni().await else {
        return;
    };
    let start = BodyStart { request_id: number, offset: 0 }.encode().to_bytes();
    let mut chunks = vec![start];
    loop {
        if stream.write_all_chunks(&mut chunks).await.is_err() {
            // The server wants no more of it.
            return;
        }
        match next_in_time(&mut *pieces).await {
            Ok(Piece::Data(bytes)) => chunks = vec![piece_start(bytes.len()), bytes],
            Ok(Piece::End(trailers)) => {
                let end = stream.write_chunk(content_end(&trailers)).await;
                if end.is_ok() {
                    // Fails only if the server wants no more.
                    let _ = stream.finish();
                }
                return;
            }
            Err(why) => {
                tracing::debug!(?why, "the content of a request broke off");
                // Fails only if the server wants no more.
                let _ = stream.reset(CONTENT_BROKEN);
                return;
            }
        }
    }
}
