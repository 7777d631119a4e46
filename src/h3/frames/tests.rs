use super::*;
use crate::wire::codec::{MAX_VARINT, put};
use bytes::BufMut;
use proptest::prelude::*;

const LIMIT: usize = 1000;

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = head(kind, payload.len() as u64);
    out.put_slice(payload);
    out
}

fn head(kind: u64, length: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put::varint(&mut out, kind);
    put::varint(&mut out, length);
    out
}

/// Reads a whole stream in pieces of `size` bytes. Pieces of content that follow each other are
/// put together.
fn read_in_pieces(stream: &[u8], size: usize) -> (Vec<Event>, Result<(), Error>) {
    let mut reader = RequestReader::new(LIMIT);
    let mut events: Vec<Event> = Vec::new();
    for piece in stream.chunks(size) {
        reader.handle_chunk(Bytes::copy_from_slice(piece));
        loop {
            match reader.poll_event() {
                Ok(Some(Event::Data(more))) => {
                    assert!(!more.is_empty());
                    match events.last_mut() {
                        Some(Event::Data(data)) => *data = [&data[..], &more[..]].concat().into(),
                        _ => events.push(Event::Data(more)),
                    }
                }
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Err(error)),
            }
        }
        assert!(reader.held_bytes() <= 2 * LIMIT, "{}", reader.held_bytes());
    }
    (events, reader.handle_end())
}

fn read(frames: &[Vec<u8>]) -> (Vec<Event>, Result<(), Error>) {
    let stream = frames.concat();
    let whole = read_in_pieces(&stream, stream.len().max(1));
    for size in [1, 2, 3, 7] {
        assert_eq!(read_in_pieces(&stream, size), whole, "pieces of {size} bytes");
    }
    whole
}

