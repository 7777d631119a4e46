//! Sockets, TLS and transport limits of the floors: those of `src/net/endpoint.rs` and
//! `src/net/tls.rs`, spelt out again, because the library does not publish them.

use crate::Failure;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt,
};
use rustls::crypto::CryptoProvider;
use rustls::version::TLS13;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// Bidirectional streams that a client of the native protocol may open.
pub(crate) const LANES: u32 = 8;
/// Requests that an HTTP/3 client may have open: what RFC 9114, section 6.1, recommends.
const HTTP3_REQUESTS: u32 = 100;
/// Control stream, QPACK encoder and decoder, and one that is reserved for being ignored.
const HTTP3_CONTROL_STREAMS: u32 = 4;
/// Bodies that may be on their way from a source at one time.
const BODIES: u32 = 4096;

const CLIENT_STREAM_WINDOW: u32 = 64 * 1024;
const CLIENT_WINDOW: u32 = 256 * 1024;
const CLIENT_SEND_WINDOW: u64 = 1024 * 1024;
const CLIENT_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_STREAM_WINDOW: u32 = 512 * 1024;
const BODY_SEND_WINDOW: u64 = 8 * 1024 * 1024;
const SOCKET_BUFFER_SIZE: usize = 4 * 1024 * 1024;

const NATIVE_ALPN: &[u8] = b"understudy/1";
const HTTP3_ALPN: &[u8] = b"h3";
const BODY_ALPN: &[u8] = b"understudy-floor-bodies";

const CERTIFICATE: &[u8] = include_bytes!("../../certs/server.pem");
const KEY: &[u8] = include_bytes!("../../certs/server.key");
const CA: &[u8] = include_bytes!("../../certs/ca.pem");

/// What a floor offers to clients: a protocol and its limits.
pub(crate) struct Offer {
    alpn: &'static [u8],
    transport: TransportConfig,
}

/// The native protocol, with so many streams.
pub(crate) fn lanes(streams: u32) -> Offer {
    Offer { alpn: NATIVE_ALPN, transport: client_facing(streams, 0) }
}

/// HTTP/3.
pub(crate) fn http3() -> Offer {
    Offer { alpn: HTTP3_ALPN, transport: client_facing(HTTP3_REQUESTS, HTTP3_CONTROL_STREAMS) }
}

/// Bodies on their way from a source to a relay.
pub(crate) fn bodies() -> Offer {
    Offer { alpn: BODY_ALPN, transport: body_transport() }
}

fn client_facing(requests: u32, control_streams: u32) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(requests))
        .max_concurrent_uni_streams(VarInt::from_u32(control_streams))
        .stream_receive_window(VarInt::from_u32(CLIENT_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CLIENT_WINDOW))
        .send_window(CLIENT_SEND_WINDOW)
        .max_idle_timeout(Some(idle_timeout()))
        .datagram_receive_buffer_size(None);
    transport
}

fn body_transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(BODIES))
        .stream_receive_window(VarInt::from_u32(BODY_STREAM_WINDOW))
        .send_window(BODY_SEND_WINDOW)
        .max_idle_timeout(Some(idle_timeout()))
        .keep_alive_interval(Some(CLIENT_IDLE_TIMEOUT / 3))
        .datagram_receive_buffer_size(None);
    transport
}

fn idle_timeout() -> IdleTimeout {
    IdleTimeout::try_from(CLIENT_IDLE_TIMEOUT).expect("half a minute is far below the limit")
}

/// An endpoint that accepts what `offer` says.
pub(crate) fn bind(address: SocketAddr, offer: Offer) -> Result<Endpoint, Failure> {
    let chain = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<Vec<_>, _>>()?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(KEY)?)?;
    tls.alpn_protocols = vec![offer.alpn.to_vec()];
    tls.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    let mut accepting = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    accepting.transport_config(Arc::new(offer.transport));
    endpoint(address, Some(accepting))
}

/// An endpoint that dials a `source` floor.
pub(crate) fn dialling_bodies() -> Result<Endpoint, Failure> {
    dialling(BODY_ALPN, body_transport())
}

/// An endpoint that dials whoever speaks the native protocol, and keeps idle connections alive.
pub(crate) fn dialling_lanes() -> Result<Endpoint, Failure> {
    let mut transport = client_facing(0, 0);
    transport.keep_alive_interval(Some(CLIENT_IDLE_TIMEOUT / 3));
    dialling(NATIVE_ALPN, transport)
}

fn dialling(alpn: &[u8], transport: TransportConfig) -> Result<Endpoint, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CA)?)?;
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let mut dialling = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    dialling.transport_config(Arc::new(transport));
    let mut endpoint = endpoint(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None)?;
    endpoint.set_default_client_config(dialling);
    Ok(endpoint)
}

fn endpoint(address: SocketAddr, accepting: Option<ServerConfig>) -> Result<Endpoint, Failure> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    // Larger buffers are a wish: the system may cap them.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_SIZE);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_SIZE);
    socket.bind(&address.into()).map_err(|error| format!("{address}: {error}"))?;
    let socket = UdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    Ok(Endpoint::new(EndpointConfig::default(), accepting, socket, runtime)?)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
