//! Content that goes on a stream of its own, its length unknown: in pieces, each behind its length.
//! A length of 0 ends it, and the trailers follow. What breaks off before has not all come.

use super::fields::{Fields, MAX_FIELDS_BYTES};
use crate::wire::codec::{DecodeError, MAX_VARINT, Reader, peek_varint, put};
use bytes::{Buf, Bytes, BytesMut};

/// Longest length of a piece, or of trailers, as it stands before them.
const MAX_LENGTH_SIZE: usize = 8;

/// A part of some content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes; never none.
    Data(Bytes),
    /// That was all. Trailers, seldom any.
    End(Fields),
}

/// What stands before a piece of so many bytes.
///
/// # Panics
/// If there are none: that would be the end.
pub fn piece_start(length: usize) -> Bytes {
    assert!(length > 0, "an empty piece is the end");
    let mut out = BytesMut::with_capacity(MAX_LENGTH_SIZE);
    put::varint(&mut out, length as u64);
    out.freeze()
}

/// What ends the content.
pub fn content_end(trailers: &Fields) -> Bytes {
    let mut out = BytesMut::new();
    put::varint(&mut out, 0);
    trailers.encode(&mut out);
    out.freeze()
}

/// Takes content apart that came in pieces, however the transport has cut it.
#[derive(Debug, Default)]
pub struct PieceReader {
    /// Bytes of the piece at hand that have not come.
    missing: u64,
    /// The beginning of a length, or of what ends the content.
    partial: BytesMut,
    ended: bool,
}

impl PieceReader {
    /// The next piece from the front of `bytes`; `None` when all of them were taken and more must
    /// come.
    ///
    /// # Errors
    /// Trailers that are too long or wrong, and anything that comes after the end.
    pub fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Piece>, DecodeError> {
        loop {
            if self.missing > 0 {
                let count = self.missing.min(bytes.len() as u64) as usize;
                self.missing -= count as u64;
                return Ok((count > 0).then(|| Piece::Data(bytes.split_to(count))));
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            if self.ended {
                let (what, count) = ("the end of the content", bytes.len());
                return Err(DecodeError::Trailing { what, count });
            }
            self.partial.extend_from_slice(&bytes.split_to(1));
            match peek_varint(&self.partial) {
                Some((0, size)) => {
                    if let Some(trailers) = Self::trailers(&self.partial[size..])? {
                        self.ended = true;
                        return Ok(Some(Piece::End(trailers)));
                    }
                    self.take_trailers(size, bytes);
                }
                Some((length, _)) => {
                    self.partial.clear();
                    self.missing = length;
                }
                None => {}
            }
        }
    }

    /// Takes as much of the trailers as is known to belong to them, but for the last byte, which
    /// the loop above adds.
    fn take_trailers(&mut self, start: usize, bytes: &mut Bytes) {
        if let Some((length, size)) = peek_varint(&self.partial[start..]) {
            let total = start + size + length.min(MAX_FIELDS_BYTES as u64) as usize;
            let missing = total.saturating_sub(self.partial.len() + 1);
            let count = missing.min(bytes.len());
            self.partial.extend_from_slice(&bytes.chunk()[..count]);
            bytes.advance(count);
        }
    }

    /// The trailers, once all of them have come.
    fn trailers(bytes: &[u8]) -> Result<Option<Fields>, DecodeError> {
        let Some((length, size)) = peek_varint(bytes) else {
            return Ok(None);
        };
        let limit = MAX_FIELDS_BYTES as u64;
        if length > limit {
            return Err(DecodeError::AboveLimit { what: "trailers", found: length, limit });
        }
        if ((bytes.len() - size) as u64) < length {
            return Ok(None);
        }
        let mut reader = Reader::copying(bytes);
        reader.varint("length of the trailers", MAX_VARINT)?;
        Fields::parse(reader.rest()).map(Some)
    }

    /// Whether all has come.
    pub fn is_complete(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn read(wire: &[u8], cut: usize) -> Result<(Vec<u8>, Option<Fields>), DecodeError> {
        let (mut reader, mut content, mut end) = (PieceReader::default(), Vec::new(), None);
        for chunk in wire.chunks(cut.max(1)) {
            let mut bytes = Bytes::copy_from_slice(chunk);
            while let Some(piece) = reader.next(&mut bytes)? {
                match piece {
                    Piece::Data(data) => content.extend_from_slice(&data),
                    Piece::End(trailers) => end = Some(trailers),
                }
            }
            assert!(bytes.is_empty());
        }
        assert_eq!(reader.is_complete(), end.is_some());
        Ok((content, end))
    }

    #[test]
    fn what_comes_after_the_end_is_wrong() {
        let mut wire = content_end(&Fields::default()).to_vec();
        assert_eq!(read(&wire, 1), Ok((Vec::new(), Some(Fields::default()))));
        wire.push(1);
        assert!(read(&wire, 1).is_err() && read(&wire, 9).is_err());
    }

    proptest! {
        #[test]
        fn content_survives_any_cuts(
            pieces in vec(vec(any::<u8>(), 1..300), 0..6),
            cut in 1usize..400,
            trailer in "[a-z]{0,20}",
        ) {
            let trailers = Fields::of([("x-trailer", trailer.as_str())]);
            let mut wire = Vec::new();
            for piece in &pieces {
                wire.extend_from_slice(&piece_start(piece.len()));
                wire.extend_from_slice(piece);
            }
            let whole = wire.len();
            wire.extend_from_slice(&content_end(&trailers));
            prop_assert_eq!(read(&wire, cut), Ok((pieces.concat(), Some(trailers))));
            prop_assert_eq!(read(&wire[..whole], cut), Ok((pieces.concat(), None)));
        }

        #[test]
        fn reading_anything_never_panics(wire: Vec<u8>, cut in 1usize..50) {
            prop_assert_eq!(read(&wire, cut).is_ok(), read(&wire, wire.len().max(1)).is_ok());
        }
    }
}
