//! What fuzzing calls: one function a decoder, each taking any bytes and panicking where a promise
//! of the decoder does not hold. `fuzz/` runs them under libFuzzer, `tests/fuzz_corpus.rs` replays
//! the committed corpus through the same functions.
//!
//! The targets that read frames take the type in the first byte and the payload in all others, so
//! that mutations need not keep a length right. What decodes must survive encoding: the frame that
//! comes out must decode to the same value.

use super::backplane::{Gossip, MAX_GOSSIP, Message, ServerHello};
use super::frame::{Frame, FrameType, MAX_BACKPLANE_PAYLOAD, MAX_PAYLOAD};
use super::http::HttpRequest;
use super::lane::{self, Batch, BatchRest, Body, BodyStart, Call, Get, Inventory, Outcome, Reply};
use super::session::{Assigned, GoawayReason, Hello, Ping, Welcome};
use super::token::{TOKEN_KEY_SIZE, Token, TokenKeys};
use super::types::{Digest, Key};
use super::{DecodeError, HeaderBlock};
use aws_lc_rs::aead::NONCE_LEN;
use bytes::{Bytes, BytesMut};

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// Every target, by the name of its file in `fuzz/fuzz_targets` and its directory in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 11] = [
    ("frames", frames),
    ("session", session),
    ("lane_request", lane_request),
    ("lane_reply", lane_reply),
    ("batch_rest", batch_rest),
    ("backplane", backplane),
    ("backplane_hello", backplane_hello),
    ("gossip", gossip),
    ("token", token),
    ("header_block", header_block),
    ("key", key),
];

/// Splits a stream into frames, in pieces of as many bytes as the first byte says. Where the pieces
/// are cut must make no difference.
pub fn frames(bytes: &[u8]) {
    let Some((piece_size, stream)) = bytes.split_first() else {
        return;
    };
    let whole = split(stream, stream.len().max(1));
    let pieces = split(stream, usize::from(*piece_size).max(1));
    assert_eq!(whole, pieces, "the cuts made a difference");
    for frame in whole.0 {
        let parsed = Frame::parse(frame.to_bytes(), MAX_BACKPLANE_PAYLOAD);
        assert_eq!(parsed, Ok(frame));
    }
}