fn code(frames: &[Vec<u8>]) -> Code {
    read(frames).1.unwrap_err().code
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn a_message_is_read() {
    let (events, outcome) = read(&[
        frame(0x21, b"grease"),
        frame(HEADERS, b"head"),
        frame(DATA, b"content, "),
        frame(DATA, b""),
        frame(0x1f * 7 + 0x21, b""),
        frame(DATA, b"and more"),
        frame(HEADERS, b"trailers"),
        frame(0x4242, b"anything"),
    ]);
    let expected = [
        Event::Headers(bytes("head")),
        Event::Data(bytes("content, and more")),
        Event::Trailers(bytes("trailers")),
    ];
    assert_eq!((&events[..], outcome), (&expected[..], Ok(())));
}

#[test]
fn what_is_there_whole_is_not_copied() {
    let stream = Bytes::from([frame(HEADERS, b"head"), frame(DATA, b"content")].concat());
    let mut reader = RequestReader::new(LIMIT);
    reader.handle_chunk(stream.clone());
    let inside = stream.as_ptr_range();
    for _ in 0..2 {
        match reader.poll_event().unwrap().unwrap() {
            Event::Headers(bytes) | Event::Data(bytes) | Event::Trailers(bytes) => {
                assert!(inside.contains(&bytes.as_ptr()));
            }
        }
    }
    assert_eq!(reader.poll_event(), Ok(None));
}

#[test]
fn content_comes_as_it_comes() {
    let mut reader = RequestReader::new(LIMIT);
    let start = [frame(HEADERS, b"head"), head(DATA, MAX_VARINT), b"x".to_vec()].concat();
    reader.handle_chunk(start.into());
    assert_eq!(reader.poll_event(), Ok(Some(Event::Headers(bytes("head")))));
    assert_eq!(reader.poll_event(), Ok(Some(Event::Data(bytes("x")))));
    for _ in 0..100 {
        assert_eq!(reader.poll_event(), Ok(None));
        reader.handle_chunk(vec![7; 1 << 16].into());
        assert!(
            matches!(reader.poll_event(), Ok(Some(Event::Data(data))) if data.len() == 1 << 16)
        );
        assert_eq!(reader.held_bytes(), 0);
    }
}

#[test]
fn a_long_section_is_refused_by_its_length() {
    for length in [LIMIT as u64 + 1, 1 << 32, MAX_VARINT] {
        let error = read(&[head(HEADERS, length)]).1.unwrap_err();
        assert_eq!((error.code, error.status()), (Code::ExcessiveLoad, Some(431)));
        let trailers = [frame(HEADERS, b"head"), head(HEADERS, length)];
        assert_eq!(code(&trailers), Code::ExcessiveLoad);
    }
    assert_eq!(read(&[frame(HEADERS, &[0; LIMIT])]).1, Ok(()));
}

#[test]
fn announcing_a_section_holds_nothing() {
    let mut reader = RequestReader::new(1 << 20);
    reader.handle_chunk([head(HEADERS, 1 << 20), vec![0; 10]].concat().into());
    assert_eq!(reader.poll_event(), Ok(None));
    assert!(reader.held_bytes() < 128, "{}", reader.held_bytes());
}

#[test]
fn floods_of_nothing_are_refused() {
    for nothing in [frame(DATA, b""), frame(0x21, b""), frame(0x21, b"x")] {
        let mut frames = vec![frame(HEADERS, b"head")];
        frames.resize(MAX_IDLE_FRAMES as usize + 1, nothing.clone());
        assert_eq!(read(&frames).1, Ok(()));
        frames.push(nothing);
        let error = read(&frames).1.unwrap_err();
        assert_eq!(error, Error::connection(Code::ExcessiveLoad, error.why));
    }
    assert_eq!(code(&[head(0x21, MAX_VARINT)]), Code::ExcessiveLoad);
    let (half, more) = (MAX_SKIPPED_BYTES / 2, MAX_SKIPPED_BYTES / 2 + 1);
    let skipped = [frame(0x21, &vec![0; half as usize]), head(0x42, more)];
    assert_eq!(code(&skipped), Code::ExcessiveLoad);
}

#[test]
fn frames_that_do_not_belong_here_are_refused() {
    let (start, end) = (frame(HEADERS, b"head"), frame(HEADERS, b"trailers"));
    assert_eq!(code(&[frame(DATA, b"early")]), Code::FrameUnexpected);
    assert_eq!(code(&[start.clone(), end.clone(), end.clone()]), Code::FrameUnexpected);
    assert_eq!(code(&[start.clone(), end, frame(DATA, b"late")]), Code::FrameUnexpected);
    let others = [
        0x02,
        0x06,
        0x08,
        0x09,
        CANCEL_PUSH,
        SETTINGS,
        PUSH_PROMISE,
        GOAWAY,
        MAX_PUSH_ID,
        PRIORITY_UPDATE_REQUEST,
        PRIORITY_UPDATE_PUSH,
    ];
    for kind in others {
        assert_eq!(code(&[frame(kind, b"\0")]), Code::FrameUnexpected, "{kind:#x}");
        assert_eq!(code(&[start.clone(), frame(kind, b"\0")]), Code::FrameUnexpected, "{kind:#x}");
    }
}

#[test]
fn a_stream_must_not_end_early() {
    let incomplete = read(&[]).1.unwrap_err();
    assert_eq!(incomplete, Error::stream(Code::RequestIncomplete, incomplete.why));
    assert_eq!(code(&[frame(0x21, b"grease")]), Code::RequestIncomplete);
    let whole = [frame(HEADERS, b"head"), frame(DATA, b"content"), frame(0x21, b"x")].concat();
    let ends = [6, 15, 18];
    for end in 1..=whole.len() {
        let outcome = read(&[whole[..end].to_vec()]).1;
        match ends.contains(&end) {
            true => assert_eq!(outcome, Ok(()), "{end}"),
            false => assert_eq!(outcome.unwrap_err().code, Code::FrameError, "{end}"),
        }
    }
}

#[test]
fn interim_answers_have_heads_of_their_own() {
    let mut reader = RequestReader::new(LIMIT);
    reader.handle_chunk([frame(HEADERS, b"1"), frame(HEADERS, b"2")].concat().into());
    assert_eq!(reader.poll_event(), Ok(Some(Event::Headers(bytes("1")))));
    reader.expect_another_head();
    assert_eq!(reader.poll_event(), Ok(Some(Event::Headers(bytes("2")))));
}

#[test]
fn content_is_compared_with_its_length() {
    let mut length = ContentLength::new(Some(10));
    assert_eq!(length.handle_data(4), Ok(()));
    assert_eq!(length.handle_end().unwrap_err().code, Code::MessageError);
    assert_eq!(length.handle_data(6), Ok(()));
    assert_eq!(length.handle_end(), Ok(()));
    assert_eq!(length.handle_data(1).unwrap_err().status(), Some(400));
    let mut unknown = ContentLength::new(None);
    assert_eq!(unknown.handle_data(usize::MAX), Ok(()));
    assert_eq!(unknown.handle_end(), Ok(()));
}

proptest! {
    #[test]
    fn cuts_make_no_difference(
        frames in prop::collection::vec(
            (
                prop_oneof![Just(DATA), Just(HEADERS), 0u64..0x50],
                prop::collection::vec(any::<u8>(), 0..80),
            ),
            0..8,
        ),
        size in 1usize..50,
    ) {
        let start = frame(HEADERS, b"head");
        let frames = frames.iter().flat_map(|(kind, payload)| frame(*kind, payload));
        let stream: Vec<u8> = start.into_iter().chain(frames).collect();
        prop_assert_eq!(read_in_pieces(&stream, size), read_in_pieces(&stream, stream.len()));
    }

    #[test]
    fn reading_anything_never_panics(stream: Vec<u8>, size in 1usize..50) {
        let whole = read_in_pieces(&stream, stream.len().max(1));
        prop_assert_eq!(read_in_pieces(&stream, size), whole);
    }
}
