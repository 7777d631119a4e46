//! The content of requests, on its way from routers to the origin.

use super::super::{Shell, bodies};
use crate::net::frames::FrameReader;
use crate::source::{BodyPieces, ExchangeError, Piece};
use crate::wire::frame::MAX_BACKPLANE_PAYLOAD;
use crate::wire::http::{self, PieceReader};
use crate::wire::lane::BodyStart;
use crate::wire::{FrameType, Name};
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use tokio::sync::oneshot;

/// Contents of requests that one router may send at one time.
const MAX_CONTENTS: u32 = 1024;
/// The stream on which the content of a request comes.
pub(in crate::net::server) type ContentStream = FrameReader;

pub(super) type NextPiece<'a> =
    Pin<Box<dyn Future<Output = Result<Piece, ExchangeError>> + Send + 'a>>;

/// The content of a request, on its way from a router.
pub(super) enum Content {
    /// Its stream has not come.
    Announced(oneshot::Receiver<ContentStream>),
    /// It comes.
    Coming { stream: quinn::RecvStream, chunks: VecDeque<Bytes>, reader: PieceReader },
    /// Its trailers were given: nothing follows.
    Ended,
}

impl Content {
    async fn next_piece(&mut self) -> Result<Piece, ExchangeError> {
        let broken = |why: &str| ExchangeError::Content(why.to_owned());
        loop {
            match self {
                Self::Announced(stream) => {
                    let frames = stream.await.map_err(|_| broken("its router is gone"))?;
                    let (stream, first) = frames.into_rest();
                    let (chunks, reader) = (first.into(), PieceReader::default());
                    *self = Self::Coming { stream, chunks, reader };
                }
                Self::Coming { stream, chunks, reader } => {
                    if let Some(bytes) = chunks.front_mut() {
                        match reader.next(bytes).map_err(|error| broken(&error.to_string()))? {
                            Some(http::Piece::Data(bytes)) => return Ok(Piece::Data(bytes)),
                            Some(http::Piece::End(trailers)) => {
                                *self = Self::Ended;
                                if !trailers.is_empty() {
                                    return Ok(Piece::Trailers(trailers));
                                }
                            }
                            None => drop(chunks.pop_front()),
                        }
                        continue;
                    }
                    let chunk = stream.read_chunk(bodies::PIECE, true).await;
                    let chunk = chunk.map_err(|_| broken("the client gave up"))?;
                    chunks.push_back(chunk.ok_or_else(|| broken("it is cut short"))?.bytes);
                }
                Self::Ended => return Ok(Piece::End),
            }
        }
    }
}

impl BodyPieces for Content {
    fn next(&mut self) -> NextPiece<'_> {
        Box::pin(self.next_piece())
    }
}

/// Takes the contents of requests that one router sends, until the connection breaks.
pub(in crate::net::server) async fn accept_contents(
    shell: &Rc<Shell>,
    router: &(Name, u64, u64),
    connection: &quinn::Connection,
) {
    connection.set_max_concurrent_uni_streams(quinn::VarInt::from_u32(MAX_CONTENTS));
    while let Ok(stream) = connection.accept_uni().await {
        let (shell, router) = (Rc::clone(shell), router.clone());
        tokio::task::spawn_local(async move {
            let mut frames = FrameReader::new(stream, MAX_BACKPLANE_PAYLOAD);
            let start = match frames.next().await {
                Ok(Some(frame)) if frame.kind() == FrameType::Body => {
                    BodyStart::decode(frame.payload()).ok()
                }
                _ => None,
            };
            let Some(start) = start else {
                return;
            };
            let links = shell.routers.borrow();
            let link = links.iter().find(|(_, link)| link.member == router).map(|(link, _)| link);
            let place = link.map(|link| (link.clone(), start.request_id));
            drop(links);
            let wanted = place.and_then(|place| shell.contents.borrow_mut().remove(&place));
            if let Some(wanted) = wanted {
                // Fails only if the exchange has ended.
                let _ = wanted.send(frames);
            }
        });
    }
}
