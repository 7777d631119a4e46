//! One HTTP request and its answer, as sources see them that are HTTP origins or act like one.
//!
//! Content passes through in pieces, both ways and at the same time: neither side asks for a piece
//! before it has a place for it, so that a slow reader slows down the writer and nothing else.

use super::SourceError;
use crate::wire::http::{Fields, RequestTarget, Scheme};
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;

/// A request on its way to a source.
///
/// Its fields are those of the client without the ones that are about its connection, with what
/// tells the origin whom it comes from (`forwarded`). `host` and the framing of the content are
/// made anew; a `content-length` is checked against the content.
pub struct ExchangeRequest {
    /// The method, a token; case matters.
    pub method: String,
    /// By which scheme the client came.
    pub scheme: Scheme,
    /// Whom the client asked: host and perhaps port. If it is empty, the source's own is taken.
    pub authority: String,
    /// What for.
    pub target: RequestTarget,
    /// Its fields.
    pub fields: Fields,
    /// Its content.
    pub body: OutgoingBody,
    /// It may be sent again where it is not known what became of it. What is not idempotent is sent
    /// at most once, and so is what has a [`Stream`](OutgoingBody::Stream) for its content, unless
    /// it is certain that the source has seen nothing of it.
    pub idempotent: bool,
}

/// The content of a request.
pub enum OutgoingBody {
    /// There is none.
    Empty,
    /// All of it.
    Whole(Bytes),
    /// As it comes.
    Stream(Box<dyn BodyPieces>),
}

/// The answer to a request.
pub struct ExchangeAnswer {
    /// The final status, 200 to 999.
    pub status: u16,
    /// Its fields, without those that are about the connection. A `content-length` is that of the
    /// content; in an answer to HEAD and in a 304, of what the content would have been.
    pub fields: Fields,
    /// Its content. Dropping it before its end gives the request up, also at the origin.
    pub body: Box<dyn BodyPieces>,
}

/// The content of a message, piece by piece.
pub trait BodyPieces: Send + 'static {
    /// The next piece, once there is one. Not asked again after the end or an error.
    ///
    /// Whoever gives a request's content must fail where its client has gone, for the source waits
    /// for the next piece as long as it takes.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Piece, ExchangeError>> + Send + '_>>;

    /// How many bytes are still to come, if that is known.
    fn length(&self) -> Option<u64> {
        None
    }
}

/// A piece of the content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// Fields that come after the content. Only [`Piece::End`] follows.
    Trailers(Fields),
    /// That was all.
    End,
}

/// Why there is no answer to a request, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The request cannot be passed on as it is. The client's fault; the source has seen nothing.
    #[error("refused: {0}")]
    Refused(String),
    /// The content of the request broke off, or is not as long as the request says. The client's
    /// fault; the source may have seen some of it.
    #[error("the content of the request is not whole: {0}")]
    Content(String),
    /// The source cannot be reached, and has seen nothing of the request.
    #[error("the origin cannot be reached: {0}")]
    Unreachable(String),
    /// The source took too long. It may have executed the request.
    #[error("the origin took too long: {0}")]
    TimedOut(String),
    /// What the source answers is wrong, or breaks off. It may have executed the request.
    #[error("the origin's answer cannot be used: {0}")]
    Broken(String),
}

impl ExchangeError {
    /// The HTTP status that tells a client of it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Refused(_) | Self::Content(_) => 400,
            Self::Unreachable(_) | Self::Broken(_) => 502,
            Self::TimedOut(_) => 504,
        }
    }
}

impl From<ExchangeError> for SourceError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Refused(why) => Self::Refused(why),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Content that is there already: one piece, or none.
#[derive(Debug, Default)]
pub struct WholeBody(Bytes);

impl WholeBody {
    /// Will give these bytes.
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl BodyPieces for WholeBody {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Piece, ExchangeError>> + Send + '_>> {
        let bytes = std::mem::take(&mut self.0);
        let piece = if bytes.is_empty() { Piece::End } else { Piece::Data(bytes) };
        Box::pin(async { Ok(piece) })
    }

    fn length(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn content_that_is_there_is_one_piece() {
        let mut body = WholeBody::new(Bytes::from_static(b"abc"));
        assert_eq!(body.length(), Some(3));
        assert_eq!(body.next().await, Ok(Piece::Data(Bytes::from_static(b"abc"))));
        assert_eq!((body.next().await, body.length()), (Ok(Piece::End), Some(0)));
    }

    #[test]
    fn a_client_is_told_whose_fault_it_was() {
        let why = || "x".to_owned();
        assert_eq!(ExchangeError::Refused(why()).status(), 400);
        assert_eq!(ExchangeError::Broken(why()).status(), 502);
        assert_eq!(ExchangeError::TimedOut(why()).status(), 504);
        let refused = SourceError::from(ExchangeError::Refused(why()));
        assert_eq!(refused, SourceError::Refused(why()));
        let failed = SourceError::from(ExchangeError::Unreachable(why()));
        assert_eq!(failed, SourceError::Failed("the origin cannot be reached: x".to_owned()));
    }
}
