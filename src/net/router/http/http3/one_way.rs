//! Streams that go one way: ours for control, and those of the client.

use super::super::client::HttpClient;
use super::receiving::CHUNK;
use super::{close, varint};
use crate::h3::control::{ControlEvent, Peer, UniReader, encode_control_stream, encode_goaway};
use crate::h3::{Code, Error};
use bytes::BytesMut;
use quinn::{Connection, RecvStream};
use std::cell::RefCell;
use std::rc::Rc;

/// Opens our control stream and keeps it; says goodbye on it when the router goes away.
pub(super) async fn keep_control(client: &HttpClient, connection: &Connection) -> Option<Error> {
    let leaving = client.shell().leaving.notified();
    let mut stream = connection.open_uni().await.ok()?;
    let mut out = BytesMut::new();
    encode_control_stream(&mut out);
    stream.write_chunk(out.split().freeze()).await.ok()?;
    leaving.await;
    encode_goaway(client.requests(), &mut out);
    stream.write_chunk(out.freeze()).await.ok()?;
    std::future::pending().await
}

/// Reads the client's streams one way, each as it comes.
pub(super) async fn accept_one_way(
    peer: &Rc<RefCell<Peer>>,
    connection: &Connection,
) -> Option<Error> {
    loop {
        let stream = connection.accept_uni().await.ok()?;
        let (peer, connection) = (Rc::clone(peer), connection.clone());
        tokio::task::spawn_local(async move {
            if let Err(error) = read_one_way(&peer, stream).await {
                close(&connection, &error);
            }
        });
    }
}

async fn read_one_way(peer: &RefCell<Peer>, mut stream: RecvStream) -> Result<(), Error> {
    let mut reader = UniReader::default();
    loop {
        let chunk = match stream.read_chunk(CHUNK, true).await {
            Ok(chunk) => chunk,
            Err(quinn::ReadError::Reset(_)) => None,
            Err(_) => return Ok(()),
        };
        let Some(chunk) = chunk else {
            return reader.handle_end();
        };
        reader.handle_chunk(chunk.bytes);
        while let Some(event) = reader.poll_event(&mut peer.borrow_mut())? {
            if let ControlEvent::Ignore = event {
                // Fails only if it has ended.
                let _ = stream.stop(varint(Code::StreamCreationError));
                return Ok(());
            }
        }
    }
}
