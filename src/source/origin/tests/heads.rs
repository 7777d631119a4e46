//! What origins are told, and which of their answers are not passed on.

use super::*;

/// The head that an origin at `url`, whose port is replaced, sees of a request.
async fn seen(prefix: &str, request: ExchangeRequest) -> Result<Vec<String>, ExchangeError> {
    let (send, receive) = tokio::sync::oneshot::channel();
    let send = std::sync::Mutex::new(Some(send));
    let stage = Stage::new(move |_, mut peer| {
        let send = send.lock().unwrap().take().unwrap();
        async move {
            let head = peer.head().await;
            let lines = head.trim_end().split("\r\n").map(str::to_owned).collect::<Vec<_>>();
            send.send(lines).unwrap();
            peer.say("HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    })
    .await;
    let url = format!("{}{prefix}", stage.options.url).parse().unwrap();
    let origin = Origin::new(OriginOptions { url, ..stage.options.clone() });
    ask(&origin, request).await?;
    let mut lines = receive.await.unwrap();
    lines[1..].sort();
    Ok(lines)
}

#[tokio::test]
async fn an_origin_sees_the_request_without_what_is_about_the_connection() {
    let fields = Fields::of([
        ("accept", "*/*"),
        ("connection", "keep-alive"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("expect", "100-continue"),
        ("forwarded", "for=192.0.2.1;proto=https"),
        ("host", "elsewhere"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "x"),
        ("te", "gzip"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
    ]);
    let request = ExchangeRequest { fields, ..request("GET", "/a/../b?c=%20") };
    assert_eq!(
        seen("", request).await.unwrap(),
        [
            "GET /a/../b?c=%20 HTTP/1.1",
            "accept: */*",
            "connection: te",
            "cookie: a=1",
            "cookie: b=2",
            "forwarded: for=192.0.2.1;proto=https",
            "host: example.org",
            "te: trailers",
        ]
    );
    let without = ExchangeRequest { authority: String::new(), ..get() };
    let seen = seen("/shop/", without).await.unwrap();
    assert_eq!(seen[0], "GET /shop/ HTTP/1.1");
    assert!(seen[2].starts_with("host: 127.0.0.1:"), "{seen:?}");
}

#[tokio::test]
async fn content_is_framed_anew() {
    let length = |length| Fields::of([("content-length", length)]);
    let framing = |request| async {
        let lines = seen("", request).await?;
        let about = |line: &String| line.starts_with("content-l") || line.starts_with("transfer-");
        Ok::<_, ExchangeError>(lines.into_iter().filter(about).collect::<Vec<_>>().join(", "))
    };
    let post = |body| ExchangeRequest { body, ..request("POST", "/") };
    let whole = || OutgoingBody::Whole(Bytes::from_static(b"abc"));
    assert_eq!(framing(get()).await.unwrap(), "");
    assert_eq!(framing(post(OutgoingBody::Empty)).await.unwrap(), "content-length: 0");
    assert_eq!(framing(post(whole())).await.unwrap(), "content-length: 3");
    let chunked = "transfer-encoding: chunked";
    assert_eq!(framing(post(pieces(&["a"]))).await.unwrap(), chunked);
    let with_get = ExchangeRequest { body: pieces(&["a"]), ..get() };
    assert_eq!(framing(with_get).await.unwrap(), chunked);
    let known = ExchangeRequest { fields: length("1"), ..post(pieces(&["a"])) };
    assert_eq!(framing(known).await.unwrap(), "content-length: 1");

    for (fields, body) in [
        (length("4"), whole()),
        (length("1"), OutgoingBody::Empty),
        (length("+3"), whole()),
        (length("3, 3"), whole()),
        (length(""), whole()),
        (Fields::of([("content-length", "3"), ("content-length", "4")]), pieces(&["abc"])),
    ] {
        let error = framing(ExchangeRequest { fields, ..post(body) }).await.unwrap_err();
        assert_eq!(error.status(), 400, "{error}");
    }
}

#[tokio::test]
async fn requests_that_lead_elsewhere_are_refused() {
    for target in ["/..", "/a/../../b", "/%2e%2E/a", "/a%2f..%2Fb", "/a\\..\\b", "/..;a/b"] {
        let error = seen("/shop", request("GET", target)).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Refused(_)), "{target}: {error}");
    }
    for target in ["/...", "/a..b", "/?../.."] {
        let lines = seen("/shop", request("GET", target)).await.unwrap();
        assert_eq!(lines[0], format!("GET /shop{target} HTTP/1.1"));
    }
    assert_eq!(seen("/shop", request("OPTIONS", "*")).await.unwrap()[0], "OPTIONS * HTTP/1.1");
    for bad in [
        request("CONNECT", "/"),
        request("GET /", "/"),
        request("GET", "/<>"),
        ExchangeRequest { authority: "a\r\nb: c".to_owned(), ..get() },
    ] {
        let error = seen("", bad).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Refused(_)), "{error}");
    }
}

#[tokio::test]
async fn answers_lose_what_is_about_the_connection() {
    let stage = Stage::saying(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Authenticate: x\r\nProxy-Status: a\r\nUpgrade: h2c\r\nX-Hop: 1\r\nTE: a\r\n\
         ETag: \"a\"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\
         Content-Length: 0\r\n\r\n",
    )
    .await;
    let fields = ask(&stage.origin(), get()).await.unwrap().fields;
    let expected = [
        ("proxy-status", "a"),
        ("etag", "\"a\""),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("content-length", "0"),
    ];
    assert_eq!(fields, Fields::of(expected));
}

#[tokio::test]
async fn answers_that_cannot_be_understood_are_refused() {
    let field = |field: &str| format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n");
    let many: Vec<_> = (0..129).map(|number| format!("a{number}: b")).collect();
    for answer in [
        "\r\n\r\n\r\n garbage \r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9\r\n".to_owned(),
        "HTTP/2 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 2000 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 099 No\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n".to_owned(),
        field("content-length: 5\r\ntransfer-encoding: chunked"),
        field("transfer-encoding: gzip, chunked"),
        field("transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
        field("transfer-encoding: gzip"),
        field("content-length: 5\r\ncontent-length: 6"),
        field("content-length: -5"),
        field("content-length: 5, 6"),
        field("content-length: 99999999999999999999"),
        field("a b: c"),
        field("a : c"),
        field("a: b\r\n c"),
        field(": b"),
        field("a: b\0c"),
        field("no colon"),
        field(&many.join("\r\n")),
        field(&format!("a: {}", "b".repeat(17 * 1024))),
        field(&format!("a: {}", "b".repeat(1024 * 1024))),
        field(&format!("{}: b", "a".repeat(257))),
    ] {
        let stage = Stage::new(move |_, mut peer| {
            let answer = answer.clone();
            async move {
                peer.head().await;
                peer.say(&answer).await;
                peer.closed().await;
            }
        })
        .await;
        let origin = stage.origin();
        let error = ask(&origin, get()).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Broken(_)), "{error}");
        assert_eq!((error.status(), origin.pool.count()), (502, 0));
    }
}
