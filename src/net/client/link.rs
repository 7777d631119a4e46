//! The client's connection to a router: the session stream, one lane, and the bodies' own streams.

use super::dial::Lost;
use crate::net::frames::{FrameReader, ReadFrameError};
use crate::wire::frame::MAX_PAYLOAD;
use crate::wire::lane::BodyStart;
use crate::wire::session::CloseCode;
use crate::wire::{Frame, FrameType};
use bytes::{Buf, Bytes, BytesMut};
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};
use std::future::{Future, pending};
use std::pin::Pin;
use tokio::task::JoinSet;

/// Bodies that may be on the way at one time. quinn sets memory aside for each.
pub(super) const MAX_BODIES: u32 = 16;

/// What happened on the connection.
pub(super) enum Event {
    /// It stands.
    Connected,
    /// It is gone, or could not be made.
    Lost(Lost),
    /// The router sent what it must not send.
    Violation(String),
    /// A frame on the session stream.
    Session(Frame),
    /// A frame on the lane.
    Lane(Frame),
    /// A body begins; it is not read before somebody says so.
    BodyStart(BodyStart, BodyStream),
    /// A body, whole.
    Body(BodyStart, Bytes),
    /// A body that broke off after so many bytes.
    BodyFailed(Option<u64>, u64),
}

/// A body's stream, behind its first frame.
pub(super) struct BodyStream {
    stream: RecvStream,
    rest: Vec<Bytes>,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Up, Lost>> + Send>>;

/// At most one connection, or the attempt to make one.
pub(super) enum Link {
    /// None.
    Down,
    /// One is being made.
    Connecting(Connecting),
    /// It stands.
    Up(Box<Up>),
}

/// A connection that stands.
pub(super) struct Up {
    connection: quinn::Connection,
    session: (SendStream, BytesMut),
    lane: (SendStream, BytesMut),
    session_frames: FrameReader,
    lane_frames: FrameReader,
    bodies: JoinSet<Event>,
}

impl Link {
    /// The next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        match self {
            Self::Down => pending().await,
            Self::Connecting(connecting) => match connecting.await {
                Ok(up) => {
                    *self = Self::Up(Box::new(up));
                    Event::Connected
                }
                Err(lost) => {
                    *self = Self::Down;
                    Event::Lost(lost)
                }
            },
            Self::Up(up) => up.next().await,
        }
    }

    /// A frame of the lane that has already been read.
    pub(super) fn buffered(&mut self) -> Option<Event> {
        let Self::Up(up) = self else {
            return None;
        };
        match up.lane_frames.buffered() {
            Ok(frame) => frame.map(Event::Lane),
            Err(why) => Some(Event::Violation(why.to_string())),
        }
    }

    /// Whether there is a connection, or one is being made.
    pub(super) fn is_down(&self) -> bool {
        matches!(self, Self::Down)
    }

    /// How many packets have come over the connection.
    pub(super) fn packets(&self) -> u64 {
        match self {
            Self::Up(up) => up.connection.stats().udp_rx.datagrams,
            Self::Down | Self::Connecting(_) => 0,
        }
    }

    /// Adds a frame to what is to be written on the session stream.
    pub(super) fn send_session(&mut self, frame: &Frame) {
        if let Self::Up(up) = self {
            up.session.1.extend_from_slice(frame.bytes());
        }
    }

    /// Adds a frame to what is to be written on the lane: all frames that are ready leave together.
    pub(super) fn send_lane(&mut self, frame: &Frame) {
        if let Self::Up(up) = self {
            up.lane.1.extend_from_slice(frame.bytes());
        }
    }

    /// Reads a body, which may have at most `limit` bytes.
    pub(super) fn read_body(&mut self, start: BodyStart, body: BodyStream, limit: u64) {
        if let Self::Up(up) = self {
            up.bodies.spawn(read_body(start, body, limit));
        }
    }

    /// Closes the connection, or gives up making one.
    pub(super) fn close(&mut self, code: CloseCode, reason: &str) {
        if let Self::Up(up) = std::mem::replace(self, Self::Down) {
            up.connection.close(VarInt::from_u32(code.code()), reason.as_bytes());
        }
    }
}

impl BodyStream {
    /// Lets the router know that nobody wants the rest.
    pub(super) fn refuse(mut self) {
        // A stream that is over already needs no refusal.
        let _ = self.stream.stop(VarInt::from_u32(CloseCode::Done.code()));
    }
}

