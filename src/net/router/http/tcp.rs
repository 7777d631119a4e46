//! The side door: HTTP/2 and HTTP/1.1 over TLS on TCP, for those whom QUIC does not reach. Each
//! answer says by `alt-svc` that there is HTTP/3 on the same port, so that browsers come to it.

mod answer;
mod request;
mod stalling;

use super::client::{Ask, HttpClient};
use super::finish::finish;
use super::logged::{Head, Logged};
use crate::net::router::Shell;
use crate::wire::http::{MAX_FIELDS, MAX_FIELDS_BYTES};
use ::http::{Request, Response};
use answer::{AnswerContent, respond};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use request::{ask, protocol_of};
use stalling::Stalling;
use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The ALPNs of the side door, the preferred one first.
pub(in crate::net::router) const ALPNS: [&[u8]; 2] = [H2, b"http/1.1"];
const H2: &[u8] = b"h2";
/// Connections of one worker, those that are being made included. Each may hold some 100 KiB.
const MAX_CONNECTIONS: usize = 4096;
/// How long a handshake, or the head of a request over HTTP/1.1, may take; and how long such a
/// connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take no bytes that wait for it.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a connection of HTTP/2 is asked whether it lives, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Requests that a connection of HTTP/2 may have open.
const MAX_STREAMS: u32 = 100;
/// Bytes of a request over HTTP/1.1 that are read ahead, its head included.
const MAX_BUFFER: usize = 32 * 1024;
/// How long is waited when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts clients for as long as it is polled.
pub(in crate::net::router) async fn accept(
    shell: Rc<Shell>,
    listener: TcpListener,
    tls: TlsAcceptor,
) {
    let open = Rc::new(Cell::new(0));
    let port = listener.local_addr().map_or(0, |address| address.port());
    let alt_svc = format!("h3=\":{port}\"; ma=86400");
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a TCP connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if open.get() >= MAX_CONNECTIONS {
            continue;
        }
        let place = Place::take(&open);
        let (shell, tls, alt_svc) = (Rc::clone(&shell), tls.clone(), alt_svc.clone());
        tokio::task::spawn_local(async move {
            let _place = place;
            serve(shell, (stream, peer), tls, alt_svc).await;
        });
    }
}

/// A place among the connections of a worker.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn serve(
    shell: Rc<Shell>,
    (stream, peer): (TcpStream, SocketAddr),
    tls: TlsAcceptor,
    alt_svc: String,
) {
    // Fails only if the connection is gone already.
    let _ = stream.set_nodelay(true);
    let stream = Stalling::new(stream, STALL_TIMEOUT);
    let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await else {
        return;
    };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(H2);
    let leaving = Rc::clone(&shell);
    let leaving = leaving.leaving.notified();
    let client = Rc::new(HttpClient::new(shell, peer, None));
    let service = service_fn(move |request| {
        let (client, alt_svc) = (Rc::clone(&client), alt_svc.clone());
        async move { Ok::<_, Infallible>(answer(&client, request, &alt_svc).await) }
    });
    let io = TokioIo::new(stream);
    let ended = if is_h2 {
        let connection = http2::Builder::new(LocalTasks)
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_FIELDS_BYTES as u32)
            .keep_alive_interval(PING_INTERVAL)
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = leaving => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(MAX_FIELDS)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = leaving => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection over TCP ended");
    }
}

/// Runs the tasks of HTTP/2 on the worker's own thread.
#[derive(Clone)]
struct LocalTasks;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalTasks {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

async fn answer(
    client: &HttpClient,
    request: Request<Incoming>,
    alt_svc: &str,
) -> Response<AnswerContent> {
    let is_head = request.method() == ::http::Method::HEAD;
    let version = request.version();
    let (mut answer, mut logged) = match ask(request).await {
        Ok(ask) => {
            let Ask { method, scheme, authority, target, fields, protocol, .. } = &ask;
            let seen = Head { method, scheme: *scheme, authority, target, fields };
            let logged = Logged::begin(client, *protocol, Some(&seen));
            (client.ask(ask).await, logged)
        }
        Err(answer) => (answer, Logged::begin(client, protocol_of(version), None)),
    };
    answer.add("alt-svc", alt_svc);
    let answer = finish(answer, is_head);
    logged.answered(client, answer.status);
    respond(answer, logged, is_head, version)
}
