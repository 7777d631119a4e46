//! A client that writes its frames by hand.

use super::cluster::PATIENCE;
use crate::config::bundled;
use crate::net::frames::FrameReader;
use crate::wire::frame::MAX_PAYLOAD;
use crate::wire::lane::{Get, Outcome, Reply, Validator};
use crate::wire::session::{ALPN, Hello, OLDEST_VERSION, VERSION, Welcome};
use crate::wire::{ClientId, Frame, FrameType, Key};
use bytes::BytesMut;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::net::SocketAddr;
use std::sync::Arc;

/// One connection with one lane.
pub(super) struct Lane {
    pub(super) endpoint: quinn::Endpoint,
    pub(super) connection: quinn::Connection,
    pub(super) client: ClientId,
    send: quinn::SendStream,
    frames: FrameReader,
    _session: (quinn::SendStream, FrameReader),
}

/// What a client of the bundled certificates trusts.
fn trusting() -> quinn::ClientConfig {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(bundled::PUBLIC_CA.pem.as_bytes());
    roots.add(ca.expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3");
    let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("a QUIC suite")))
}

impl Lane {
    /// Connects from a port of its own, and is welcomed.
    pub(super) async fn connect(router: SocketAddr) -> Self {
        let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a port");
        let connecting = endpoint.connect_with(trusting(), router, "localhost");
        let connection = connecting.expect("a good address").await.expect("a router");
        let (mut hello, receive) = connection.open_bi().await.expect("a stream");
        let frame =
            Hello { oldest: OLDEST_VERSION, newest: VERSION, token: None, pool: None }.encode();
        hello.write_all(frame.bytes()).await.expect("a HELLO is written");
        let mut session = FrameReader::new(receive, MAX_PAYLOAD);
        let welcome = session.next().await.expect("frames").expect("a frame");
        assert_eq!(welcome.kind(), FrameType::Welcome);
        let welcome = Welcome::decode(welcome.payload()).expect("a WELCOME");
        let (send, receive) = connection.open_bi().await.expect("a lane");
        let frames = FrameReader::new(receive, MAX_PAYLOAD);
        let client = welcome.client;
        Self { endpoint, connection, client, send, frames, _session: (hello, session) }
    }

    /// Asks for slots in one go; with their keys, or without.
    pub(super) async fn ask(&mut self, slots: std::ops::Range<u64>, key: Option<&Key>) {
        let mut out = BytesMut::new();
        for slot in slots {
            let (key, validator) = (key.cloned(), Validator::None);
            let get = Get { request_id: slot, slot, key, validator };
            out.extend_from_slice(get.encode().bytes());
        }
        self.send.write_all(&out).await.expect("requests are written");
    }

    /// The next reply's frame; announcements are passed over.
    pub(super) async fn next_frame(&mut self) -> Frame {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.frames.next()).await;
            let frame = next.expect("an answer in time").expect("frames").expect("a frame");
            if frame.kind() != FrameType::Assigned {
                return frame;
            }
        }
    }

    /// Asks for one slot, and gets what it got.
    pub(super) async fn get(&mut self, slot: u64, key: Option<&Key>) -> Outcome {
        self.ask(slot..slot + 1, key).await;
        let reply = Reply::decode(&self.next_frame().await).expect("a reply");
        assert_eq!(reply.request_id, slot);
        reply.outcome
    }
}
