//! HTTP/3 by the crate `h3`.

use super::answer::{fields_of, head_of};
use super::{Answer, Ask, Client, NAME, runtime, tls};
use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use quinn::crypto::rustls::QuicClientConfig;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// The stream of a request.
pub(crate) type Stream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// A connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Http3 {
    sender: SendRequest<OpenStreams, Bytes>,
    pub(crate) connection: quinn::Connection,
}

impl Http3 {
    pub(crate) fn connect(router: SocketAddr) -> Self {
        runtime().block_on(async {
            let connection = quic(router).await;
            let over = h3_quinn::Connection::new(connection.clone());
            let (mut driver, sender) = h3::client::new(over).await.expect("it speaks HTTP/3");
            runtime().spawn(async move { driver.wait_idle().await });
            Self { sender, connection }
        })
    }

    /// Sends a request with all that it has, and leaves the answer to be read.
    pub(crate) async fn begin(&self, ask: &Ask) -> Result<Stream, String> {
        let mut stream =
            self.sender.clone().send_request(head_of(ask)).await.map_err(|why| why.to_string())?;
        if !ask.body.is_empty() {
            let sent = stream.send_data(Bytes::copy_from_slice(&ask.body)).await;
            if sent.is_err() {
                // The router wants no more of it, and answers all the same. `h3` must not be told
                // of an end then: it would take it for a mistake of its own.
                return Ok(stream);
            }
        }
        let _ = stream.finish().await;
        Ok(stream)
    }

    /// The same request for request, from any task.
    pub(crate) async fn answer(&self, ask: &Ask) -> Result<Answer, String> {
        finish(self.begin(ask).await?).await
    }
}

/// Reads the answer to its end.
pub(crate) async fn finish(mut stream: Stream) -> Result<Answer, String> {
    let head = stream.recv_response().await.map_err(|why| why.to_string())?;
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await.map_err(|why| why.to_string())? {
        while data.has_remaining() {
            let chunk = data.chunk();
            body.extend_from_slice(chunk);
            let length = chunk.len();
            data.advance(length);
        }
    }
    let trailers = stream.recv_trailers().await.map_err(|why| why.to_string())?;
    let trailers = trailers.as_ref().map(fields_of).unwrap_or_default();
    let (status, fields) = (head.status().as_u16(), fields_of(head.headers()));
    Ok(Answer { status, fields, body, trailers })
}

/// The socket of all connections.
fn endpoint() -> &'static quinn::Endpoint {
    static ENDPOINT: OnceLock<quinn::Endpoint> = OnceLock::new();
    let local = || "127.0.0.1:0".parse().expect("it is an address");
    ENDPOINT.get_or_init(|| quinn::Endpoint::client(local()).expect("there is a port"))
}

/// A QUIC connection with the ALPN of HTTP/3 on which nothing has been said.
pub(crate) async fn quic(router: SocketAddr) -> quinn::Connection {
    let crypto = QuicClientConfig::try_from(tls(&[b"h3"])).expect("it has TLS 1.3");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint().connect_with(config, router, NAME).expect("it is an address");
    connecting.await.expect("the router speaks QUIC")
}

impl Client for Http3 {
    fn try_ask(&mut self, ask: &Ask) -> Result<Answer, String> {
        runtime().block_on(self.answer(ask))
    }
}
