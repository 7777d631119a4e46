//! Exchanges with small origins that say exactly what a test wants them to say.

mod exchanges;
mod heads;
mod items;
mod uploads;

use super::*;
use crate::source::{BodyPieces, ErasedSource, Piece};
use crate::wire::http::{Fields, RequestTarget, Scheme};
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// No test waits for so long unless something is broken.
const LONG: Duration = Duration::from_secs(60);
/// For what is to be waited for in vain.
const SHORT: Duration = Duration::from_millis(100);

/// One connection, as the origin sees it.
struct Peer {
    stream: TcpStream,
    /// What came behind the head that was read last.
    rest: Vec<u8>,
}

impl Peer {
    /// The head of the next request; empty at the end of the connection.
    async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.rest.split_off(end + 4);
                let head = std::mem::replace(&mut self.rest, rest);
                return String::from_utf8(head).unwrap();
            }
            if !self.more().await {
                return String::new();
            }
        }
    }

    /// Reads until what came ends so, and takes it.
    async fn until(&mut self, end: &str) -> String {
        while !self.rest.ends_with(end.as_bytes()) {
            assert!(self.more().await, "{:?}", self.rest.escape_ascii().to_string());
        }
        String::from_utf8(std::mem::take(&mut self.rest)).unwrap()
    }

    /// Reads something; false at the end of the connection.
    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.rest).await, Ok(bytes) if bytes > 0)
    }

    /// Waits until the other side has closed.
    async fn closed(&mut self) {
        while self.more().await {
            self.rest.clear();
        }
    }

    async fn say(&mut self, text: &str) {
        // Some clients have heard enough.
        let _ = self.stream.write_all(text.as_bytes()).await;
    }
}

/// An origin that does on its connections, counted from 0, what `serve` says.
struct Stage {
    options: OriginOptions,
    connections: Arc<AtomicUsize>,
}

impl Stage {
    async fn new<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(usize, Peer) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(number, Peer { stream, rest: Vec::new() }));
            }
        });
        let options = OriginOptions { timeout: LONG, ..OriginOptions::new(url) };
        Self { options, connections }
    }

    /// One that answers every request alike.
    async fn saying(answer: &'static str) -> Self {
        Self::new(move |_, mut peer| async move {
            while !peer.head().await.is_empty() {
                peer.say(answer).await;
            }
        })
        .await
    }

    fn origin(&self) -> Origin {
        Origin::new(self.options.clone())
    }

    fn impatient(&self) -> Origin {
        Origin::new(OriginOptions { timeout: SHORT, ..self.options.clone() })
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn request(method: &str, target: &str) -> ExchangeRequest {
    ExchangeRequest {
        method: method.to_owned(),
        scheme: Scheme::Https,
        authority: "example.org".to_owned(),
        target: RequestTarget::new(Bytes::copy_from_slice(target.as_bytes())).unwrap(),
        fields: Fields::default(),
        body: OutgoingBody::Empty,
        idempotent: method != "POST",
    }
}

fn get() -> ExchangeRequest {
    request("GET", "/")
}

/// All that came: status, fields, content, trailers.
#[derive(Debug, PartialEq, Eq)]
struct All {
    status: u16,
    fields: Fields,
    content: String,
    trailers: Fields,
}

async fn read(answer: ExchangeAnswer) -> Result<All, ExchangeError> {
    let ExchangeAnswer { status, fields, mut body } = answer;
    let (mut content, mut trailers) = (Vec::new(), Fields::default());
    loop {
        match body.next().await? {
            Piece::Data(bytes) => content.extend_from_slice(&bytes),
            Piece::Trailers(fields) => trailers = fields,
            Piece::End => break,
        }
    }
    let content = String::from_utf8(content).unwrap();
    Ok(All { status, fields, content, trailers })
}

async fn ask(origin: &Origin, request: ExchangeRequest) -> Result<All, ExchangeError> {
    read(origin.exchange(request).await?).await
}

async fn content(origin: &Origin, request: ExchangeRequest) -> String {
    ask(origin, request).await.unwrap().content
}

/// Content whose pieces are made by a function of their number.
struct Made<F>(F, usize);

impl<F> BodyPieces for Made<F>
where
    F: FnMut(usize) -> Pin<Box<dyn Future<Output = Result<Piece, ExchangeError>> + Send>>
        + Send
        + 'static,
{
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Piece, ExchangeError>> + Send + '_>> {
        self.1 += 1;
        (self.0)(self.1 - 1)
    }
}

/// Content in these pieces.
fn pieces(pieces: &[&'static str]) -> OutgoingBody {
    let pieces: Vec<&'static [u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
    let made = Made(
        move |number| {
            let piece = pieces.get(number).copied();
            let piece = piece.map_or(Piece::End, |piece| Piece::Data(Bytes::from_static(piece)));
            Box::pin(async { Ok(piece) })
                as Pin<Box<dyn Future<Output = Result<Piece, ExchangeError>> + Send>>
        },
        0,
    );
    OutgoingBody::Stream(Box::new(made))
}

#[test]
fn an_exchange_can_go_on_on_another_thread() {
    fn is_send<T: Send>(_: &T) {}
    let origin = Origin::new(OriginOptions::new("http://127.0.0.1:1".parse().unwrap()));
    is_send(&origin.exchange(get()));
    let erased: &dyn ErasedSource = &origin;
    assert!(erased.is_http());
    is_send(&erased.exchange(get()));
}
