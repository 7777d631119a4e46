//! The client's connection to a router: the session stream, one lane, and the bodies' own streams.

use super::config::ClientConfig;
use crate::net::frames::{FrameReader, ReadFrameError};
use crate::node::client::printable;
use crate::wire::frame::MAX_PAYLOAD;
use crate::wire::lane::BodyStart;
use crate::wire::session::CloseCode;
use crate::wire::{Frame, FrameType};
use bytes::{Buf, Bytes, BytesMut};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, RecvStream, SendStream, TransportConfig, TransportErrorCode, VarInt};
use std::future::{Future, pending};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Bodies that may be on the way at one time. quinn sets memory aside for each.
const MAX_BODIES: u32 = 16;
/// Bytes of one stream that may be on the way before they are read.
const STREAM_WINDOW: u32 = 4 << 20;
/// The same of all streams together.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Bytes written and not yet acknowledged.
const SEND_WINDOW: u64 = 1 << 20;

/// TLS's "no application protocol" (RFC 7301), as QUIC carries it.
const NO_COMMON_PROTOCOL: u8 = 120;

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

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct Lost {
    /// The code with which the router closed it, if it did.
    pub(super) code: Option<u64>,
    /// Why, for people.
    pub(super) reason: String,
}

/// A body's stream, behind its first frame.
pub(super) struct BodyStream {
    stream: RecvStream,
    rest: BytesMut,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Up, Lost>> + Send>>;

/// At most one connection.
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

/// Makes connections, from one socket for each address family.
pub(super) struct Dialer {
    endpoints: [Option<quinn::Endpoint>; 2],
    quic: quinn::ClientConfig,
    server_name: String,
}

impl Dialer {
    pub(super) fn new(config: &ClientConfig, tls: Arc<QuicClientConfig>) -> Self {
        let mut transport = TransportConfig::default();
        let idle = quinn::IdleTimeout::try_from(config.idle_timeout);
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(MAX_BODIES))
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
            .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
            .send_window(SEND_WINDOW)
            .datagram_receive_buffer_size(None)
            .keep_alive_interval(config.keep_alive)
            .max_idle_timeout(idle.ok());
        let mut quic = quinn::ClientConfig::new(tls);
        quic.transport_config(Arc::new(transport));
        Self { endpoints: [None, None], quic, server_name: config.server_name.clone() }
    }

    /// Starts to connect.
    pub(super) fn dial(&mut self, address: SocketAddr) -> Link {
        let family = usize::from(address.is_ipv6());
        if self.endpoints[family].is_none() {
            match quinn::Endpoint::client(any_address(address)) {
                Ok(endpoint) => self.endpoints[family] = Some(endpoint),
                Err(why) => {
                    let lost = Lost::broken(format!("no socket could be opened: {why}"));
                    return Link::Connecting(Box::pin(std::future::ready(Err(lost))));
                }
            }
        }
        let endpoint = self.endpoints[family].clone().expect("it was made above");
        let (quic, name) = (self.quic.clone(), self.server_name.clone());
        Link::Connecting(Box::pin(async move {
            let connecting = endpoint.connect_with(quic, address, &name);
            let connecting = connecting.map_err(|why| Lost::broken(why.to_string()))?;
            tokio::select! {
                connection = connecting => Ok(open(connection?).await?),
                () = nobody_listens(address) => Err(Lost::broken("nobody listens there")),
            }
        }))
    }

    /// Waits a little for the last packets to leave.
    pub(super) async fn finish(&self, at_most: Duration) {
        let idle = async {
            for endpoint in self.endpoints.iter().flatten() {
                endpoint.wait_idle().await;
            }
        };
        // Whatever is left then, the router's idle timeout cleans up.
        let _ = tokio::time::timeout(at_most, idle).await;
    }
}

fn any_address(peer: SocketAddr) -> SocketAddr {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, 0)
}

/// Opens the streams; the session's is the first one.
async fn open(connection: quinn::Connection) -> Result<Up, ConnectionError> {
    let (session_send, session_receive) = connection.open_bi().await?;
    let (lane_send, lane_receive) = connection.open_bi().await?;
    Ok(Up {
        connection,
        session: (session_send, BytesMut::new()),
        lane: (lane_send, BytesMut::new()),
        session_frames: FrameReader::new(session_receive, MAX_PAYLOAD),
        lane_frames: FrameReader::new(lane_receive, MAX_PAYLOAD),
        bodies: JoinSet::new(),
    })
}

/// Ends when the address refuses a datagram. QUIC itself learns nothing of that, and would wait for
/// the whole timeout. Only on loopback, where nobody else can forge the refusal.
async fn nobody_listens(address: SocketAddr) {
    let refused = async {
        let socket = UdpSocket::bind(any_address(address)).await.ok()?;
        socket.connect(address).await.ok()?;
        // One zero byte is no QUIC packet; whoever listens drops it.
        socket.send(&[0]).await.ok()?;
        let refused = socket.recv(&mut [0]).await.err()?;
        (refused.kind() == std::io::ErrorKind::ConnectionRefused).then_some(())
    };
    if !address.ip().is_loopback() || refused.await.is_none() {
        pending().await
    }
}

impl Lost {
    fn broken(reason: impl Into<String>) -> Self {
        Self { code: None, reason: reason.into() }
    }
}

/// In words that say what to do, where that is known.
impl From<ConnectionError> for Lost {
    fn from(error: ConnectionError) -> Self {
        match &error {
            ConnectionError::TimedOut => Self::broken("it does not answer"),
            ConnectionError::ApplicationClosed(closed) => {
                let reason = printable(&String::from_utf8_lossy(&closed.reason));
                Self { code: Some(closed.error_code.into_inner()), reason }
            }
            ConnectionError::TransportError(error) if error.reason.contains("UnknownIssuer") => {
                Self::broken("its certificate is signed by a CA that this client does not trust")
            }
            ConnectionError::ConnectionClosed(closed) => match closed.error_code {
                TransportErrorCode::CONNECTION_REFUSED => Self::broken("it has no room for more"),
                code if code == TransportErrorCode::crypto(NO_COMMON_PROTOCOL) => {
                    Self::broken("it does not speak this protocol")
                }
                _ => Self::broken(printable(&error.to_string())),
            },
            _ => Self::broken(printable(&error.to_string())),
        }
    }
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
    let mut bytes = Vec::from(&rest[..]);
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
