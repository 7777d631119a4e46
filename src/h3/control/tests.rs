use super::*;
use crate::h3::frames::*;
use crate::h3::peer::*;
use crate::h3::settings::MAX_SETTINGS_BYTES;
use crate::wire::codec::MAX_VARINT;
use proptest::prelude::*;

fn varint(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put::varint(&mut out, value);
    out
}

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [&varint(kind)[..], &varint(payload.len() as u64), payload].concat()
}

fn id_frame(kind: u64, id: u64) -> Vec<u8> {
    frame(kind, &varint(id))
}

fn read_in_pieces(
    peer: &mut Peer,
    stream: &[u8],
    size: usize,
) -> (Vec<ControlEvent>, Result<UniReader, Error>) {
    let mut reader = UniReader::default();
    let mut events = Vec::new();
    for piece in stream.chunks(size) {
        reader.handle_chunk(Bytes::copy_from_slice(piece));
        loop {
            match reader.poll_event(peer) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Err(error)),
            }
        }
        assert!(reader.payload.capacity() <= 2 * MAX_SETTINGS_BYTES);
    }
    (events, Ok(reader))
}

fn read_of(role: Role, stream: &[u8]) -> (Vec<ControlEvent>, Result<(), Error>) {
    let whole = read_in_pieces(&mut Peer::new(role), stream, stream.len().max(1));
    let whole = (whole.0, whole.1.map(drop));
    for size in [1, 2, 3, 7] {
        let pieces = read_in_pieces(&mut Peer::new(role), stream, size);
        assert_eq!((pieces.0, pieces.1.map(drop)), whole, "pieces of {size} bytes");
    }
    whole
}

/// Reads a client's control stream: its type, empty settings, and these frames.
fn read(frames: &[Vec<u8>]) -> (Vec<ControlEvent>, Result<(), Error>) {
    let (mut events, outcome) =
        read_of(Role::Client, &[b"\0\x04\0", &frames.concat()[..]].concat());
    assert_eq!(events.remove(0), ControlEvent::Settings(Settings::default()));
    (events, outcome)
}

fn code(frames: &[Vec<u8>]) -> Code {
    read(frames).1.unwrap_err().code
}

fn code_of(stream: &[u8]) -> Code {
    read_of(Role::Client, stream).1.unwrap_err().code
}

#[test]
fn our_stream_is_what_a_client_expects() {
    let mut out = Vec::new();
    encode_control_stream(&mut out);
    encode_goaway(400, &mut out);
    encode_goaway(0, &mut out);
    assert_eq!(out[..11], *b"\x00\x04\x09\x06\x80\x00\x80\x00\x01\x00\x07");
    let settings = Settings {
        max_field_section_size: Some(MAX_FIELD_SECTION_SIZE as u64),
        qpack_max_table_capacity: 0,
        qpack_blocked_streams: 0,
    };
    let (events, outcome) = read_of(Role::Server, &out);
    let goaways = [ControlEvent::Goaway(400), ControlEvent::Goaway(0)];
    assert_eq!(events, [&[ControlEvent::Settings(settings)], &goaways[..]].concat());
    assert_eq!(outcome, Ok(()));
}

#[test]
fn a_control_stream_is_read() {
    let update = [&varint(8)[..], b"u=1, i"].concat();
    let (events, outcome) = read(&[
        frame(0x21, b"grease"),
        id_frame(MAX_PUSH_ID, 5),
        id_frame(MAX_PUSH_ID, 5),
        frame(PRIORITY_UPDATE_REQUEST, &update),
        frame(0x4242, &[0; 5000]),
        id_frame(GOAWAY, 3),
    ]);
    let priority = Bytes::from_static(b"u=1, i");
    let update = ControlEvent::PriorityUpdate { stream_id: 8, priority };
    assert_eq!((events, outcome), (vec![update, ControlEvent::Goaway(3)], Ok(())));
}

#[test]
fn settings_stand_first_and_once() {
    for first in [id_frame(GOAWAY, 0), frame(0x21, b""), frame(DATA, b""), frame(HEADERS, b"")] {
        assert_eq!(code_of(&[&[0], &first[..]].concat()), Code::MissingSettings);
    }
    assert_eq!(code(&[frame(SETTINGS, b"")]), Code::FrameUnexpected);
    assert_eq!(code_of(b"\0\x04\x02\x02\x00"), Code::SettingsError);
    assert_eq!(code_of(b"\0\x04\x01\x06"), Code::FrameError);
    let long = [&[0][..], &varint(SETTINGS), &varint(MAX_SETTINGS_BYTES as u64 + 1)].concat();
    assert_eq!(code_of(&long), Code::ExcessiveLoad);
}

