//! Sockets and transport settings.
//!
//! quinn's defaults are made for peers that know each other. Everything that a stranger can make us
//! hold is bounded here, with the reason beside the number.

use quinn::{EndpointConfig, IdleTimeout, TransportConfig, VarInt};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// Lanes, and the session stream, that a client may have open. quinn holds memory per permitted
/// stream from the start.
const CLIENT_STREAMS: u32 = 8;
/// What a client may send on one lane before it is read: a few hundred requests.
const CLIENT_STREAM_WINDOW: u32 = 64 * 1024;
/// What a client may send on all its lanes before it is read.
const CLIENT_WINDOW: u32 = 256 * 1024;
/// What may be sent to a client before it acknowledges: enough for 100 Mbit/s at 80 ms.
const CLIENT_SEND_WINDOW: u64 = 1024 * 1024;
/// A client that was silent for so long is gone; clients send keep-alives more often.
const CLIENT_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bodies that a server may send to a router at one time: far more than any link carries, because
/// a slow client holds on to its streams, and must not keep others from getting theirs.
const BACKPLANE_BODY_STREAMS: u32 = 4096;
/// How much of one body a router takes before its client has taken it.
const BACKPLANE_BODY_WINDOW: u32 = 512 * 1024;
/// How much of the frames one side takes before it has read them.
const BACKPLANE_FRAME_WINDOW: u32 = 8 * 1024 * 1024;
/// A link that was silent for so long is broken: both ends dial again.
const BACKPLANE_IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a link shows that it is alive.
const BACKPLANE_KEEP_ALIVE: Duration = Duration::from_millis(400);

/// Bytes that the system may hold for a socket, each way.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

fn idle(timeout: Duration) -> IdleTimeout {
    IdleTimeout::try_from(timeout).expect("the constants above are far below the limit")
}

/// Settings towards clients.
pub(crate) fn client_facing_transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(CLIENT_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(CLIENT_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CLIENT_WINDOW))
        .send_window(CLIENT_SEND_WINDOW)
        .max_idle_timeout(Some(idle(CLIENT_IDLE_TIMEOUT)))
        .datagram_receive_buffer_size(None);
    Arc::new(transport)
}

/// Settings among routers and servers.
pub(crate) fn backplane_transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(BACKPLANE_BODY_STREAMS))
        .stream_receive_window(VarInt::from_u32(BACKPLANE_FRAME_WINDOW))
        .send_window(u64::from(BACKPLANE_FRAME_WINDOW))
        .keep_alive_interval(Some(BACKPLANE_KEEP_ALIVE))
        .max_idle_timeout(Some(idle(BACKPLANE_IDLE_TIMEOUT)))
        .datagram_receive_buffer_size(None);
    Arc::new(transport)
}

/// Settings of the connection that carries bodies.
pub(crate) fn backplane_body_transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(BACKPLANE_BODY_STREAMS))
        .stream_receive_window(VarInt::from_u32(BACKPLANE_BODY_WINDOW))
        .send_window(u64::from(BACKPLANE_FRAME_WINDOW))
        .keep_alive_interval(Some(BACKPLANE_KEEP_ALIVE))
        .max_idle_timeout(Some(idle(BACKPLANE_IDLE_TIMEOUT)))
        .datagram_receive_buffer_size(None);
    Arc::new(transport)
}

/// A QUIC endpoint on a UDP address. Accepts connections if it is given a configuration for them.
/// Must be called inside the worker's runtime.
pub(crate) fn bind(
    address: SocketAddr,
    accepting: Option<quinn::ServerConfig>,
) -> io::Result<quinn::Endpoint> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Larger buffers are a wish: the system may cap them.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    quinn::Endpoint::new(EndpointConfig::default(), accepting, socket, runtime)
}
