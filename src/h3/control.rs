//! Streams that go one way (RFC 9114, section 6.2; RFC 9204, section 4.2).
//!
//! A connection has one [`Peer`], what its streams share, and one [`UniReader`] for each stream
//! that the peer opened. Of those there can be three that matter: control, and the two of QPACK.
//! All others are to be refused with STOP_SENDING.

pub use super::peer::{
    BYTES_PER_FRAME, CONTROL_BUDGET, CONTROL_FRAMES_PER_REQUEST, ControlEvent, MAX_PRIORITY, Peer,
    Role,
};

use super::error::{Code, Error};
use super::frames::GOAWAY;
use super::integer::{IntegerTooLarge, peek_integer};
use super::partial::{Partial, peek_frame_head};
use super::peer::{Kind, Place, STREAM_CONTROL};
use super::qpack::MAX_FIELD_SECTION_SIZE;
use super::settings::Settings;
use crate::wire::codec::{peek_varint, put};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Reads one stream that the peer opened and that goes one way.
///
/// Give it each chunk, poll until there is no event, and tell it of the end. After an error, the
/// connection is to be closed.
#[derive(Debug, Default)]
pub struct UniReader {
    kind: Kind,
    input: Bytes,
    partial: Partial,
    /// The start of a payload that came in more than one chunk.
    payload: BytesMut,
}

impl UniReader {
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
    /// All of them end the connection.
    pub fn poll_event(&mut self, peer: &mut Peer) -> Result<Option<ControlEvent>, Error> {
        loop {
            match self.kind {
                Kind::Unknown => {
                    let peek = |bytes: &[u8]| Ok(peek_varint(bytes));
                    let Some(stream_type) = self.partial.take(&mut self.input, peek)? else {
                        return Ok(None);
                    };
                    self.kind = peer.open(stream_type)?;
                    if self.kind == Kind::Ignored {
                        return Ok(Some(ControlEvent::Ignore));
                    }
                }
                Kind::Ignored => {
                    self.input = Bytes::new();
                    return Ok(None);
                }
                Kind::Control(place) => {
                    let (place, event) = match self.step(place, peer)? {
                        Some(step) => step,
                        None => return Ok(None),
                    };
                    self.kind = Kind::Control(place);
                    if event.is_some() {
                        return Ok(event);
                    }
                }
                Kind::Encoder | Kind::Decoder => {
                    let is_encoder = self.kind == Kind::Encoder;
                    let peek = if is_encoder { peek_from_encoder } else { peek_from_decoder };
                    if self.partial.take(&mut self.input, peek)?.is_none() {
                        return Ok(None);
                    }
                    peer.pay(0)?;
                }
            }
        }
    }

    /// Goes on by one head or one payload of the control stream. `None` if that has not come.
    fn step(
        &mut self,
        place: Place,
        peer: &mut Peer,
    ) -> Result<Option<(Place, Option<ControlEvent>)>, Error> {
        match place {
            Place::Head => {
                let peek = |bytes: &[u8]| Ok(peek_frame_head(bytes));
                let head = self.partial.take(&mut self.input, peek)?;
                let place =
                    head.map(|(kind, length)| peer.enter_frame(kind, length)).transpose()?;
                Ok(place.map(|place| (place, None)))
            }
            Place::Skip(left) => {
                let size = usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len());
                self.input.advance(size);
                let left = left - size as u64;
                self.kind = Kind::Control(Place::Skip(left));
                Ok((left == 0).then_some((Place::Head, None)))
            }
            Place::Payload { kind, left } => {
                let size = left.min(self.input.len());
                self.payload.extend_from_slice(&self.input.split_to(size));
                let left = left - size;
                self.kind = Kind::Control(Place::Payload { kind, left });
                if left > 0 {
                    return Ok(None);
                }
                let payload = std::mem::take(&mut self.payload).freeze();
                Ok(Some((Place::Head, peer.handle_frame(kind, payload)?)))
            }
        }
    }

    /// Ends the stream, cleanly or by a reset.
    ///
    /// # Errors
    /// The connection cannot do without it.
    pub fn handle_end(&self) -> Result<(), Error> {
        match self.kind {
            Kind::Unknown | Kind::Ignored => Ok(()),
            _ => Err(Error::connection(Code::ClosedCriticalStream, "a needed stream has ended")),
        }
    }
}

/// Reads an instruction of an encoder (RFC 9204, section 4.3). The one that changes nothing in a
/// table without room is to give it a capacity of 0.
fn peek_from_encoder(bytes: &[u8]) -> Result<Option<((), usize)>, Error> {
    let wrong = |why| Error::connection(Code::QpackEncoderStreamError, why);
    match bytes.first() {
        None => Ok(None),
        Some(first) if first >> 5 != 0b001 => Err(wrong("nothing fits a table without room")),
        Some(_) => match peek_integer(bytes, 5) {
            Ok(Some((0, length))) => Ok(Some(((), length))),
            Ok(None) => Ok(None),
            Ok(Some(_)) | Err(IntegerTooLarge) => Err(wrong("the capacity is above our limit")),
        },
    }
}

/// Reads an instruction of a decoder (RFC 9204, section 4.4). We never insert anything, so there is
/// nothing to acknowledge; and a stream that was cancelled held no references.
fn peek_from_decoder(bytes: &[u8]) -> Result<Option<((), usize)>, Error> {
    let wrong = |why| Error::connection(Code::QpackDecoderStreamError, why);
    match bytes.first() {
        None => Ok(None),
        Some(first) if first >> 6 != 0b01 => Err(wrong("there is nothing to acknowledge")),
        Some(_) => {
            let peeked = peek_integer(bytes, 6);
            let peeked = peeked.map_err(|IntegerTooLarge| wrong("a number is too large"))?;
            Ok(peeked.map(|(_, length)| ((), length)))
        }
    }
}

/// Writes the start of our control stream. It is the only stream of ours that goes one way: without
/// a dynamic table, those of QPACK have nothing to say (RFC 9204, section 4.2).
pub fn encode_control_stream(out: &mut impl BufMut) {
    put::varint(out, STREAM_CONTROL);
    let max_field_section_size = Some(MAX_FIELD_SECTION_SIZE as u64);
    Settings { max_field_section_size, ..Settings::default() }.encode(out);
}

/// Writes GOAWAY (RFC 9114, section 5.2): of a server, the first stream whose request is not
/// answered; of a client, the first push that is not taken.
pub fn encode_goaway(id: u64, out: &mut impl BufMut) {
    put::varint(out, GOAWAY);
    put::varint(out, put::varint_size(id) as u64);
    put::varint(out, id);
}

#[cfg(test)]
mod tests;