#[test]
fn frames_that_do_not_belong_here_are_refused() {
    for kind in [DATA, HEADERS, PUSH_PROMISE, 0x02, 0x06, 0x08, 0x09] {
        assert_eq!(code(&[frame(kind, b"\0")]), Code::FrameUnexpected, "{kind:#x}");
    }
    for kind in [MAX_PUSH_ID, PRIORITY_UPDATE_REQUEST, PRIORITY_UPDATE_PUSH] {
        let stream = [b"\0\x04\0", &id_frame(kind, 0)[..]].concat();
        let error = read_of(Role::Server, &stream).1.unwrap_err();
        assert_eq!(error.code, Code::FrameUnexpected, "{kind:#x}");
    }
}

#[test]
fn identifiers_are_checked() {
    assert_eq!(code(&[id_frame(MAX_PUSH_ID, 5), id_frame(MAX_PUSH_ID, 4)]), Code::IdError);
    assert_eq!(code(&[id_frame(CANCEL_PUSH, 0)]), Code::IdError);
    assert_eq!(code(&[id_frame(GOAWAY, 4), id_frame(GOAWAY, 5)]), Code::IdError);
    assert_eq!(code(&[id_frame(PRIORITY_UPDATE_REQUEST, 2)]), Code::IdError);
    assert_eq!(code(&[id_frame(PRIORITY_UPDATE_PUSH, 0)]), Code::IdError);
    let stream = [b"\0\x04\0", &id_frame(GOAWAY, 2)[..]].concat();
    assert_eq!(read_of(Role::Server, &stream).1.unwrap_err().code, Code::IdError);
}

#[test]
fn frames_have_the_right_length() {
    for kind in [GOAWAY, MAX_PUSH_ID, CANCEL_PUSH] {
        for payload in [&b""[..], b"\x40", b"\0\0", &[0; 9]] {
            assert_eq!(code(&[frame(kind, payload)]), Code::FrameError, "{kind} {payload:?}");
        }
    }
    assert_eq!(code(&[frame(PRIORITY_UPDATE_REQUEST, b"")]), Code::FrameError);
    let long = MAX_ID_BYTES + MAX_PRIORITY + 1;
    assert_eq!(code(&[frame(PRIORITY_UPDATE_REQUEST, &vec![0; long])]), Code::ExcessiveLoad);
}

#[test]
fn floods_are_refused_and_requests_pay() {
    let budget = CONTROL_BUDGET as usize;
    for frame in [frame(0x21, b""), id_frame(PRIORITY_UPDATE_REQUEST, 0), id_frame(MAX_PUSH_ID, 1)]
    {
        // The settings cost too.
        assert!(read(&vec![frame.clone(); budget - 1]).1.is_ok());
        assert_eq!(code(&vec![frame; budget]), Code::ExcessiveLoad);
    }
    let endless = [varint(0x21), varint(MAX_VARINT)].concat();
    assert_eq!(code(&[endless]), Code::ExcessiveLoad);

    let mut peer = Peer::new(Role::Client);
    let (_, outcome) = read_in_pieces(&mut peer, b"\0\x04\0", 3);
    let mut reader = outcome.unwrap();
    for _ in 0..2000 {
        peer.handle_request();
        for _ in 0..CONTROL_FRAMES_PER_REQUEST {
            reader.handle_chunk(id_frame(PRIORITY_UPDATE_REQUEST, 0).into());
            assert!(reader.poll_event(&mut peer).unwrap().is_some());
            assert_eq!(reader.poll_event(&mut peer), Ok(None));
        }
    }
}

#[test]
fn each_stream_is_opened_once() {
    for stream in [&b"\0\x04\0"[..], b"\x02", b"\x03"] {
        let mut peer = Peer::new(Role::Client);
        let (_, first) = read_in_pieces(&mut peer, stream, 8);
        let closed = first.unwrap().handle_end().unwrap_err();
        assert_eq!(closed.code, Code::ClosedCriticalStream);
        // Having ended makes no room for another one.
        let (_, second) = read_in_pieces(&mut peer, stream, 8);
        assert_eq!(second.unwrap_err().code, Code::StreamCreationError);
    }
    assert_eq!(code_of(b"\x01\0"), Code::StreamCreationError);
    assert_eq!(read_of(Role::Server, b"\x01\0").1.unwrap_err().code, Code::IdError);
}

