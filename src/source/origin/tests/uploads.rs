//! Content on its way to origins.

use super::*;

type Next = Pin<Box<dyn Future<Output = Result<Piece, ExchangeError>> + Send>>;

fn post(body: OutgoingBody) -> ExchangeRequest {
    ExchangeRequest { body, ..request("POST", "/") }
}

fn made(piece: impl FnMut(usize) -> Next + Send + 'static) -> OutgoingBody {
    OutgoingBody::Stream(Box::new(Made(piece, 0)))
}

/// Reads a request until it ends so, and sends it back as the content of the answer.
async fn echo_until(end: &'static str) -> Stage {
    Stage::new(move |_, mut peer| async move {
        while !peer.head().await.is_empty() {
            let content = peer.until(end).await;
            peer.say(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", content.len()))
                .await;
            peer.say(&content).await;
        }
    })
    .await
}

#[tokio::test]
async fn pieces_become_chunks_with_trailers_that_were_announced() {
    let stage = echo_until("\r\n\r\n").await;
    let origin = stage.origin();
    for _ in 0..2 {
        let body = made(|number| {
            let trailers = Fields::of([("digest", "1"), ("other", "2")]);
            let piece = match number {
                0 => Piece::Data(Bytes::from_static(b"abc")),
                1 => Piece::Data(Bytes::new()),
                2 => Piece::Data(Bytes::from_static(b"de")),
                3 => Piece::Trailers(trailers),
                _ => Piece::End,
            };
            Box::pin(async { Ok(piece) })
        });
        let fields = Fields::of([("trailer", "digest")]);
        let echoed = content(&origin, ExchangeRequest { fields, ..post(body) }).await;
        assert_eq!(echoed, "3\r\nabc\r\n2\r\nde\r\n0\r\ndigest: 1\r\n\r\n");
    }
    assert_eq!(stage.connections(), 1);
}

#[tokio::test]
async fn content_of_a_known_length_is_sent_as_it_is() {
    let stage = echo_until("cde").await;
    let origin = stage.origin();
    let fields = Fields::of([("content-length", "5")]);
    for _ in 0..2 {
        let request = ExchangeRequest { fields: fields.clone(), ..post(pieces(&["ab", "cde"])) };
        assert_eq!(content(&origin, request).await, "abcde");
    }
    let whole = OutgoingBody::Whole(Bytes::from_static(b"abcde"));
    assert_eq!(content(&origin, post(whole)).await, "abcde");
    assert_eq!(stage.connections(), 1);
}

#[tokio::test]
async fn content_that_is_not_as_long_as_it_says_ends_the_request() {
    let gone = || ExchangeError::Content("the client has gone".to_owned());
    let fails = |number| {
        let piece = match number {
            0 => Ok(Piece::Data(Bytes::from_static(b"ab"))),
            _ => Err(ExchangeError::Content("the client has gone".to_owned())),
        };
        Box::pin(async { piece }) as Next
    };
    for (body, length, expected) in [
        (pieces(&["abc"]), Some("2"), None),
        (pieces(&["ab", "c"]), Some("4"), None),
        (made(fails), Some("4"), Some(gone())),
        (made(fails), None, Some(gone())),
    ] {
        let stage = Stage::new(|_, mut peer| async move {
            peer.closed().await;
        })
        .await;
        let fields = Fields::of(length.map(|length| ("content-length", length)));
        let error = ask(&stage.origin(), ExchangeRequest { fields, ..post(body) }).await;
        let error = error.unwrap_err();
        assert!(matches!(error, ExchangeError::Content(_)), "{error}");
        assert!(expected.is_none_or(|expected| expected == error));
        assert_eq!(error.status(), 400);
    }
}

#[tokio::test]
async fn an_origin_that_reads_nothing_stops_the_sender() {
    const PIECE: usize = 256 * 1024;
    // Far more than the buffers of two sockets.
    const MAX_PIECES: usize = 4096;
    let stage = Stage::new(|_, mut peer| async move {
        peer.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let piece = Bytes::from(vec![0; PIECE]);
    let body = made(move |number| {
        counted.store(number, Ordering::Relaxed);
        let end = number == MAX_PIECES;
        let piece = if end { Piece::End } else { Piece::Data(piece.clone()) };
        Box::pin(async { Ok(piece) })
    });
    let error = ask(&stage.impatient(), post(body)).await.unwrap_err();
    assert!(matches!(error, ExchangeError::TimedOut(_)), "{error}");
    assert!(asked.load(Ordering::Relaxed) < MAX_PIECES);
}

#[tokio::test]
async fn a_client_may_take_longer_than_the_origin() {
    let stage = echo_until("0\r\n\r\n").await;
    let origin =
        Origin::new(OriginOptions { timeout: Duration::from_millis(300), ..stage.options.clone() });
    let body = made(|number| {
        Box::pin(async move {
            let pause = Duration::from_millis(if number == 1 { 1000 } else { 0 });
            tokio::time::sleep(pause).await;
            Ok(match number {
                0 => Piece::Data(Bytes::from_static(b"a")),
                _ => Piece::End,
            })
        })
    });
    assert_eq!(content(&origin, post(body)).await, "1\r\na\r\n0\r\n\r\n");
}

#[tokio::test]
async fn content_goes_both_ways_at_once() {
    let stage = Stage::new(|_, mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\ngo\r\n").await;
        peer.until("0\r\n\r\n").await;
        peer.say("4\r\ndone\r\n0\r\n\r\n").await;
        peer.closed().await;
    })
    .await;
    let origin = stage.origin();
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let body = OutgoingBody::Stream(Box::new(Received(receive)));
    let mut answer = origin.exchange(post(body)).await.unwrap();
    assert_eq!(answer.body.next().await, Ok(Piece::Data(Bytes::from_static(b"go"))));
    send.send(Piece::Data(Bytes::from_static(b"gone"))).await.unwrap();
    send.send(Piece::End).await.unwrap();
    assert_eq!(answer.body.next().await, Ok(Piece::Data(Bytes::from_static(b"done"))));
    assert_eq!(answer.body.next().await, Ok(Piece::End));
    assert_eq!(origin.pool.count(), 1);
}

/// Content that another task sends.
struct Received(tokio::sync::mpsc::Receiver<Piece>);

impl BodyPieces for Received {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Piece, ExchangeError>> + Send + '_>> {
        Box::pin(async { Ok(self.0.recv().await.unwrap()) })
    }
}

#[tokio::test]
async fn an_answer_before_all_of_the_request_ends_it() {
    let stage = Stage::new(|_, mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno").await;
        peer.closed().await;
    })
    .await;
    let origin = stage.origin();
    let (_send, receive) = tokio::sync::mpsc::channel(1);
    let body = OutgoingBody::Stream(Box::new(Received(receive)));
    let all = ask(&origin, post(body)).await.unwrap();
    assert_eq!((all.status, all.content.as_str()), (413, "no"));
    assert_eq!(origin.pool.count(), 0);
}
