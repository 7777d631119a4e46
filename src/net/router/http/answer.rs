//! The answer to an HTTP request, on its way to the client.

use super::client::Going;
use super::io::Feed;
use crate::http::respond::error_answer;
use crate::wire::http::{Fields, FieldsBuilder, HttpAnswer, HttpBody, Piece, PieceReader};
use crate::wire::lane::{ErrorCode, Outcome};
use bytes::Bytes;
use tokio::sync::mpsc;

/// An answer whose head is known.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) fields: Fields,
    pub(super) body: AnswerBody,
}

/// The content of an answer.
pub(super) enum AnswerBody {
    None,
    Whole(Bytes),
    Coming(Box<Coming>),
}

/// Content that is on its way.
pub(super) struct Coming {
    feed: mpsc::Receiver<Feed>,
    how: How,
    going: Option<Going>,
}

/// How the content comes over the backplane.
enum How {
    /// So many bytes as they are; what may follow them is not for HTTP clients.
    Plain { missing: u64 },
    /// In pieces with an end.
    Pieces { reader: PieceReader, rest: Bytes },
}

/// The content broke off.
#[derive(Debug)]
pub(super) struct BrokeOff;

impl Answer {
    /// What a server, or our own machine, said.
    pub(super) fn of(outcome: Outcome, feed: Option<mpsc::Receiver<Feed>>, going: Going) -> Self {
        let HttpAnswer { status, fields, body } = match outcome {
            Outcome::Http(answer) => answer,
            other => {
                going.finish();
                return refused(other);
            }
        };
        let how = match &body {
            HttpBody::Stream { length, .. } => How::Plain { missing: *length },
            _ => How::Pieces { reader: PieceReader::default(), rest: Bytes::new() },
        };
        let body = match (body, feed) {
            (HttpBody::Stream { .. } | HttpBody::Open, Some(feed)) => {
                let coming = Coming { feed, how, going: Some(going) };
                return Self { status, fields, body: AnswerBody::Coming(Box::new(coming)) };
            }
            (HttpBody::Inline(bytes), _) => AnswerBody::Whole(bytes),
            _ => AnswerBody::None,
        };
        going.finish();
        Self { status, fields, body }
    }

    /// Adds a field, if there is room for it.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        let mut builder = FieldsBuilder::from_fields(&self.fields);
        if builder.push(name, value.as_bytes()).is_ok() {
            self.fields = builder.finish();
        }
    }
}

impl Coming {
    /// The next piece.
    pub(super) async fn next(&mut self) -> Result<Piece, BrokeOff> {
        loop {
            match &mut self.how {
                How::Plain { missing: 0 } => return Ok(self.end(Fields::default())),
                How::Plain { missing } => match self.feed.recv().await {
                    Some(Feed::Data(mut bytes)) => {
                        bytes.truncate(usize::try_from(*missing).unwrap_or(usize::MAX));
                        *missing -= bytes.len() as u64;
                        if !bytes.is_empty() {
                            return Ok(Piece::Data(bytes));
                        }
                    }
                    Some(Feed::End) | None => return Err(BrokeOff),
                },
                How::Pieces { reader, rest } => match reader.next(rest) {
                    Ok(Some(Piece::End(trailers))) => return Ok(self.end(trailers)),
                    Ok(Some(piece)) => return Ok(piece),
                    Ok(None) => match self.feed.recv().await {
                        Some(Feed::Data(bytes)) => *rest = bytes,
                        Some(Feed::End) | None => return Err(BrokeOff),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "the content of a server's answer cannot be read");
                        return Err(BrokeOff);
                    }
                },
            }
        }
    }

    fn end(&mut self, trailers: Fields) -> Piece {
        if let Some(going) = self.going.take() {
            going.finish();
        }
        Piece::End(trailers)
    }
}

/// An answer of our own, in words.
pub(super) fn told(status: u16, text: &str) -> Answer {
    let (fields, text) = error_answer(status, text);
    Answer { status, fields, body: AnswerBody::Whole(text) }
}

/// What an answer that is no HTTP answer means to an HTTP client.
fn refused(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Busy { retry_after_ms } => {
            let mut answer = told(503, "all servers are at their capacity: try again later");
            answer.add("retry-after", &retry_after_ms.div_ceil(1000).max(1).to_string());
            answer
        }
        Outcome::FateUnknown => {
            let text = "the server was lost: the request may have been executed, or not";
            told(502, text)
        }
        Outcome::Error { code, text } => match code {
            ErrorCode::Malformed => told(400, &text),
            ErrorCode::NotSupported => told(501, &text),
            ErrorCode::Refused => told(403, &text),
            ErrorCode::Source => told(502, &text),
            ErrorCode::Unavailable => told(504, &text),
        },
        _ => told(502, "the server's answer makes no sense for this request"),
    }
}
