//! The stream of a request as frames (RFC 9114, sections 4.1 and 7).
//!
//! Bytes go in as they come. Field sections come out whole, because they can only be decoded whole,
//! and are refused by their length when they are too long; content comes out in the pieces in which
//! it came, which nobody copies. So what a stream makes us hold is bounded by one field section.

use super::error::{Code, Error};
use super::partial::{Partial, peek_frame_head};
use bytes::{Buf, Bytes, BytesMut};

/// DATA (RFC 9114, section 7.2.1).
pub const DATA: u64 = 0x00;
/// HEADERS (section 7.2.2).
pub const HEADERS: u64 = 0x01;
/// CANCEL_PUSH (section 7.2.3).
pub const CANCEL_PUSH: u64 = 0x03;
/// SETTINGS (section 7.2.4).
pub const SETTINGS: u64 = 0x04;
/// PUSH_PROMISE (section 7.2.5).
pub const PUSH_PROMISE: u64 = 0x05;
/// GOAWAY (section 7.2.6).
pub const GOAWAY: u64 = 0x07;
/// MAX_PUSH_ID (section 7.2.7).
pub const MAX_PUSH_ID: u64 = 0x0d;
/// PRIORITY_UPDATE of a request (RFC 9218, section 7.2).
pub const PRIORITY_UPDATE_REQUEST: u64 = 0xf0700;
/// PRIORITY_UPDATE of a push.
pub const PRIORITY_UPDATE_PUSH: u64 = 0xf0701;

/// Frames of a request that bring nothing, of unknown types or without content, at the most.
/// Clients send one or two, so that servers keep to passing over them.
pub const MAX_IDLE_FRAMES: u32 = 64;
/// Bytes in frames of unknown types of a request, at the most.
pub const MAX_SKIPPED_BYTES: u64 = 16 * 1024;

/// Whether a type belongs to a frame of HTTP/2 that HTTP/3 has not (RFC 9114, section 7.2.8).
pub(super) const fn is_of_http2(kind: u64) -> bool {
    matches!(kind, 0x02 | 0x06 | 0x08 | 0x09)
}

/// What a request's stream brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The field section of the head.
    Headers(Bytes),
    /// A piece of the content, never empty.
    Data(Bytes),
    /// The field section of the trailers. Nothing comes behind it.
    Trailers(Bytes),
}

/// Reads the stream of one request, or of its answer.
///
/// Give it each chunk, poll until there is no event, and tell it of the end. After an error it has
/// nothing more to say, and is to be dropped.
#[derive(Debug)]
pub struct RequestReader {
    max_section: usize,
    input: Bytes,
    place: Place,
    phase: Phase,
    partial: Partial,
    /// The start of a field section that came in more than one chunk. It grows as bytes come, not
    /// as they are announced: announcing costs a client nothing.
    section: BytesMut,
    idle_frames: u32,
    skipped_bytes: u64,
}

/// Where in a frame the stream is, with what is left of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Head,
    Section(usize),
    Data(u64),
    Skip(u64),
}

/// What has come of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Nothing,
    Head,
    Trailers,
}

