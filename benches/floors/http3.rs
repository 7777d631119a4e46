//! The floor of HTTP/3: the h3 crate, answering by itself.

use crate::{Failure, relay};
use bytes::Bytes;
use h3::error::StreamError;
use h3::server::{RequestResolver, RequestStream};
use http::header::{CONTENT_LENGTH, ETAG, IF_NONE_MATCH};
use http::{HeaderValue, Response, StatusCode};
use quinn::{Endpoint, Incoming};
use std::rc::Rc;

type Resolver = RequestResolver<h3_quinn::Connection, Bytes>;
type Stream = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// The one item that there is, under every path.
pub(crate) struct Item {
    etag: HeaderValue,
    body: Bytes,
}

/// What every request needs.
struct Shared {
    item: Item,
    upstream: Option<quinn::Connection>,
}

impl Item {
    /// An item of `size` bytes.
    pub(crate) fn new(etag: &str, size: usize) -> Result<Self, Failure> {
        Ok(Self { etag: HeaderValue::from_str(etag)?, body: Bytes::from(vec![b'f'; size]) })
    }
}

/// Answers for as long as the endpoint is open; bodies come from `upstream`, if there is one.
pub(crate) async fn serve(endpoint: Endpoint, item: Item, upstream: Option<quinn::Connection>) {
    let shared = Rc::new(Shared { item, upstream });
    while let Some(incoming) = endpoint.accept().await {
        tokio::task::spawn_local(serve_connection(incoming, Rc::clone(&shared)));
    }
}

async fn serve_connection(incoming: Incoming, shared: Rc<Shared>) {
    // A client that goes away, in whatever way, is how every connection here ends.
    let Ok(connection) = incoming.await else { return };
    let connection = h3_quinn::Connection::new(connection);
    let built = h3::server::builder().send_grease(false).build(connection).await;
    let Ok(mut connection) = built else { return };
    while let Ok(Some(resolver)) = connection.accept().await {
        let shared = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            let _ = answer(resolver, &shared).await;
        });
    }
}

async fn answer(resolver: Resolver, shared: &Shared) -> Result<(), StreamError> {
    let (request, mut stream) = resolver.resolve_request().await?;
    let item = &shared.item;
    let held = request.headers().get(IF_NONE_MATCH).is_some_and(|held| *held == item.etag);
    let mut response = Response::new(());
    response.headers_mut().insert(ETAG, item.etag.clone());
    if held {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        stream.send_response(response).await?;
    } else if let Some(upstream) = &shared.upstream {
        stream.send_response(response).await?;
        relay_body(upstream, &mut stream).await?;
    } else {
        response.headers_mut().insert(CONTENT_LENGTH, item.body.len().into());
        stream.send_response(response).await?;
        stream.send_data(item.body.clone()).await?;
    }
    stream.finish().await
}

async fn relay_body(upstream: &quinn::Connection, stream: &mut Stream) -> Result<(), StreamError> {
    let Ok(mut body) = relay::request(upstream).await else {
        stream.stop_stream(h3::error::Code::H3_INTERNAL_ERROR);
        return Ok(());
    };
    while let Ok(Some(chunk)) = body.read_chunk(usize::MAX, true).await {
        stream.send_data(chunk.bytes).await?;
    }
    Ok(())
}
