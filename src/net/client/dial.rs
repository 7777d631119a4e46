//! Making connections: transport settings, sockets, and why one could not be made.

use super::config::ClientConfig;
use super::link::{Link, MAX_BODIES, Up};
use crate::node::client::printable;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, TransportConfig, TransportErrorCode, VarInt};
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;

/// Bytes of one stream that may be on the way before they are read.
const STREAM_WINDOW: u32 = 4 << 20;
/// The same of all streams together.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Bytes written and not yet acknowledged.
const SEND_WINDOW: u64 = 1 << 20;

/// TLS's "no application protocol" (RFC 7301), as QUIC carries it.
const NO_COMMON_PROTOCOL: u8 = 120;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct Lost {
    /// The code with which the router closed it, if it did.
    pub(crate) code: Option<u64>,
    /// Why, for people.
    pub(crate) reason: String,
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
                connection = connecting => Ok(Up::open(connection?).await?),
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

/// Any port of this machine from which the peer can be reached.
pub(crate) fn any_address(peer: SocketAddr) -> SocketAddr {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, 0)
}

/// Ends when the address refuses a datagram. QUIC itself learns nothing of that, and would wait for
/// the whole timeout. Only on loopback, where nobody else can forge the refusal.
pub(crate) async fn nobody_listens(address: SocketAddr) {
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
    pub(crate) fn broken(reason: impl Into<String>) -> Self {
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