impl RequestReader {
    /// A stream of which nothing has come. Field sections of more than `max_section` bytes are
    /// refused: [`super::MAX_FIELD_SECTION_SIZE`] unless there is a reason for another limit.
    pub fn new(max_section: usize) -> Self {
        Self {
            max_section,
            input: Bytes::new(),
            place: Place::Head,
            phase: Phase::Nothing,
            partial: Partial::default(),
            section: BytesMut::new(),
            idle_frames: 0,
            skipped_bytes: 0,
        }
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Panics
    /// If events of the last ones have not been polled.
    pub fn handle_chunk(&mut self, chunk: Bytes) {
        assert!(self.input.is_empty(), "all events are polled before more is read");
        self.input = chunk;
    }

    /// What comes next, or `None` if that has not come.
    ///
    /// # Errors
    /// What RFC 9114, sections 4.1 and 7, say of frames that stand where they may not. A field
    /// section above the limit ends the stream only, and can be answered ([`Error::status`]).
    pub fn poll_event(&mut self) -> Result<Option<Event>, Error> {
        loop {
            match self.place {
                Place::Head => {
                    let peek = |bytes: &[u8]| Ok(peek_frame_head(bytes));
                    let Some((kind, length)) = self.partial.take(&mut self.input, peek)? else {
                        return Ok(None);
                    };
                    self.place = self.enter_frame(kind, length)?;
                }
                Place::Section(left) => return Ok(self.poll_section(left)),
                Place::Data(0) | Place::Skip(0) => self.place = Place::Head,
                _ if self.input.is_empty() => return Ok(None),
                Place::Data(left) => {
                    let size = self.input_within(left);
                    self.place = Place::Data(left - size as u64);
                    return Ok(Some(Event::Data(self.input.split_to(size))));
                }
                Place::Skip(left) => {
                    let size = self.input_within(left);
                    self.place = Place::Skip(left - size as u64);
                    self.input.advance(size);
                }
            }
        }
    }

    /// Ends the stream cleanly.
    ///
    /// # Errors
    /// A frame is cut short, or there was no head.
    ///
    /// # Panics
    /// If events have not been polled.
    pub fn handle_end(&self) -> Result<(), Error> {
        assert!(self.input.is_empty(), "all events are polled before the end");
        let between_frames = matches!(self.place, Place::Head | Place::Data(0) | Place::Skip(0));
        if !between_frames || !self.partial.is_empty() {
            return Err(Error::connection(Code::FrameError, "the last frame is cut short"));
        }
        if self.phase == Phase::Nothing {
            return Err(Error::stream(Code::RequestIncomplete, "there is no head"));
        }
        Ok(())
    }

    /// The head was that of an interim answer (RFC 9110, section 15.2): another one follows.
    pub fn expect_another_head(&mut self) {
        assert!(self.phase == Phase::Head, "it is only known of a head that has come");
        self.phase = Phase::Nothing;
    }

    /// Bytes that the reader holds on to beyond the last call.
    pub fn held_bytes(&self) -> usize {
        self.section.capacity() + self.input.len()
    }

    fn input_within(&self, left: u64) -> usize {
        usize::try_from(left).map_or(self.input.len(), |left| left.min(self.input.len()))
    }

    fn enter_frame(&mut self, kind: u64, length: u64) -> Result<Place, Error> {
        let unexpected = |why| Err(Error::connection(Code::FrameUnexpected, why));
        match (kind, self.phase) {
            (DATA, Phase::Nothing) => unexpected("there is content before the head"),
            (DATA | HEADERS, Phase::Trailers) => unexpected("there is something after trailers"),
            (DATA, Phase::Head) => {
                if length == 0 {
                    self.count_idle_frame(0)?;
                }
                Ok(Place::Data(length))
            }
            (HEADERS, _) => match usize::try_from(length) {
                Ok(length) if length <= self.max_section => Ok(Place::Section(length)),
                _ => Err(Error::stream(Code::ExcessiveLoad, "a field section is too long")),
            },
            (
                CANCEL_PUSH
                | SETTINGS
                | PUSH_PROMISE
                | GOAWAY
                | MAX_PUSH_ID
                | PRIORITY_UPDATE_REQUEST
                | PRIORITY_UPDATE_PUSH,
                _,
            ) => unexpected("a frame does not belong on the stream of a request"),
            _ if is_of_http2(kind) => unexpected("a frame is one of HTTP/2"),
            _ => {
                self.count_idle_frame(length)?;
                Ok(Place::Skip(length))
            }
        }
    }

    /// Counts a frame that brings nothing. A request does not need many: it is the connection that
    /// is at fault, as the next request would be no better.
    fn count_idle_frame(&mut self, length: u64) -> Result<(), Error> {
        self.idle_frames += 1;
        self.skipped_bytes = self.skipped_bytes.saturating_add(length);
        if self.idle_frames > MAX_IDLE_FRAMES || self.skipped_bytes > MAX_SKIPPED_BYTES {
            return Err(Error::connection(Code::ExcessiveLoad, "many frames bring nothing"));
        }
        Ok(())
    }

    fn poll_section(&mut self, left: usize) -> Option<Event> {
        if self.input.len() < left {
            self.section.extend_from_slice(&self.input);
            self.place = Place::Section(left - self.input.len());
            self.input = Bytes::new();
            return None;
        }
        let last = self.input.split_to(left);
        let section = if self.section.is_empty() {
            last
        } else {
            self.section.extend_from_slice(&last);
            std::mem::take(&mut self.section).freeze()
        };
        self.place = Place::Head;
        if self.phase == Phase::Nothing {
            self.phase = Phase::Head;
            Some(Event::Headers(section))
        } else {
            self.phase = Phase::Trailers;
            Some(Event::Trailers(section))
        }
    }
}

/// Compares the content of a message with what its head says of the length (RFC 9114, section
/// 4.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentLength {
    left: Option<u64>,
}

impl ContentLength {
    /// Nothing of the content has come; `None` if its length is not known.
    pub const fn new(declared: Option<u64>) -> Self {
        Self { left: declared }
    }

    /// Counts a piece of the content.
    ///
    /// # Errors
    /// It is too long, by the first byte.
    pub fn handle_data(&mut self, size: usize) -> Result<(), Error> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(size as u64).ok_or(Error::stream(
                Code::MessageError,
                "the content is longer than its length says",
            ))?;
        }
        Ok(())
    }

    /// Ends the content.
    ///
    /// # Errors
    /// It is too short.
    pub const fn handle_end(self) -> Result<(), Error> {
        match self.left {
            None | Some(0) => Ok(()),
            Some(_) => Err(Error::stream(
                Code::MessageError,
                "the content is shorter than its length says",
            )),
        }
    }
}

#[cfg(test)]
mod tests;
