//! The content of a request on its way to the origin.

use super::super::exchange::{BodyPieces, ExchangeError, OutgoingBody, Piece};
use super::head;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

/// How far the content of a request has come, for those who wait for the answer.
#[derive(Debug, Default)]
pub(super) struct Progress {
    awaits_client: AtomicBool,
    is_done: AtomicBool,
    failure: Mutex<Option<ExchangeError>>,
}

impl Progress {
    /// Whether the next piece was asked for and has not come.
    pub(super) fn awaits_client(&self) -> bool {
        self.awaits_client.load(Ordering::Relaxed)
    }

    /// Whether all of it was handed to the connection.
    pub(super) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Relaxed)
    }

    /// Why it broke off.
    pub(super) fn failure(&self) -> Option<ExchangeError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Content as the connection takes it: a piece is asked for when there is room for it.
pub(super) struct Upload {
    feed: Feed,
    /// How many bytes of those that were announced are still to come.
    left: Option<u64>,
    progress: Arc<Progress>,
}

enum Feed {
    Done,
    Whole(Bytes),
    Pieces(Box<dyn BodyPieces>),
    /// The pieces go into the future that asks for one, and come back with it.
    Asked(Pin<Box<dyn Future<Output = Asked> + Send>>),
}

type Asked = (Box<dyn BodyPieces>, Result<Piece, ExchangeError>);

impl Upload {
    /// Content of which `announced` bytes were announced, if a number was.
    pub(super) fn new(
        body: OutgoingBody,
        announced: Option<u64>,
        progress: &Arc<Progress>,
    ) -> Self {
        let feed = match body {
            OutgoingBody::Whole(bytes) if !bytes.is_empty() => Feed::Whole(bytes),
            OutgoingBody::Empty | OutgoingBody::Whole(_) => Feed::Done,
            // The connection does not ask for what it knows to be nothing.
            OutgoingBody::Stream(_) if announced == Some(0) => Feed::Done,
            OutgoingBody::Stream(pieces) => Feed::Pieces(pieces),
        };
        let upload = Self { feed, left: announced, progress: Arc::clone(progress) };
        upload.progress.is_done.store(matches!(upload.feed, Feed::Done), Ordering::Relaxed);
        upload
    }

    fn take(&mut self, bytes: Bytes) -> Result<Frame<Bytes>, ExchangeError> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                ExchangeError::Content("it has more bytes than its content-length".to_owned())
            })?;
            // The connection does not ask again once all that was announced is there.
            if *left == 0 {
                self.end();
            }
        }
        Ok(Frame::data(bytes))
    }

    /// Checks that nothing is missing.
    fn finish(&mut self) -> Result<(), ExchangeError> {
        match self.left {
            None | Some(0) => {
                self.end();
                Ok(())
            }
            Some(left) => {
                let why = format!("it ended {left} bytes before its content-length");
                Err(ExchangeError::Content(why))
            }
        }
    }

    fn end(&mut self) {
        self.feed = Feed::Done;
        self.progress.is_done.store(true, Ordering::Relaxed);
    }

    fn taken(&mut self, piece: Piece) -> Result<Option<Frame<Bytes>>, ExchangeError> {
        match piece {
            Piece::Data(bytes) => self.take(bytes).map(Some),
            Piece::Trailers(fields) => {
                self.finish()?;
                head::trailers(&fields).map(Frame::trailers).map(Some)
            }
            Piece::End => self.finish().map(|()| None),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = ExchangeError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        let this = &mut *self;
        let piece = match std::mem::replace(&mut this.feed, Feed::Done) {
            Feed::Done => return Poll::Ready(None),
            Feed::Whole(bytes) => {
                this.end();
                return Poll::Ready(Some(this.take(bytes)));
            }
            Feed::Pieces(pieces) => {
                this.feed = Feed::Asked(Box::pin(ask(pieces)));
                return self.poll_frame(cx);
            }
            Feed::Asked(mut asked) => {
                let polled = asked.as_mut().poll(cx);
                this.progress.awaits_client.store(polled.is_pending(), Ordering::Relaxed);
                if polled.is_pending() {
                    this.feed = Feed::Asked(asked);
                }
                let (pieces, piece) = ready!(polled);
                this.feed = Feed::Pieces(pieces);
                piece
            }
        };
        let taken = piece.and_then(|piece| this.taken(piece));
        if let Err(error) = &taken {
            this.feed = Feed::Done;
            let mut failure = this.progress.failure.lock().unwrap_or_else(PoisonError::into_inner);
            *failure = Some(error.clone());
        }
        Poll::Ready(taken.transpose())
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.feed, Feed::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.feed, self.left) {
            (Feed::Done, _) => SizeHint::with_exact(0),
            (Feed::Whole(bytes), _) => SizeHint::with_exact(bytes.len() as u64),
            (_, Some(left)) => SizeHint::with_exact(left),
            (_, None) => SizeHint::default(),
        }
    }
}

async fn ask(mut pieces: Box<dyn BodyPieces>) -> Asked {
    let piece = pieces.next().await;
    (pieces, piece)
}
