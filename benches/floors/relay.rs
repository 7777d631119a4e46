//! Bodies from one QUIC connection into another: what receiving and sending a byte costs together.

use crate::{Failure, endpoint};
use bytes::Bytes;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream, WriteError};
use std::net::SocketAddr;

/// A connection to a `source` floor.
pub(crate) async fn dial(address: SocketAddr) -> Result<Connection, Failure> {
    Ok(endpoint::dialling_bodies()?.connect(address, "localhost")?.await?)
}

/// Asks the source for a body.
pub(crate) async fn request(source: &Connection) -> Result<RecvStream, Failure> {
    let (mut send, receive) = source.open_bi().await?;
    // A stream is only seen by the peer once something was sent on it.
    send.finish()?;
    Ok(receive)
}

/// Sends `size` bytes on every stream, for as long as the endpoint is open.
pub(crate) async fn serve_source(endpoint: Endpoint, size: usize) {
    let body = Bytes::from(vec![b'f'; size]);
    while let Some(incoming) = endpoint.accept().await {
        tokio::task::spawn_local(serve_connection(incoming, body.clone()));
    }
}

async fn serve_connection(incoming: Incoming, body: Bytes) {
    let Ok(connection) = incoming.await else { return };
    while let Ok((send, _)) = connection.accept_bi().await {
        let body = body.clone();
        tokio::task::spawn_local(async move {
            let _ = send_body(send, body).await;
        });
    }
}

async fn send_body(mut send: SendStream, body: Bytes) -> Result<(), WriteError> {
    send.write_chunk(body).await?;
    let _ = send.finish();
    // Dropping a stream that is finished does not cut it short.
    Ok(())
}
