//! The floor of the native protocol: what a reply costs when there is nothing to decide.
//!
//! A lane is read until nothing more is ready, and all of it is written back at once, as slices of
//! the datagrams that it came in. Nothing is decoded, copied or allocated here.

use bytes::Bytes;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream};

/// Slices that are read, and then written, in one go. One slice is what one datagram held.
const CHUNKS: usize = 64;

/// Echoes for as long as the endpoint is open.
pub(crate) async fn serve(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::task::spawn_local(serve_connection(incoming));
    }
}

async fn serve_connection(incoming: Incoming) {
    // A client that goes away, in whatever way, is how every connection here ends.
    let Ok(connection) = incoming.await else { return };
    accept_lanes(&connection).await;
}

async fn accept_lanes(connection: &Connection) {
    while let Ok((send, receive)) = connection.accept_bi().await {
        tokio::task::spawn_local(async move {
            let _ = echo(send, receive).await;
        });
    }
}

async fn echo(mut send: SendStream, mut receive: RecvStream) -> Result<(), quinn::WriteError> {
    let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
    while let Ok(Some(count)) = receive.read_chunks(&mut chunks).await {
        send.write_all_chunks(&mut chunks[..count]).await?;
    }
    let _ = send.finish();
    Ok(())
}
