//! Sockets and transport settings.
//!
//! quinn's defaults are made for peers that know each other. Everything that a stranger can make us
//! hold is bounded here, with the reason beside the number.

mod dialling;
mod door;

pub(crate) use dialling::DiallingEndpoints;
pub(crate) use door::Door;

use super::steering::{EndpointSecrets, WorkerIds, plain_socket};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// The versions of QUIC that we speak. quinn also knows drafts, which nobody uses, and which the
/// steering would not recognize.
const VERSIONS: [u32; 1] = [1];
/// How often one worker may answer an unknown id with a reset. Resets are smaller than what they
/// answer and cost a microsecond; after a restart, thousands of clients wait for theirs.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// Connections that wait for the worker to look at them: it does so in every turn of its loop, so
/// this is a burst of one turn. Each holds a packet and its keys, about 4 KiB.
const INCOMING: usize = 1024;
/// Bytes that may arrive for one of them meanwhile, besides its first packet: the rest of a large
/// ClientHello. There is no 0-RTT.
const INCOMING_BYTES: u64 = 16 * 1024;
/// The same for all of them.
const ALL_INCOMING_BYTES: u64 = 4 * 1024 * 1024;
/// How closely the size of packets follows what a client's path carries. Coarser than quinn's 20:
/// two probes find that all of Ethernet's 1452 bytes pass, instead of four, and every connection
/// pays for them. A path that carries a little less is used to 1326.
const CLIENT_MTU_STEP: u16 = 100;
/// Handshake bytes that may arrive out of order: a ClientHello is one or two packets.
const CLIENT_HANDSHAKE_BYTES: usize = 8 * 1024;

/// Lanes, and the session stream, that a client may have open. quinn holds memory per permitted
/// stream from the start: with its default of 200, an idle connection takes a quarter more.
const CLIENT_STREAMS: u32 = 8;
/// Streams one way that a client may have open. The native protocol has none, but what client it is
/// is not known yet: HTTP/3 must have three from the start (RFC 9114, section 6.2), or browsers end
/// the connection.
const CLIENT_ONE_WAY_STREAMS: u32 = 3;
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

/// The round trip assumed before the first is measured. Members are near each other; with the
/// standard's 333 ms, one lost packet of a handshake would keep a link away for a second.
const BACKPLANE_INITIAL_ROUND_TRIP: Duration = Duration::from_millis(30);

fn idle(timeout: Duration) -> IdleTimeout {
    IdleTimeout::try_from(timeout).expect("the constants above are far below the limit")
}

/// Settings towards clients.
pub(crate) fn client_facing_transport() -> Arc<TransportConfig> {
    let mut mtu_discovery = quinn::MtuDiscoveryConfig::default();
    mtu_discovery.minimum_change(CLIENT_MTU_STEP);
    let mut transport = TransportConfig::default();
    transport
        .mtu_discovery_config(Some(mtu_discovery))
        .max_concurrent_bidi_streams(VarInt::from_u32(CLIENT_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(CLIENT_ONE_WAY_STREAMS))
        .stream_receive_window(VarInt::from_u32(CLIENT_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CLIENT_WINDOW))
        .send_window(CLIENT_SEND_WINDOW)
        .max_idle_timeout(Some(idle(CLIENT_IDLE_TIMEOUT)))
        .crypto_buffer_size(CLIENT_HANDSHAKE_BYTES)
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0);
    Arc::new(transport)
}

/// Settings among routers and servers. Bodies come on connections of their own.
pub(crate) fn backplane_transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(BACKPLANE_FRAME_WINDOW))
        .send_window(u64::from(BACKPLANE_FRAME_WINDOW))
        .keep_alive_interval(Some(BACKPLANE_KEEP_ALIVE))
        .max_idle_timeout(Some(idle(BACKPLANE_IDLE_TIMEOUT)))
        .initial_rtt(BACKPLANE_INITIAL_ROUND_TRIP)
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
        .initial_rtt(BACKPLANE_INITIAL_ROUND_TRIP)
        .datagram_receive_buffer_size(None);
    Arc::new(transport)
}

/// What a router accepts clients with.
pub(crate) fn public_accepting(tls: Arc<QuicServerConfig>) -> ServerConfig {
    accepting(tls, client_facing_transport())
}

/// What a member of the backplane accepts others with.
pub(crate) fn backplane_accepting(tls: Arc<QuicServerConfig>) -> ServerConfig {
    accepting(tls, backplane_transport())
}

/// Everything that quinn bounds too generously for a port that strangers reach.
///
/// What it bounds well enough, and has no setting for: eight ids a connection, of which the peer
/// can make us replace 50 before we close it; one former path; 16 answers to path challenges; and
/// no address tokens outside of Retry, so that there is nothing to remember about them.
fn accepting(tls: Arc<QuicServerConfig>, transport: Arc<TransportConfig>) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(tls);
    config
        .transport_config(transport)
        .max_incoming(INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(ALL_INCOMING_BYTES)
        // A client that changes networks keeps its connection: its id leads to its worker.
        .migration(true);
    config
}

/// One worker's endpoint, on its socket of a port group. Call it inside the worker's runtime.
///
/// It must accept for as long as it lives (quinn: `set_server_config(None)`): an endpoint that does
/// not accept answers a first packet with a reset for whatever id it carries, and so lets anybody
/// end the connections of every worker that shares the key. What only dials is a
/// [`DiallingEndpoints`].
pub(crate) fn worker_endpoint(
    socket: UdpSocket,
    ids: WorkerIds,
    secrets: &EndpointSecrets,
    mut accepting: ServerConfig,
) -> io::Result<quinn::Endpoint> {
    let mut config = EndpointConfig::new(secrets.reset_key());
    config
        .cid_generator(move || Box::new(ids))
        .supported_versions(VERSIONS.to_vec())
        .min_reset_interval(RESET_INTERVAL);
    accepting.token_key(secrets.token_key());
    quinn::Endpoint::new(config, Some(accepting), socket, Arc::new(quinn::TokioRuntime))
}

/// A QUIC endpoint on a UDP address of its own, with keys of its own. Accepts connections if it is
/// given a configuration for them. Must be called inside the worker's runtime.
pub(crate) fn bind(
    address: SocketAddr,
    accepting: Option<ServerConfig>,
) -> io::Result<quinn::Endpoint> {
    let mut config = EndpointConfig::default();
    config.supported_versions(VERSIONS.to_vec());
    let runtime = Arc::new(quinn::TokioRuntime);
    quinn::Endpoint::new(config, accepting, plain_socket(address)?, runtime)
}