impl Up {
    /// Opens the streams; the session's is the first one.
    pub(super) async fn open(connection: quinn::Connection) -> Result<Self, ConnectionError> {
        let (session_send, session_receive) = connection.open_bi().await?;
        let (lane_send, lane_receive) = connection.open_bi().await?;
        Ok(Self {
            connection,
            session: (session_send, BytesMut::new()),
            lane: (lane_send, BytesMut::new()),
            session_frames: FrameReader::new(session_receive, MAX_PAYLOAD),
            lane_frames: FrameReader::new(lane_receive, MAX_PAYLOAD),
            bodies: JoinSet::new(),
        })
    }

    async fn next(&mut self) -> Event {
        loop {
            let (session, session_out) = (&mut self.session.0, &self.session.1);
            let (lane, lane_out) = (&mut self.lane.0, &self.lane.1);
            let may_accept = self.bodies.len() < MAX_BODIES as usize;
            // In this order, because each of the first ones is soon at rest.
            tokio::select! {
                biased;
                written = session.write(session_out), if !session_out.is_empty() => match written {
                    Ok(count) => self.session.1.advance(count),
                    Err(why) => return self.broken(why.to_string()),
                },
                written = lane.write(lane_out), if !lane_out.is_empty() => match written {
                    Ok(count) => self.lane.1.advance(count),
                    Err(why) => return self.broken(why.to_string()),
                },
                frame = self.session_frames.next() => return self.frame(frame, Event::Session),
                Some(body) = self.bodies.join_next() => match body {
                    Ok(event) => return event,
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                stream = self.connection.accept_uni(), if may_accept => match stream {
                    Ok(stream) => drop(self.bodies.spawn(start_body(stream))),
                    Err(why) => return Event::Lost(why.into()),
                },
                frame = self.lane_frames.next() => return self.frame(frame, Event::Lane),
            }
        }
    }

    fn frame(
        &self,
        frame: Result<Option<Frame>, ReadFrameError>,
        wrap: fn(Frame) -> Event,
    ) -> Event {
        match frame {
            Ok(Some(frame)) => wrap(frame),
            Ok(None) => self.broken("it ended the session".to_owned()),
            Err(ReadFrameError::Stream(why)) => self.broken(why.to_string()),
            Err(why @ (ReadFrameError::Decode(_) | ReadFrameError::CutShort)) => {
                Event::Violation(why.to_string())
            }
        }
    }

    /// A stream broke: most often because the connection did, which then knows better why.
    fn broken(&self, why: String) -> Event {
        Event::Lost(self.connection.close_reason().map_or_else(|| Lost::broken(why), Lost::from))
    }
}

/// Reads the frame that starts a body's stream.
async fn start_body(stream: RecvStream) -> Event {
    let mut frames = FrameReader::new(stream, MAX_PAYLOAD);
    let frame = match frames.next().await {
        Ok(Some(frame)) if frame.kind() == FrameType::Body => frame,
        Ok(Some(other)) => return Event::Violation(format!("{other:?} starts a body")),
        Err(ReadFrameError::Decode(why)) => return Event::Violation(why.to_string()),
        Ok(None) | Err(ReadFrameError::CutShort | ReadFrameError::Stream(_)) => {
            return Event::BodyFailed(None, 0);
        }
    };
    let (stream, rest) = frames.into_rest();
    match BodyStart::decode(frame.payload()) {
        Ok(start) => Event::BodyStart(start, BodyStream { stream, rest }),
        Err(why) => Event::Violation(why.to_string()),
    }
}

/// Reads the bytes of a body, at most `limit` of them.
async fn read_body(start: BodyStart, body: BodyStream, limit: u64) -> Event {
    let BodyStream { mut stream, rest } = body;
    let mut bytes = rest.concat();
    let broken = |bytes: Vec<u8>| Event::BodyFailed(Some(start.request_id), bytes.len() as u64);
    loop {
        if bytes.len() as u64 > limit {
            let _ = stream.stop(VarInt::from_u32(CloseCode::Done.code()));
            return broken(bytes);
        }
        match stream.read_chunk(usize::MAX, true).await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk.bytes),
            Ok(None) => break,
            Err(_) => return broken(bytes),
        }
    }
    // What is kept for long should not keep room for growth.
    bytes.shrink_to_fit();
    Event::Body(start, Bytes::from(bytes))
}
