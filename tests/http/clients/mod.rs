//! Clients of HTTP/1.1, HTTP/2 and HTTP/3 that share no code with the router, and an origin.
//!
//! Each client is one connection, and blocks until an answer is there. All verify the router's
//! certificate by `certs/ca.pem`, for the name `localhost`.

// Each test program uses its own part of this.
#![allow(dead_code, unused_imports)]

mod answer;
mod http1;
mod http2;
mod http3;
mod origin;

pub(crate) use answer::{Answer, Ask};
pub(crate) use http1::Http1;
pub(crate) use http2::Http2;
pub(crate) use http3::{Http3, quic};
pub(crate) use origin::{Origin, Seen};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use tokio::runtime::{Builder, Handle};

/// The name for which the router's certificate is.
pub(crate) const NAME: &str = "localhost";

/// One connection to the router, of any version of HTTP.
pub(crate) trait Client {
    /// Asks, and waits for the whole answer; an error if there is none, or not all of it.
    fn try_ask(&mut self, ask: &Ask) -> Result<Answer, String>;

    /// The same where nothing may go wrong on the way.
    fn ask(&mut self, ask: &Ask) -> Answer {
        self.try_ask(ask).unwrap_or_else(|why| panic!("{} {}: {why}", ask.method, ask.target))
    }

    /// Gets a target.
    fn get(&mut self, target: &str) -> Answer {
        self.ask(&Ask::get(target))
    }
}

/// One new connection of each version, with its name.
pub(crate) fn all_versions(router: SocketAddr) -> Vec<(&'static str, Box<dyn Client>)> {
    vec![
        ("HTTP/1.1", Box::new(Http1::connect(router))),
        ("HTTP/2", Box::new(Http2::connect(router))),
        ("HTTP/3", Box::new(Http3::connect(router))),
    ]
}

/// The runtime of all clients that need one. It runs on a thread of its own, so that connections
/// are looked after between two requests.
pub(crate) fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    })
}

/// How to connect by TLS, with these protocols to choose from.
pub(crate) fn tls(alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter("certs/ca.pem").expect("it is there") {
        roots.add(certificate.expect("it is a certificate")).expect("it is one of an authority");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("it is known");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}
