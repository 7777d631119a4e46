//! What fuzzing calls: one function a decoder, each taking any bytes and panicking where a promise
//! of the decoder does not hold. `fuzz/` runs them under libFuzzer, `tests/fuzz_corpus.rs` replays
//! the committed corpus through the same functions.

use super::control::{ControlEvent, Peer, Role, UniReader};
use super::frames::{Event, RequestReader};
use super::message::decode_trailers;
use super::qpack::{self, FIELD_OVERHEAD, Limits, SectionError, Strings};
use super::request::RequestHead;
use super::response::ResponseHead;
use super::{Error, MAX_FIELD_SECTION_SIZE};
use crate::wire::fuzzing::Target;
use bytes::{Bytes, BytesMut};

/// Every target, by the name of its file in `fuzz/fuzz_targets` and its directory in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 3] =
    [("h3_request", h3_request), ("h3_control", h3_control), ("qpack", qpack)];

/// Reads the stream of a request, in pieces of as many bytes as the first byte says. Where the
/// pieces are cut must make no difference. A head that is read must survive being written.
pub fn h3_request(bytes: &[u8]) {
    let Some((piece_size, stream)) = bytes.split_first() else {
        return;
    };
    let whole = read_request(stream, stream.len().max(1));
    let pieces = read_request(stream, usize::from(*piece_size).max(1));
    assert_eq!(whole, pieces, "the cuts made a difference");
    for event in whole.0 {
        match event {
            Event::Headers(section) => request_survives(&section),
            Event::Trailers(section) => drop(decode_trailers(&section, Limits::default())),
            Event::Data(_) => {}
        }
    }
}

fn read_request(stream: &[u8], piece_size: usize) -> (Vec<Event>, Result<(), Error>) {
    let mut reader = RequestReader::new(MAX_FIELD_SECTION_SIZE);
    let mut events: Vec<Event> = Vec::new();
    for piece in stream.chunks(piece_size) {
        reader.handle_chunk(Bytes::copy_from_slice(piece));
        loop {
            match (reader.poll_event(), events.last_mut()) {
                (Ok(Some(Event::Data(more))), Some(Event::Data(data))) => {
                    *data = [&data[..], &more[..]].concat().into();
                }
                (Ok(Some(event)), _) => events.push(event),
                (Ok(None), _) => break,
                (Err(error), _) => return (events, Err(error)),
            }
        }
        assert!(reader.held_bytes() <= 2 * MAX_FIELD_SECTION_SIZE);
    }
    (events, reader.handle_end())
}

fn request_survives(section: &[u8]) {
    let Ok(head) = RequestHead::decode(section, Limits::default()) else {
        return;
    };
    for strings in [Strings::Plain, Strings::Huffman] {
        let mut out = BytesMut::new();
        head.encode(strings, &mut out);
        let again = match &read_request(&out, out.len()).0[..] {
            [Event::Headers(section)] => RequestHead::decode(section, Limits::default()),
            events => panic!("one head was written, and not {events:?}"),
        };
        assert_eq!(again.as_ref(), Ok(&head));
    }
}

/// Reads a stream that goes one way, of a client and of a server, in pieces of as many bytes as the
/// first byte says. Where the pieces are cut must make no difference.
pub fn h3_control(bytes: &[u8]) {
    let Some((piece_size, stream)) = bytes.split_first() else {
        return;
    };
    for role in [Role::Client, Role::Server] {
        let whole = read_control(role, stream, stream.len().max(1));
        let pieces = read_control(role, stream, usize::from(*piece_size).max(1));
        assert_eq!(whole, pieces, "the cuts made a difference");
    }
}

fn read_control(
    role: Role,
    stream: &[u8],
    piece_size: usize,
) -> (Vec<ControlEvent>, Result<(), Error>) {
    let mut peer = Peer::new(role);
    let mut reader = UniReader::default();
    let mut events = Vec::new();
    for piece in stream.chunks(piece_size) {
        reader.handle_chunk(Bytes::copy_from_slice(piece));
        loop {
            match reader.poll_event(&mut peer) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Err(error)),
            }
        }
    }
    (events, reader.handle_end())
}

/// Decodes a field section, as what it may be. What comes out is within the limits, and survives
/// being encoded.
pub fn qpack(bytes: &[u8]) {
    let limits = Limits::default();
    let mut size = 0;
    let mut lines = Vec::new();
    let outcome = qpack::decode(bytes, limits, |name, value| {
        size += name.len() + value.len() + FIELD_OVERHEAD;
        assert!(size <= limits.size && lines.len() < limits.count);
        lines.push((name.to_vec(), value.to_vec()));
        Ok::<_, SectionError>(())
    });
    let _ = RequestHead::decode(bytes, limits);
    let _ = ResponseHead::decode(bytes, limits);
    let _ = decode_trailers(bytes, limits);
    if outcome.is_ok() {
        for strings in [Strings::Plain, Strings::Huffman] {
            section_survives(&lines, strings);
        }
    }
}

fn section_survives(lines: &[(Vec<u8>, Vec<u8>)], strings: Strings) {
    let mut out = BytesMut::new();
    qpack::put_prefix(&mut out);
    let is_text = |(name, _): &&(Vec<u8>, Vec<u8>)| str::from_utf8(name).is_ok();
    for (name, value) in lines.iter().filter(is_text) {
        let name = str::from_utf8(name).expect("names that are not text were left out");
        qpack::put_field(&mut out, name, value, strings);
    }
    let mut expected = lines.iter().filter(is_text);
    let outcome = qpack::decode(&out, Limits::default(), |name, value| {
        let (known, expected) = expected.next().expect("as many fields come out");
        assert_eq!((name, value), (&known[..], &expected[..]));
        Ok::<_, SectionError>(())
    });
    assert_eq!((outcome, expected.next()), (Ok(()), None));
}
