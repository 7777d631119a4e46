//! Connections and answers.

use super::*;

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn one_connection_serves_requests_one_after_the_other() {
    let stage = Stage::new(|_, mut peer| async move {
        loop {
            let head = peer.head().await;
            peer.say(match head.split(' ').next().unwrap() {
                "" => return,
                "GET" => HELLO,
                "HEAD" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
                "DELETE" => "HTTP/1.1 204 No Content\r\n\r\n",
                "OPTIONS" => {
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                }
                _ => "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
            })
            .await;
        }
    })
    .await;
    let origin = stage.origin();
    for _ in 0..2 {
        assert_eq!(content(&origin, get()).await, "hello");
        let head = ask(&origin, request("HEAD", "/")).await.unwrap();
        assert_eq!((head.content.as_str(), head.fields.only("content-length")), ("", Some("5")));
        assert_eq!(ask(&origin, request("DELETE", "/")).await.unwrap().status, 204);
        assert_eq!(content(&origin, request("OPTIONS", "*")).await, "abc");
        let unchanged = ask(&origin, request("REPORT", "/")).await.unwrap();
        assert_eq!((unchanged.status, unchanged.fields.only("content-length")), (304, Some("7")));
    }
    assert_eq!((stage.connections(), origin.pool.count()), (1, 1));
}

#[tokio::test]
async fn as_many_connections_are_kept_as_may_be() {
    let mut stage = Stage::saying(HELLO).await;
    stage.options.max_idle_connections = 1;
    let origin = stage.origin();
    let answers = [origin.exchange(get()).await, origin.exchange(get()).await];
    for answer in answers {
        assert_eq!(read(answer.unwrap()).await.unwrap().content, "hello");
    }
    assert_eq!((stage.connections(), origin.pool.count()), (2, 1));
    assert_eq!(content(&origin, get()).await, "hello");
    assert_eq!(stage.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_is_to_be_closed_is_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello, and more than was said",
    ] {
        let stage = Stage::saying(answer).await;
        let origin = stage.origin();
        for number in 1..3 {
            assert_eq!(content(&origin, get()).await, "hello", "{answer}");
            assert_eq!(stage.connections(), number, "{answer}");
        }
    }
}

/// Answers once; hears the next request on the same connection, and then says `last` and hangs up.
async fn hangs_up(last: &'static str) -> Stage {
    Stage::new(move |number, mut peer| async move {
        peer.head().await;
        peer.say(HELLO).await;
        let next = peer.head().await;
        if number > 0 && !next.is_empty() {
            peer.say(HELLO).await;
        }
        peer.say(last).await;
    })
    .await
}

#[tokio::test]
async fn what_is_idempotent_is_sent_again_where_a_kept_connection_ends() {
    for body in [OutgoingBody::Empty, OutgoingBody::Whole(Bytes::from_static(b"x"))] {
        let stage = hangs_up("").await;
        let origin = stage.origin();
        assert_eq!(content(&origin, get()).await, "hello");
        assert_eq!(
            content(&origin, ExchangeRequest { body, ..request("PUT", "/") }).await,
            "hello"
        );
        assert_eq!(stage.connections(), 2);
    }
}

#[tokio::test]
async fn nothing_else_is_sent_again() {
    let idempotent = || request("PUT", "/");
    for (request, last) in [
        (request("POST", "/"), ""),
        (ExchangeRequest { body: pieces(&["a"]), ..idempotent() }, ""),
        (get(), "HTTP/1.1 200 O"),
        (get(), "what?\r\n\r\n"),
    ] {
        let stage = hangs_up(last).await;
        let origin = stage.origin();
        assert_eq!(content(&origin, get()).await, "hello");
        let error = ask(&origin, request).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Broken(_)), "{error}");
        assert_eq!(stage.connections(), 1, "{error}");
    }
}

#[tokio::test]
async fn a_new_connection_that_ends_is_not_tried_again() {
    let stage = Stage::new(|_, mut peer| async move {
        peer.head().await;
    })
    .await;
    let error = ask(&stage.origin(), get()).await.unwrap_err();
    assert!(error.to_string().contains("closed before it was whole"), "{error}");
    assert_eq!((error.status(), stage.connections()), (502, 1));
}

#[tokio::test]
async fn a_connection_that_the_origin_closed_meanwhile_is_replaced() {
    let stage = Stage::new(|_, mut peer| async move {
        peer.head().await;
        peer.say(HELLO).await;
    })
    .await;
    let origin = stage.origin();
    for number in 1..3 {
        assert_eq!(content(&origin, get()).await, "hello");
        assert_eq!(stage.connections(), number);
        while let Some(line) = origin.pool.take() {
            let done = Arc::new(Progress::default());
            drop(Upload::new(OutgoingBody::Empty, None, &done));
            origin.pool.give(line, &done).await;
            tokio::task::yield_now().await;
        }
    }
    // Not even what must not be sent twice suffers from it.
    assert_eq!(content(&origin, request("POST", "/")).await, "hello");
}

