//! The content of an answer as it comes.

use super::super::exchange::{BodyPieces, ExchangeError, Piece};
use super::head;
use super::line::{Line, Patience, broken};
use super::pool::Pool;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use std::pin::Pin;
use std::sync::Arc;

/// Reads an answer to its end and gives its connection back; dropped before, it closes that.
pub(super) struct AnswerBody {
    incoming: Incoming,
    /// How many bytes of those that were announced are still to come.
    left: Option<u64>,
    patience: Patience,
    /// Until the end, or an error.
    line: Option<Line>,
    pool: Arc<Pool>,
}

impl AnswerBody {
    pub(super) fn new(
        incoming: Incoming,
        length: Option<u64>,
        patience: Patience,
        line: Line,
        pool: Arc<Pool>,
    ) -> Self {
        Self { incoming, left: length, patience, line: Some(line), pool }
    }

    /// Cancel-safe: what was not handed out is still there.
    async fn piece(&mut self) -> Result<Piece, ExchangeError> {
        while self.line.is_some() {
            let frame = self.patience.wait(self.incoming.frame(), "it has not gone on").await;
            let piece = match frame {
                Ok(Some(Ok(frame))) => self.taken(frame),
                Ok(Some(Err(error))) => Err(broken(&error, self.patience.progress())),
                Ok(None) => return self.end().await,
                Err(late) => Err(late),
            };
            match piece {
                Ok(Some(piece)) => return Ok(piece),
                Ok(None) => {}
                Err(error) => {
                    self.line = None;
                    return Err(error);
                }
            }
        }
        Ok(Piece::End)
    }

    fn taken(&mut self, frame: Frame<Bytes>) -> Result<Option<Piece>, ExchangeError> {
        let frame = match frame.into_data() {
            Ok(bytes) => {
                if let Some(left) = &mut self.left {
                    let rest = left.checked_sub(bytes.len() as u64);
                    *left = rest.ok_or_else(|| wrong_length("more"))?;
                }
                return Ok((!bytes.is_empty()).then_some(Piece::Data(bytes)));
            }
            Err(frame) => frame,
        };
        match frame.into_trailers() {
            Ok(trailers) => {
                let fields = head::incoming_trailers(&trailers)?;
                Ok((!fields.is_empty()).then_some(Piece::Trailers(fields)))
            }
            Err(_) => Ok(None),
        }
    }

    async fn end(&mut self) -> Result<Piece, ExchangeError> {
        let line = self.line.take();
        if self.left.is_some_and(|left| left > 0) {
            return Err(wrong_length("fewer"));
        }
        if let Some(line) = line {
            self.pool.give(line, self.patience.progress()).await;
        }
        Ok(Piece::End)
    }
}

fn wrong_length(how: &str) -> ExchangeError {
    ExchangeError::Broken(format!("it has {how} bytes than its content-length"))
}

impl BodyPieces for AnswerBody {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Piece, ExchangeError>> + Send + '_>> {
        Box::pin(self.piece())
    }

    fn length(&self) -> Option<u64> {
        self.left
    }
}