#[test]
fn streams_of_other_types_are_ignored() {
    let mut peer = Peer::new(Role::Client);
    for stream_type in [0x21, 0x54, MAX_VARINT] {
        let stream = [&varint(stream_type)[..], b"anything"].concat();
        let (events, outcome) = read_in_pieces(&mut peer, &stream, 1);
        assert_eq!(events, [ControlEvent::Ignore]);
        assert_eq!(outcome.unwrap().handle_end(), Ok(()));
    }
    for _ in 3..CONTROL_BUDGET {
        assert!(read_in_pieces(&mut peer, b"\x21", 1).1.is_ok());
    }
    let flood = read_in_pieces(&mut peer, b"\x21", 1).1.unwrap_err();
    assert_eq!(flood.code, Code::ExcessiveLoad);
    // A stream may end before it says what it is.
    assert_eq!(UniReader::default().handle_end(), Ok(()));
    let (events, outcome) = read_in_pieces(&mut Peer::new(Role::Client), b"\x40", 1);
    assert_eq!((events, outcome.unwrap().handle_end()), (Vec::new(), Ok(())));
}

#[test]
fn an_encoder_may_only_say_that_it_has_no_room() {
    let none = [b"\x02"[..].to_vec(), vec![0x20; 200]].concat();
    assert_eq!(read_of(Role::Client, &none), (Vec::new(), Ok(())));
    let bad = [
        &b"\x02\x21"[..],
        b"\x02\x3f\x00",
        b"\x02\x3f\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x02\x20\x80",
        b"\x02\x40",
        b"\x02\x00",
        b"\x02\xc0\x01x",
    ];
    for stream in bad {
        assert_eq!(code_of(stream), Code::QpackEncoderStreamError, "{stream:x?}");
    }
    let flood = [b"\x02"[..].to_vec(), vec![0x20; CONTROL_BUDGET as usize + 1]].concat();
    assert_eq!(code_of(&flood), Code::ExcessiveLoad);
}

#[test]
fn a_decoder_may_only_cancel() {
    assert_eq!(read_of(Role::Client, b"\x03\x44\x7f\xc5\x03\x40"), (Vec::new(), Ok(())));
    let bad = [
        &b"\x03\x80"[..],
        b"\x03\xff\x01",
        b"\x03\x01",
        b"\x03\x00",
        b"\x03\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for stream in bad {
        assert_eq!(code_of(stream), Code::QpackDecoderStreamError, "{stream:x?}");
    }
}

proptest! {
    #[test]
    fn reading_anything_never_panics(kind in 0u8..5, bytes: Vec<u8>, size in 1usize..20) {
        let start = if kind == 0 { &b"\0\x04\0"[..] } else { std::slice::from_ref(&kind) };
        let stream = [start, &bytes].concat();
        for role in [Role::Client, Role::Server] {
            let whole = read_in_pieces(&mut Peer::new(role), &stream, stream.len());
            let pieces = read_in_pieces(&mut Peer::new(role), &stream, size);
            prop_assert_eq!((pieces.0, pieces.1.map(drop)), (whole.0, whole.1.map(drop)));
        }
    }

    #[test]
    fn cuts_make_no_difference(
        frames in prop::collection::vec(
            (
                prop_oneof![
                    Just(GOAWAY), Just(MAX_PUSH_ID), Just(PRIORITY_UPDATE_REQUEST), 0u64..0x50
                ],
                prop::collection::vec(any::<u8>(), 0..20),
            ),
            0..8,
        ),
        size in 1usize..20,
    ) {
        let frames = frames.iter().flat_map(|(kind, payload)| frame(*kind, payload));
        let stream: Vec<u8> = b"\0\x04\0".iter().copied().chain(frames).collect();
        let whole = read_in_pieces(&mut Peer::new(Role::Client), &stream, stream.len());
        let pieces = read_in_pieces(&mut Peer::new(Role::Client), &stream, size);
        prop_assert_eq!((pieces.0, pieces.1.map(drop)), (whole.0, whole.1.map(drop)));
    }
}
