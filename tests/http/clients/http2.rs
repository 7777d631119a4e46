//! HTTP/2 over TLS, by hyper's client.

use super::answer::{fields_of, head_of};
use super::{Answer, Ask, Client, NAME, runtime, tls};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection.
pub(crate) struct Http2 {
    sender: SendRequest<Full<Bytes>>,
}

impl Http2 {
    pub(crate) fn connect(router: SocketAddr) -> Self {
        let sender = runtime().block_on(async {
            let tcp = TcpStream::connect(router).await.expect("the router listens");
            let name = NAME.try_into().expect("it is a name");
            let stream = TlsConnector::from(tls(&[b"h2"])).connect(name, tcp).await;
            let stream = TokioIo::new(stream.expect("the router speaks TLS"));
            let made = handshake(TokioExecutor::new(), stream).await;
            let (sender, connection) = made.expect("the router speaks HTTP/2");
            runtime().spawn(connection);
            sender
        });
        Self { sender }
    }

    /// The same from any task; whoever drops it gives the request up.
    pub(crate) async fn answer(&mut self, ask: &Ask) -> hyper::Result<Answer> {
        let body = Full::new(Bytes::copy_from_slice(&ask.body));
        let answer = self.sender.send_request(head_of(ask).map(|()| body)).await?;
        let (head, body) = answer.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().map(fields_of).unwrap_or_default();
        let (status, fields) = (head.status.as_u16(), fields_of(&head.headers));
        Ok(Answer { status, fields, body: collected.to_bytes().to_vec(), trailers })
    }
}

impl Client for Http2 {
    fn try_ask(&mut self, ask: &Ask) -> Result<Answer, String> {
        runtime().block_on(self.answer(ask)).map_err(|error| format!("{error:?}"))
    }
}