fn split(stream: &[u8], piece_size: usize) -> (Vec<Frame>, Result<usize, DecodeError>) {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in stream.chunks(piece_size) {
        buffer.extend_from_slice(piece);
        loop {
            match Frame::split_from(&mut buffer, MAX_BACKPLANE_PAYLOAD) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(buffer.len()))
}

/// Reads a frame of the session stream, or of a lane's ASSIGNED.
pub fn session(bytes: &[u8]) {
    let Some(frame) = frame(bytes, MAX_PAYLOAD) else {
        return;
    };
    match frame.kind() {
        FrameType::Hello => survives(&frame, |f| Hello::decode(f.payload()), Hello::encode),
        FrameType::Welcome => survives(&frame, |f| Welcome::decode(f.payload()), Welcome::encode),
        FrameType::Assigned => {
            survives(&frame, |f| Assigned::decode(f.payload()), Assigned::encode)
        }
        FrameType::Goaway => {
            survives(&frame, |f| GoawayReason::decode(f.payload()), |reason| reason.encode())
        }
        FrameType::Ping => survives(&frame, |f| Ping::decode(f.payload()), |ping| ping.encode()),
        FrameType::Pong => survives(&frame, |f| Ping::decode(f.payload()), |ping| ping.answer()),
        _ => {}
    }
}

/// Reads a request.
pub fn lane_request(bytes: &[u8]) {
    let Some(frame) = frame(bytes, MAX_PAYLOAD) else {
        return;
    };
    let repeatable = lane::is_idempotent(&frame);
    match frame.kind() {
        FrameType::Get => survives(&frame, |f| Get::decode(f.payload()), Get::encode),
        FrameType::Call => survives(&frame, |f| Call::decode(f.payload()), Call::encode),
        FrameType::Batch => survives(&frame, |f| Batch::decode(f.payload()), Batch::encode),
        FrameType::Inventory => {
            survives(&frame, |f| Inventory::decode(f.payload()), Inventory::encode);
        }
        FrameType::HttpRequest => {
            survives(&frame, |f| HttpRequest::decode(f.payload()), HttpRequest::encode);
        }
        _ => {}
    }
    if frame.kind() == FrameType::Call
        && let Ok(call) = Call::decode(frame.payload())
    {
        assert_eq!(call.idempotent, repeatable);
    }
}

/// Reads a reply, or the start of a body's stream.
pub fn lane_reply(bytes: &[u8]) {
    let Some(frame) = frame(bytes, MAX_PAYLOAD) else {
        return;
    };
    match frame.kind() {
        FrameType::Body => survives(&frame, |f| BodyStart::decode(f.payload()), BodyStart::encode),
        _ => survives(&frame, Reply::decode, Reply::encode),
    }
    if let Ok(Reply { outcome, .. }) = Reply::decode(&frame)
        && let Outcome::Full { body, .. }
        | Outcome::Delta { body, .. }
        | Outcome::Batch { rest: body, .. }
        | Outcome::Called { body, .. } = outcome
    {
        assert_eq!(lane::has_streamed_body(&frame), !matches!(body, Body::Inline(_)));
    }
}

/// Reads what a batch brings. No more comes out than went in.
pub fn batch_rest(bytes: &[u8]) {
    let mut rest = BatchRest::new(Bytes::copy_from_slice(bytes));
    let mut read = 0;
    while let Ok(Some((reply, body))) = rest.next_reply() {
        read += reply.encode().bytes().len() + body.map_or(0, |body| body.len());
        assert!(read <= bytes.len() * 2, "numbers may be written in a longer way than needed");
    }
}

/// Reads any frame of the backplane but the hello.
pub fn backplane(bytes: &[u8]) {
    let Some(frame) = frame(bytes, MAX_BACKPLANE_PAYLOAD) else {
        return;
    };
    survives(&frame, Message::decode, Message::encode);
}

/// Reads the payload of the hello of the backplane, and of its answer: there is no byte for the
/// type.
pub fn backplane_hello(bytes: &[u8]) {
    if bytes.len() > MAX_BACKPLANE_PAYLOAD {
        return;
    }
    let build = |out: &mut BytesMut| out.extend_from_slice(bytes);
    let frame = Frame::build(FrameType::ServerHello, MAX_BACKPLANE_PAYLOAD, build);
    let encode = |hello: &ServerHello| hello.encode(FrameType::ServerHello);
    survives(&frame, |f| ServerHello::decode(f.payload()), encode);
    let frame = Frame::build(FrameType::ServerWelcome, MAX_BACKPLANE_PAYLOAD, build);
    let encode = |welcome: &ServerHello| welcome.encode(FrameType::ServerWelcome);
    survives(&frame, |f| ServerHello::decode_welcome(f.payload()), encode);
}

/// Reads the payload of GOSSIP: there is no byte for the type.
pub fn gossip(bytes: &[u8]) {
    if bytes.len() > MAX_GOSSIP {
        return;
    }
    let build = |out: &mut BytesMut| out.extend_from_slice(bytes);
    let frame = Frame::build(FrameType::Gossip, MAX_BACKPLANE_PAYLOAD, build);
    survives(&frame, |f| Gossip::decode(f.payload()), Gossip::encode);
}

/// Reads what a token seals; and opens the bytes as if they were sealed.
pub fn token(bytes: &[u8]) {
    let keys = TokenKeys::new(&[[7; TOKEN_KEY_SIZE]]);
    let _ = keys.open(bytes, 0);
    if let Ok(token) = Token::decode(Bytes::copy_from_slice(bytes)) {
        let sealed = keys.seal(&token, [9; NONCE_LEN]);
        if let Some(now_s) = token.expires_s.checked_sub(1) {
            assert_eq!(keys.open(&sealed, now_s), Ok(token));
        }
    }
}

/// Reads a header block, and builds it again from its headers.
pub fn header_block(bytes: &[u8]) {
    let Ok(block) = HeaderBlock::parse(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let listed: Vec<_> = block.iter().collect();
    let again = HeaderBlock::new(listed.iter().copied());
    let again = again.expect("headers that were read can be written");
    assert_eq!(again.iter().collect::<Vec<_>>(), listed);
    for (name, value) in listed {
        assert_eq!(block.value(name), Some(value));
    }
}

/// Reads a key, and makes the checks that a source relies on.
pub fn key(bytes: &[u8]) {
    let Ok(key) = Key::new(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    assert_eq!(key.as_bytes(), bytes);
    assert_eq!(key.as_str().parse(), Ok(key.clone()));
    let path = key.as_str().split('?').next().unwrap_or_default();
    assert!(path.starts_with('/') && !path.contains("//") && !path.contains('\0'), "{key:?}");
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{key:?}");
    let _ = key.tag(&Digest([0; 16]));
}

/// Builds the frame whose type is the first byte and whose payload is all others.
fn frame(bytes: &[u8], limit: usize) -> Option<Frame> {
    let (kind, payload) = bytes.split_first()?;
    let kind = FrameType::from_byte(*kind).ok()?;
    let build = |out: &mut BytesMut| out.extend_from_slice(payload);
    (payload.len() <= limit).then(|| Frame::build(kind, limit, build))
}

/// Where `frame` decodes, encoding what it says gives a frame that decodes to the same.
fn survives<T: PartialEq + std::fmt::Debug>(
    frame: &Frame,
    decode: impl Fn(&Frame) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Frame,
) {
    if let Ok(value) = decode(frame) {
        let again = encode(&value);
        assert_eq!(again.kind(), frame.kind());
        assert_eq!(decode(&again), Ok(value));
    }
}
