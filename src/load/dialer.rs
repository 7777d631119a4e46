//! Making connections, from many sockets.
//!
//! The system spreads datagrams over a target's workers by address and port, and hands what one
//! socket sent together to one worker: load from one socket would be load on one worker.

use super::LoadError;
use super::config::{LoadConfig, Mode, Target, Trust};
use crate::net::client::{Lost, any_address, nobody_listens};
use crate::net::tls;
use crate::wire::session::ALPN;
use quinn::{EndpointConfig, IdleTimeout, TransportConfig, VarInt};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// Sockets of one run, at the most; connections beyond that share them. More of them spread no
/// better, and cost more: 500 connections on 500 sockets take a quarter more time of the generator.
const MAX_SOCKETS: usize = 128;
/// Files that this process may have open beside the sockets.
const OTHER_FILES: u64 = 128;
/// How long a connection may take to stand.
pub(super) const CONNECT_PATIENCE: Duration = Duration::from_secs(4);
/// After so much silence a connection is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(9);
/// How often a connection on which nothing happens shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// Bodies on their way at one time, on one connection; quinn sets memory aside for each.
const MAX_BODIES: usize = 64;
/// Streams that an HTTP/3 server opens: control, and two of QPACK; more are permitted.
const HTTP3_STREAMS: u32 = 8;
/// Bytes of one stream that may be on the way before they are read.
const STREAM_WINDOW: u32 = 4 << 20;
/// The same of all streams together.
const CONNECTION_WINDOW: u32 = 32 << 20;
/// Bytes written and not yet acknowledged.
const SEND_WINDOW: u64 = 4 << 20;
/// Bytes that the system may hold for a socket, each way.
const SOCKET_BUFFER: usize = 1 << 20;

/// The ALPN of HTTP/3 (RFC 9114).
const HTTP3_ALPN: &[u8] = b"h3";

/// What all connections of a run have in common.
#[derive(Clone)]
pub(super) struct ClientSettings {
    quic: quinn::ClientConfig,
    server_name: String,
}

impl ClientSettings {
    pub(super) fn new(config: &LoadConfig) -> Result<Self, LoadError> {
        let (alpn, streams) = match config.target {
            Target::Routers { .. } => (ALPN, config.in_flight.min(MAX_BODIES) as u32),
            Target::Http3 { .. } => (HTTP3_ALPN, HTTP3_STREAMS),
        };
        let roots = match &config.trust {
            Trust::File(path) => tls::Roots::File(path),
            Trust::Bundled | Trust::Anybody => tls::Roots::Bundled,
        };
        let mut tls = tls::public_client(roots, &[alpn]).map_err(|why| LoadError::new(&why))?;
        if config.trust == Trust::Anybody {
            let provider = tls.crypto_provider().clone();
            tls.dangerous().set_certificate_verifier(Arc::new(Anybody(provider)));
        }
        if config.mode == Mode::Connect {
            // Each handshake is to be a whole one, as a client's first one is.
            tls.resumption = rustls::client::Resumption::disabled();
        }
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(streams))
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
            .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
            .send_window(SEND_WINDOW)
            .datagram_receive_buffer_size(None)
            .keep_alive_interval(Some(KEEP_ALIVE))
            .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok());
        let mut quic = quinn::ClientConfig::new(tls::quic_client(tls));
        quic.transport_config(Arc::new(transport));
        Ok(Self { quic, server_name: config.server_name.clone() })
    }
}

/// The sockets of one worker.
pub(super) struct Dialer {
    settings: ClientSettings,
    endpoints: Vec<quinn::Endpoint>,
}

impl Dialer {
    /// Opens `sockets` sockets, at least one. Must be called inside the worker's runtime.
    pub(super) fn open(
        settings: ClientSettings,
        peer: SocketAddr,
        sockets: usize,
    ) -> Result<Self, LoadError> {
        let endpoints = (0..sockets.max(1)).map(|_| endpoint(peer)).collect::<io::Result<_>>();
        let endpoints = endpoints
            .map_err(|why| LoadError::new(&format!("a socket could not be opened: {why}")))?;
        Ok(Self { settings, endpoints })
    }

    /// Connects from one of the sockets. `patiently`: gives an answer to QUIC alone; else, on this
    /// machine, it is also looked whether anybody listens, which costs a socket but no time.
    pub(super) async fn connect(
        &self,
        socket: usize,
        address: SocketAddr,
        patiently: bool,
    ) -> Result<quinn::Connection, Lost> {
        let endpoint = &self.endpoints[socket % self.endpoints.len()];
        let (quic, name) = (self.settings.quic.clone(), &self.settings.server_name);
        let connecting = endpoint.connect_with(quic, address, name);
        let connecting = connecting.map_err(|why| Lost::broken(why.to_string()))?;
        tokio::select! {
            biased;
            connection = connecting => Ok(connection?),
            () = nobody_listens(address), if !patiently => {
                Err(Lost::broken("nobody listens there"))
            }
            () = tokio::time::sleep(CONNECT_PATIENCE) => Err(Lost::broken("it does not answer")),
        }
    }

    /// Waits a little for the last packets to leave.
    pub(super) async fn finish(&self, at_most: Duration) {
        let idle = async {
            for endpoint in &self.endpoints {
                endpoint.wait_idle().await;
            }
        };
        // Whatever is left then, the target's idle timeout cleans up.
        let _ = tokio::time::timeout(at_most, idle).await;
    }
}

/// How many sockets a run may open: as many as the system lets this process have, once it has asked
/// for all that it may have.
pub(super) fn permitted_sockets() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What the system does not grant is not counted on.
    let _ = setrlimit(Resource::Nofile, limit);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let sockets = files.saturating_sub(OTHER_FILES).min(MAX_SOCKETS as u64);
    usize::try_from(sockets).unwrap_or(MAX_SOCKETS).max(1)
}

fn endpoint(peer: SocketAddr) -> io::Result<quinn::Endpoint> {
    let socket = UdpSocket::bind(any_address(peer))?;
    let options = socket2::SockRef::from(&socket);
    // Larger buffers are a wish: the system may cap them.
    let _ = options.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = options.set_send_buffer_size(SOCKET_BUFFER);
    let runtime = Arc::new(quinn::TokioRuntime);
    quinn::Endpoint::new(EndpointConfig::default(), None, socket, runtime)
}

/// Takes any certificate for the right one, as `--insecure` says. Who shows it must still have its
/// key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
