//! TLS for both protocols: who may talk to whom, and how each proves it.
//!
//! Clients verify a router's public certificate by a CA. Members of the backplane verify each
//! other: see `tls/backplane.rs`. Everything is TLS 1.3, as QUIC demands, by aws-lc-rs, which is
//! named explicitly, so that nothing another library installs in the process changes it. There is
//! no 0-RTT: data that could be replayed is refused.

#[cfg(feature = "server")]
mod backplane;
mod error;
#[cfg(feature = "server")]
mod own;
mod pem;
#[cfg(all(test, feature = "cli"))]
mod tests;

#[cfg(feature = "server")]
pub(crate) use backplane::{ANY_MEMBER, Backplane, dial_name, peer_may_be};
pub(crate) use error::TlsError;
#[cfg(feature = "server")]
pub(crate) use pem::private_key;

use crate::config::bundled;
use quinn::crypto::rustls::QuicClientConfig;
#[cfg(feature = "server")]
use quinn::crypto::rustls::QuicServerConfig;
use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::version::TLS13;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// The only cryptography there is in the process.
///
/// It offers AES-128 before AES-256, whose handshakes hash with SHA-384: processors have
/// instructions for SHA-256 and not for that, and a router's handshake takes a sixth less time. A
/// peer that prefers another suite gets it.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        let first = CipherSuite::TLS13_AES_128_GCM_SHA256;
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != first);
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}

/// Whom a client trusts to vouch for routers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Roots<'a> {
    /// The bundled development CA. Only for routers on loopback: everybody has the keys.
    Bundled,
    /// The CAs in a PEM file.
    File(&'a Path),
    /// The CAs in a PEM text.
    Pem(&'a [u8]),
}

/// What a router shows to clients. `alpns` are the protocols it speaks, the preferred one first.
///
/// All workers must share one: it holds the keys by which returning clients resume.
#[cfg(feature = "server")]
pub(crate) fn public_server(
    cert: &Path,
    key: &Path,
    alpns: &[&[u8]],
) -> Result<rustls::ServerConfig, TlsError> {
    let certified = pem::certified_key(cert, key)?;
    own::check_dates(cert, &certified.cert)?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("aws-lc-rs has TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = alpns.iter().map(|alpn| alpn.to_vec()).collect();
    config.max_early_data_size = 0;
    // A returning client then costs no signature, and the router remembers nothing for it.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("there is randomness");
    Ok(config)
}

/// What a client verifies routers by. `alpns` are the protocols it speaks.
pub(crate) fn public_client(
    roots: Roots<'_>,
    alpns: &[&[u8]],
) -> Result<rustls::ClientConfig, TlsError> {
    let roots = match roots {
        Roots::Bundled => {
            let file = bundled::PUBLIC_CA;
            pem::roots_from(Path::new(file.name), file.pem.as_bytes())?
        }
        Roots::File(path) => pem::roots(path)?,
        Roots::Pem(text) => pem::roots_from(Path::new("the CA"), text)?,
    };
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("aws-lc-rs has TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpns.iter().map(|alpn| alpn.to_vec()).collect();
    config.enable_early_data = false;
    Ok(config)
}

/// The same, as quinn takes it.
#[cfg(feature = "server")]
pub(crate) fn quic_server(config: rustls::ServerConfig) -> Arc<QuicServerConfig> {
    Arc::new(QuicServerConfig::try_from(config).expect("aws-lc-rs has QUIC's initial cipher"))
}

/// The same, as quinn takes it.
pub(crate) fn quic_client(config: rustls::ClientConfig) -> Arc<QuicClientConfig> {
    Arc::new(QuicClientConfig::try_from(config).expect("aws-lc-rs has QUIC's initial cipher"))
}
