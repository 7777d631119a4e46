//! HTTP/3 connections: their streams, and each request from its bytes to the bytes of its answer.

mod no_head;
mod one_way;
mod receiving;

use super::answer::{Answer, AnswerBody, Coming, told};
use super::client::{Ask, HttpClient};
use super::content::{self, Broken, Content};
use super::finish::finish;
use super::logged::{Head, Logged};
use super::within::within;
use crate::h3::control::{Peer, Role};
use crate::h3::message::{encode_data_header, encode_trailers};
use crate::h3::response::encode_response_head;
use crate::h3::{Code, Error, Limits, RequestHead, Scope};
use crate::http::forward::Protocol;
use crate::wire::http::{Fields, HttpRequest, Piece};
use bytes::{Bytes, BytesMut};
use no_head::NoHead;
use one_way::{accept_one_way, keep_control};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use receiving::{Receiving, TAKEN_BACK};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The ALPN of HTTP/3.
pub(in crate::net::router) const H3: &[u8] = b"h3";
/// Requests that a client may have open. quinn holds memory for each, so that a connection has
/// this many only once it speaks HTTP/3.
const MAX_REQUESTS: u32 = 100;
/// Streams one way that a client may have open: three are needed, and a few may be tried.
const MAX_ONE_WAY: u32 = 8;
/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to make room for the next piece of an answer.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests that a client takes back before they are answered, beyond as many as it lets be
/// answered: more is work for nothing.
const MAX_TAKEN_BACK: u32 = 200;

/// Whether a client has chosen HTTP/3 when it connected.
pub(in crate::net::router) fn is_http3(connection: &Connection) -> bool {
    let data = connection.handshake_data();
    let data = data.and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
    data.is_some_and(|data| data.protocol.as_deref() == Some(H3))
}

/// Serves a client until its connection ends.
pub(in crate::net::router) async fn serve(shell: Rc<super::super::Shell>, connection: Connection) {
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(MAX_REQUESTS));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(MAX_ONE_WAY));
    let peer = connection.remote_address();
    let client = Rc::new(HttpClient::new(shell, peer, Some(connection.clone())));
    let client_streams = Rc::new(RefCell::new(Peer::new(Role::Client)));
    let why = tokio::select! {
        why = keep_control(&client, &connection) => why,
        why = accept_one_way(&client_streams, &connection) => why,
        () = accept_requests(&client, &client_streams, &connection) => None,
        _ = connection.closed() => None,
    };
    if let Some(error) = why {
        tracing::debug!(%peer, %error, "an HTTP/3 connection ended");
        close(&connection, &error);
    }
    client.end();
}

fn close(connection: &Connection, error: &Error) {
    connection.close(varint(error.code), error.why.as_bytes());
}

fn varint(code: Code) -> VarInt {
    VarInt::from_u64(code.value()).expect("the codes are small")
}

async fn accept_requests(client: &Rc<HttpClient>, peer: &RefCell<Peer>, connection: &Connection) {
    while let Ok((send, receive)) = connection.accept_bi().await {
        peer.borrow_mut().handle_request();
        client.begun(u64::from(send.id()));
        let (client, connection) = (Rc::clone(client), connection.clone());
        tokio::task::spawn_local(async move {
            let mut stream = RequestStream::new(send, receive, &connection);
            if let Err(error) = stream.serve(&client).await {
                match error.scope {
                    Scope::Stream => stream.reset(error.code),
                    Scope::Connection => close(&connection, &error),
                }
            }
        });
    }
}

/// The stream of one request.
struct RequestStream {
    send: SendStream,
    receive: Option<Receiving>,
}

/// The client has taken its request back, which it may do now and then.
fn taken_back(client: &HttpClient) -> Result<(), Error> {
    client.taken_back(MAX_TAKEN_BACK)?;
    Err(TAKEN_BACK)
}

impl RequestStream {
    fn new(send: SendStream, stream: RecvStream, connection: &Connection) -> Self {
        Self { send, receive: Some(Receiving::new(stream, connection)) }
    }

    /// Reads the request, has it answered, and writes the answer.
    async fn serve(&mut self, client: &HttpClient) -> Result<(), Error> {
        let head = match self.head().await {
            Ok(head) => head,
            Err(NoHead::Refused { status, why }) => {
                let logged = Logged::begin(client, Protocol::Http3, None);
                return self.write(client, told(status, &why), logged, false).await;
            }
            Err(NoHead::Broken(TAKEN_BACK)) => return taken_back(client),
            Err(NoHead::Broken(error)) => return Err(error),
        };
        let RequestHead { method, scheme, authority, target, fields, .. } = &head;
        let seen = Head { method, scheme: *scheme, authority, target, fields };
        let logged = Logged::begin(client, Protocol::Http3, Some(&seen));
        let is_head = head.method == "HEAD";
        let stopped = self.send.stopped();
        let answer = tokio::select! {
            biased;
            answer = self.answer(client, head) => answer,
            _ = stopped => return taken_back(client),
        };
        let answer = match answer {
            Err(TAKEN_BACK) => return taken_back(client),
            answer => answer?,
        };
        match self.write(client, answer, logged, is_head).await {
            Err(TAKEN_BACK) => taken_back(client),
            written => {
                client.answered();
                written
            }
        }
    }