#[test]
fn connections_end_with_their_runtime_and_the_others_go_on() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let stage = Stage::saying(HELLO).await;
            send.send((stage.options.clone(), Arc::clone(&stage.connections))).unwrap();
            std::future::pending::<()>().await;
        });
    });
    let (options, connections) = receive.recv().unwrap();
    let origin = Origin::new(options);
    let first = runtime();
    let second = runtime();
    for _ in 0..2 {
        assert_eq!(first.block_on(content(&origin, get())), "hello");
        assert_eq!(second.block_on(content(&origin, get())), "hello");
    }
    assert_eq!((connections.load(Ordering::SeqCst), origin.pool.count()), (2, 2));
    drop(first);
    assert_eq!(second.block_on(content(&origin, get())), "hello");
    assert_eq!((connections.load(Ordering::SeqCst), origin.pool.count()), (2, 1));
}

#[tokio::test]
async fn chunks_and_trailers_come_through() {
    let stage = Stage::saying(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\ntrailer: digest\r\n\r\n\
         3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nDigest: 12\r\ncontent-length: 3\r\nset-cookie: a\r\n\r\n",
    )
    .await;
    let origin = stage.origin();
    for _ in 0..2 {
        let all = ask(&origin, get()).await.unwrap();
        assert_eq!((all.content.as_str(), all.fields.only("trailer")), ("abcde", Some("digest")));
        assert!(!all.fields.has("transfer-encoding"));
        assert_eq!(all.trailers, Fields::of([("digest", "12")]));
    }
    assert_eq!(stage.connections(), 1);
}

#[tokio::test]
async fn content_that_ends_before_its_length_is_broken() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello",
    ] {
        let stage = Stage::new(move |_, mut peer| async move {
            peer.head().await;
            peer.say(answer).await;
        })
        .await;
        let answer = stage.origin().exchange(get()).await.unwrap();
        assert_eq!(answer.status, 200);
        let error = read(answer).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Broken(_)), "{error}");
    }
}

#[tokio::test]
async fn content_without_a_length_ends_with_the_connection() {
    let stage = Stage::new(move |_, mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\n\r\nhello").await;
    })
    .await;
    let answer = stage.origin().exchange(get()).await.unwrap();
    assert_eq!(answer.body.length(), None);
    assert_eq!(read(answer).await.unwrap().content, "hello");
}

#[tokio::test]
async fn interim_answers_are_skipped() {
    let stage = Stage::saying(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    )
    .await;
    let all = ask(&stage.origin(), get()).await.unwrap();
    assert_eq!((all.status, all.fields.has("link"), all.content.as_str()), (200, false, "hello"));
}

#[tokio::test]
async fn an_origin_that_is_down_or_silent_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let error = ask(&Origin::new(OriginOptions::new(url)), get()).await.unwrap_err();
    assert!(matches!(error, ExchangeError::Unreachable(_)), "{error}");
    assert_eq!(error.status(), 502);

    for (said, answers) in [
        ("", false),
        ("HTTP/1.1 200 OK\r\n", false),
        ("HTTP/1.1 100 Continue\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello", true),
        ("HTTP/1.1 200 OK\r\n\r\n", true),
    ] {
        let (closed, is_closed) = tokio::sync::oneshot::channel();
        let closed = std::sync::Mutex::new(Some(closed));
        let stage = Stage::new(move |_, mut peer| {
            let closed = closed.lock().unwrap().take().unwrap();
            async move {
                peer.head().await;
                peer.say(said).await;
                peer.closed().await;
                closed.send(()).unwrap();
            }
        })
        .await;
        // Where an answer is to begin, it has time for that.
        let timeout = if answers { 10 * SHORT } else { SHORT };
        let origin = Origin::new(OriginOptions { timeout, ..stage.options.clone() });
        let answered = origin.exchange(get()).await;
        assert_eq!(answered.is_ok(), answers, "{said}");
        let error = match answered {
            Ok(answer) => read(answer).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, ExchangeError::TimedOut(_)), "{said}: {error}");
        assert_eq!(error.status(), 504);
        is_closed.await.unwrap();
    }
}

#[tokio::test]
async fn giving_up_closes_the_connection() {
    let (closed, mut is_closed) = tokio::sync::mpsc::unbounded_channel();
    let asked = Arc::new(tokio::sync::Notify::new());
    let is_asked = Arc::clone(&asked);
    let stage = Stage::new(move |number, mut peer| {
        let (closed, asked) = (closed.clone(), Arc::clone(&asked));
        async move {
            let head = peer.head().await;
            asked.notify_one();
            if head.starts_with("GET /endless ") {
                peer.say("HTTP/1.1 200 OK\r\n\r\n").await;
                let piece = "x".repeat(64 * 1024);
                while peer.stream.write_all(piece.as_bytes()).await.is_ok() {}
            } else if head.starts_with("GET /begun ") {
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await;
            }
            peer.closed().await;
            closed.send(number).unwrap();
        }
    })
    .await;
    let origin = stage.origin();
    // While there is no answer, while one comes, and while one waits for its reader.
    tokio::select! {
        _ = origin.exchange(get()) => panic!("there is no answer"),
        () = is_asked.notified() => {}
    }
    assert_eq!(is_closed.recv().await, Some(0));
    let mut answer = origin.exchange(request("GET", "/begun")).await.unwrap();
    assert_eq!(answer.body.next().await, Ok(Piece::Data(Bytes::from_static(b"hello"))));
    assert!(tokio::time::timeout(SHORT, answer.body.next()).await.is_err());
    drop(answer);
    assert_eq!(is_closed.recv().await, Some(1));
    let answer = origin.exchange(request("GET", "/endless")).await.unwrap();
    drop(answer);
    assert_eq!(is_closed.recv().await, Some(2));
    assert_eq!(origin.pool.count(), 0);
}
