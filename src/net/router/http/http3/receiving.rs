//! The receiving side of a request's stream: its head, and its content piece by piece.

use super::super::content::{Broken, Pieces};
use super::close;
use crate::h3::message::decode_trailers;
use crate::h3::{
    Code, ContentLength, Error, Event, Limits, MAX_FIELD_SECTION_SIZE, RequestReader, Scope,
};
use crate::wire::http::{Fields, Piece};
use bytes::Bytes;
use quinn::{Connection, RecvStream};
use std::future::Future;
use std::pin::Pin;

/// How much is read from a stream at a time.
pub(super) const CHUNK: usize = 64 * 1024;
/// The client took its request back, or is gone.
pub(super) const TAKEN_BACK: Error =
    Error::stream(Code::RequestCancelled, "the client does not want it");

/// The receiving side of a request's stream.
pub(super) struct Receiving {
    stream: RecvStream,
    reader: RequestReader,
    length: ContentLength,
    has_ended: bool,
    /// They came, and the end of the stream has not.
    trailers: Fields,
    /// What ends if the client breaks a rule in the middle of the content.
    connection: Connection,
}

impl Receiving {
    pub(super) fn new(stream: RecvStream, connection: &Connection) -> Self {
        let reader = RequestReader::new(MAX_FIELD_SECTION_SIZE);
        let (length, connection) = (ContentLength::new(None), connection.clone());
        Self { stream, reader, length, has_ended: false, trailers: Fields::default(), connection }
    }

    /// The head has said how long the content is.
    pub(super) fn expect(&mut self, length: Option<u64>) {
        self.length = ContentLength::new(length);
    }

    /// Reads no more.
    pub(super) fn stop(&mut self, code: quinn::VarInt) {
        if !self.has_ended {
            // Fails only if it has ended.
            let _ = self.stream.stop(code);
        }
    }

    /// The next event; `None` at the end of the stream.
    async fn event(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.reader.poll_event()? {
                return Ok(Some(event));
            }
            match self.stream.read_chunk(CHUNK, true).await {
                Ok(Some(chunk)) => self.reader.handle_chunk(chunk.bytes),
                Ok(None) => {
                    self.has_ended = true;
                    self.reader.handle_end()?;
                    return Ok(None);
                }
                Err(_) => return Err(TAKEN_BACK),
            }
        }
    }

    /// The field section of the head.
    pub(super) async fn section(&mut self) -> Result<Bytes, Error> {
        match self.event().await? {
            Some(Event::Headers(section)) => Ok(section),
            _ => Err(Error::stream(Code::RequestIncomplete, "there is no head")),
        }
    }

    async fn piece(&mut self) -> Result<Piece, Error> {
        match self.event().await? {
            Some(Event::Data(bytes)) => {
                self.length.handle_data(bytes.len())?;
                Ok(Piece::Data(bytes))
            }
            Some(Event::Trailers(section)) => {
                self.trailers = decode_trailers(&section, Limits::default())?;
                // Only what may not come could come behind them.
                while self.event().await?.is_some() {}
                self.length.handle_end()?;
                Ok(Piece::End(std::mem::take(&mut self.trailers)))
            }
            Some(Event::Headers(_)) | None => {
                self.length.handle_end()?;
                Ok(Piece::End(std::mem::take(&mut self.trailers)))
            }
        }
    }
}

impl Pieces for Receiving {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Piece, Broken>> + '_>> {
        Box::pin(async {
            self.piece().await.map_err(|error| match error {
                TAKEN_BACK => Broken::Gone,
                error => {
                    if error.scope == Scope::Connection {
                        close(&self.connection, &error);
                    }
                    Broken::Malformed
                }
            })
        })
    }
}