    /// Reads to the end of the head.
    async fn head(&mut self) -> Result<RequestHead, NoHead> {
        let receive = self.receive.as_mut().ok_or(TAKEN_BACK)?;
        let section = within(HEAD_TIMEOUT, receive.section()).await;
        let slow = Error::stream(Code::RequestIncomplete, "the head did not come in time");
        let section = section.map_err(|_| slow)??;
        let head = RequestHead::decode(&section, Limits::default())?;
        receive.expect(head.content_length);
        Ok(head)
    }

    async fn answer(&mut self, client: &HttpClient, head: RequestHead) -> Result<Answer, Error> {
        let RequestHead { method, scheme, authority, target, fields, content_length } = head;
        let reads = matches!(method.as_str(), "GET" | "HEAD");
        if fields.first("expect").is_some_and(|it| it.eq_ignore_ascii_case(b"100-continue")) {
            self.write_interim().await?;
        }
        let content = match self.receive.take() {
            // Content of a GET has no meaning (RFC 9110, section 9.3.1): it is not even read.
            Some(receive) if reads => {
                self.receive = Some(receive);
                self.stop(Code::NoError);
                Content::None
            }
            Some(receive) => {
                let room = HttpRequest::room_inline(&target, &fields);
                let pieces = Box::new(receive);
                match content::take(pieces, content_length, room).await {
                    Ok(content) => content,
                    Err(Broken::Gone) => return Err(TAKEN_BACK),
                    Err(Broken::Stalled) => {
                        return Ok(told(408, "the content of the request did not come in time"));
                    }
                    Err(Broken::Malformed) => {
                        let why = "the content is not what its head says";
                        return Err(Error::stream(Code::MessageError, why));
                    }
                }
            }
            None => Content::None,
        };
        let ask =
            Ask { method, scheme, authority, target, fields, content, protocol: Protocol::Http3 };
        Ok(client.ask(ask).await)
    }

    async fn write_interim(&mut self) -> Result<(), Error> {
        let mut out = BytesMut::new();
        encode_response_head(100, &Fields::default(), &mut out);
        self.write_all(&mut [out.freeze()]).await
    }

    async fn write(
        &mut self,
        client: &HttpClient,
        answer: Answer,
        mut logged: Logged,
        is_head: bool,
    ) -> Result<(), Error> {
        let Answer { status, fields, body } = finish(answer, is_head);
        logged.answered(client, status);
        let mut out = BytesMut::with_capacity(512);
        encode_response_head(status, &fields, &mut out);
        match body {
            AnswerBody::None => self.write_all(&mut [out.freeze()]).await?,
            AnswerBody::Whole(bytes) => {
                logged.sent(bytes.len());
                encode_data_header(bytes.len() as u64, &mut out);
                self.write_all(&mut [out.freeze(), bytes]).await?;
            }
            AnswerBody::Coming(coming) => self.write_coming(*coming, out, &mut logged).await?,
        }
        // Fails only if the client has gone.
        let _ = self.send.finish();
        self.stop(Code::NoError);
        Ok(())
    }

    /// Writes what has been begun in `out`, and the content as it comes.
    async fn write_coming(
        &mut self,
        mut coming: Coming,
        mut out: BytesMut,
        logged: &mut Logged,
    ) -> Result<(), Error> {
        // The head is not kept back until there is content.
        self.write_all(&mut [out.split().freeze()]).await?;
        let mut stopped = std::pin::pin!(self.send.stopped());
        loop {
            // What nobody wants is given up even where its server takes its time.
            let piece = tokio::select! {
                piece = coming.next() => piece,
                _ = stopped.as_mut() => return Err(TAKEN_BACK),
            };
            let broke_off = Error::stream(Code::InternalError, "the answer broke off");
            match piece.map_err(|_| broke_off)? {
                Piece::Data(bytes) => {
                    logged.sent(bytes.len());
                    encode_data_header(bytes.len() as u64, &mut out);
                    self.write_all(&mut [out.split().freeze(), bytes]).await?;
                }
                Piece::End(trailers) => {
                    if !trailers.is_empty() {
                        encode_trailers(&trailers, &mut out);
                    }
                    return self.write_all(&mut [out.freeze()]).await;
                }
            }
        }
    }

    async fn write_all(&mut self, pieces: &mut [Bytes]) -> Result<(), Error> {
        let written = self.send.write_all_chunks(pieces);
        match within(STALL_TIMEOUT, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(TAKEN_BACK),
            Err(_) => Err(Error::stream(Code::InternalError, "the client reads nothing")),
        }
    }

    /// Reads no more of the request.
    fn stop(&mut self, code: Code) {
        if let Some(receive) = &mut self.receive {
            receive.stop(varint(code));
        }
    }

    fn reset(&mut self, code: Code) {
        self.stop(code);
        drop(self.send.reset(varint(code)));
    }
}
