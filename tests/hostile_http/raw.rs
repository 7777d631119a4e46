//! QUIC streams with bytes on them, written and read by hand.

// Each test program uses its own part of this.
#![allow(dead_code)]

use crate::clients::{quic, runtime};
use crate::common::PATIENCE;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt};
use std::net::SocketAddr;

/// The largest number that is written in one to eight bytes.
pub(crate) const MOST: u64 = (1 << 62) - 1;

/// How the router took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It answered, with this status.
    Status(u16),
    /// It ended the stream with this code.
    Reset(u64),
    /// It ended the connection with this code.
    Closed(u64),
}

/// A connection on which nothing is said but what a test says.
pub(crate) struct Raw {
    pub(crate) connection: Connection,
}

impl Raw {
    /// One without a control stream.
    pub(crate) fn silent(router: SocketAddr) -> Self {
        Self { connection: runtime().block_on(quic(router)) }
    }

    /// One that has said its settings.
    pub(crate) fn connect(router: SocketAddr) -> Self {
        let raw = Self::silent(router);
        // The end of a stream is not sent as long as it is not forgotten on purpose.
        std::mem::forget(raw.one_way(&[&[0x00], &*frame(0x04, b"")].concat()));
        raw
    }

    /// Opens a stream one way, and writes these bytes.
    pub(crate) fn one_way(&self, bytes: &[u8]) -> SendStream {
        runtime().block_on(async {
            let mut stream = self.connection.open_uni().await.expect("the connection stands");
            // It fails where the router has had enough.
            let _ = stream.write_all(bytes).await;
            stream
        })
    }

    /// Opens the stream of a request, and writes these bytes.
    pub(crate) fn begin(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        runtime().block_on(async {
            let (mut send, receive) = self.connection.open_bi().await.expect("it stands");
            let _ = send.write_all(bytes).await;
            (send, receive)
        })
    }

    /// Sends a request that is these bytes and no more: what becomes of it.
    pub(crate) fn ask(&self, bytes: &[u8]) -> Outcome {
        let (mut send, receive) = self.begin(bytes);
        let _ = send.finish();
        self.outcome(receive)
    }

    /// The same if the stream stays open.
    pub(crate) fn ask_open(&self, bytes: &[u8]) -> Outcome {
        let (_send, receive) = self.begin(bytes);
        self.outcome(receive)
    }

    /// What comes on the stream of a request.
    pub(crate) fn outcome(&self, mut receive: RecvStream) -> Outcome {
        let read = async { tokio::time::timeout(PATIENCE, receive.read_to_end(1 << 20)).await };
        match runtime().block_on(read).expect("the router does something about it") {
            Ok(bytes) => Outcome::Status(status(&bytes)),
            Err(quinn::ReadToEndError::Read(ReadError::Reset(code))) => {
                Outcome::Reset(code.into_inner())
            }
            Err(_) => self.closed(),
        }
    }

    /// Waits until the router has closed the connection.
    pub(crate) fn closed(&self) -> Outcome {
        let closed = async { tokio::time::timeout(PATIENCE, self.connection.closed()).await };
        match runtime().block_on(closed).expect("the router closes the connection") {
            ConnectionError::ApplicationClosed(close) => {
                Outcome::Closed(close.error_code.into_inner())
            }
            other => panic!("the connection ended otherwise: {other:?}"),
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0x100), b"");
    }
}

/// A number in as few bytes as it takes.
pub(crate) fn number(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// The head of a frame.
pub(crate) fn frame_head(kind: u64, length: u64) -> Vec<u8> {
    [number(kind), number(length)].concat()
}

/// A whole frame.
pub(crate) fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [&*frame_head(kind, payload.len() as u64), payload].concat()
}

/// An integer of QPACK behind some bits.
fn integer(bits: u8, prefix: u32, value: usize) -> Vec<u8> {
    let most = (1 << prefix) - 1;
    if value < most {
        return vec![bits | value as u8];
    }
    let mut bytes = vec![bits | most as u8];
    let mut rest = value - most;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// A field section in which all is written out.
pub(crate) fn section(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    for (name, value) in lines {
        bytes.extend(integer(0x20, 3, name.len()));
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend(integer(0, 7, value.len()));
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

/// A HEADERS frame of these lines.
pub(crate) fn headers(lines: &[(&str, &str)]) -> Vec<u8> {
    frame(0x01, &section(lines))
}

/// The pseudo-headers of a good request.
pub(crate) fn pseudo<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
}

/// A HEADERS frame of a good request with these fields.
pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    headers(&[&pseudo(method, path), fields].concat())
}

/// The status of an answer: its first field line is that, from the static table or by its name
/// there.
fn status(answer: &[u8]) -> u16 {
    assert_eq!(answer.first(), Some(&0x01), "it begins with HEADERS: {answer:x?}");
    let skipped = 1 + (1 << (answer[1] >> 6)) + 2;
    match answer[skipped..] {
        [first @ 0xd8..=0xfe, ..] => [103, 200, 304, 404, 503][usize::from(first - 0xd8)],
        [0xff, rest, ..] => [100, 204, 206, 302, 400, 403, 421, 425, 500][usize::from(rest)],
        [0x5f, 0x09, 0x03, ref digits @ ..] => {
            let text = std::str::from_utf8(&digits[..3]).expect("digits");
            text.parse().expect("digits")
        }
        [0x5f, 0x09, length @ 0x81..=0x83, ref coded @ ..] => {
            huffman_digits(&coded[..usize::from(length & 0x7f)])
        }
        _ => panic!("it does not begin with a status: {answer:x?}"),
    }
}

/// Three digits: 0 to 2 have five bits, the others six (RFC 7541, appendix B).
fn huffman_digits(coded: &[u8]) -> u16 {
    let bit = |at: usize| u16::from(coded[at / 8] >> (7 - at % 8) & 1);
    let bits =
        |from: usize, count: usize| (from..from + count).fold(0, |sum, at| sum << 1 | bit(at));
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let short = bits(at, 5);
        let (digit, length) = if short <= 2 { (short, 5) } else { (bits(at, 6) - 0x19 + 3, 6) };
        value = value * 10 + digit;
        at += length;
    }
    value
}
