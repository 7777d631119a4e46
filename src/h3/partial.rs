//! Short things that may be cut anywhere: an integer, or the head of a frame.

use super::error::Error;
use crate::wire::codec::peek_varint;
use bytes::{Buf, Bytes};

/// Bytes of the longest thing that is put together here: the head of a frame, two integers.
const MAX_PARTIAL: usize = 16;

/// What has come of a thing whose end has not come.
#[derive(Debug, Default)]
pub(super) struct Partial {
    bytes: [u8; MAX_PARTIAL],
    length: usize,
}

impl Partial {
    /// Whether nothing is waiting for its end.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes one thing off the front of `input`. `None` when its end has not come; all of the input
    /// is taken then. `peek` says what stands at the start of its bytes and how many bytes it
    /// takes, or `None` if it needs more.
    pub(super) fn take<T>(
        &mut self,
        input: &mut Bytes,
        peek: impl Fn(&[u8]) -> Result<Option<(T, usize)>, Error>,
    ) -> Result<Option<T>, Error> {
        if self.length == 0 {
            // Nearly always, it is there as a whole.
            if let Some((found, length)) = peek(input)? {
                input.advance(length);
                return Ok(Some(found));
            }
        }
        while input.has_remaining() {
            assert!(self.length < MAX_PARTIAL, "nothing that is read here is as long");
            self.bytes[self.length] = input.get_u8();
            self.length += 1;
            if let Some((found, _)) = peek(&self.bytes[..self.length])? {
                self.length = 0;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// The type and the length of a frame (RFC 9114, section 7.1), and how many bytes they take.
pub(super) fn peek_frame_head(bytes: &[u8]) -> Option<((u64, u64), usize)> {
    let (kind, first) = peek_varint(bytes)?;
    let (length, second) = peek_varint(&bytes[first..])?;
    Some(((kind, length), first + second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_make_no_difference() {
        let bytes = [0x80, 0x0f, 0x07, 0x00, 0xc0, 0, 0, 0, 0, 0, 1, 0, 7, 8];
        let peek = |bytes: &[u8]| Ok(peek_frame_head(bytes));
        for cut in 0..bytes.len() {
            let mut partial = Partial::default();
            let (mut first, mut second) =
                (Bytes::copy_from_slice(&bytes[..cut]), Bytes::copy_from_slice(&bytes[cut..]));
            let found = match partial.take(&mut first, peek).unwrap() {
                Some(found) => found,
                None => {
                    assert_eq!(partial.is_empty(), cut == 0);
                    partial.take(&mut second, peek).unwrap().unwrap()
                }
            };
            assert_eq!(found, (0xf0700, 256));
            assert_eq!(first.len() + second.len(), 2, "what follows is left");
            assert!(partial.is_empty());
        }
    }
}
