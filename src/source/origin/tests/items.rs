//! Items by key, and calls.

use super::*;
use crate::source::{Retrieved, Version};
use crate::wire::{HeaderBlock, HeaderName};

async fn retrieve(
    origin: &Origin,
    key: &str,
    known: Option<&Version>,
) -> Result<Answer, SourceError> {
    let known = known.map(|version| version.known().as_ref());
    Source::retrieve(origin, &key.parse().unwrap(), known).await
}

async fn version(origin: &Origin, key: &str) -> (Version, Duration) {
    let answer = retrieve(origin, key, None).await.unwrap();
    match answer.retrieved {
        Retrieved::Version(version) => (version, answer.freshness.lasts()),
        _ => panic!("{key} has no version"),
    }
}

/// Answers by the path of a request: head and content without lengths.
async fn shop() -> Stage {
    Stage::new(|_, mut peer| async move {
        loop {
            let head = peer.head().await;
            let path = head.split(' ').nth(1).unwrap_or_default();
            let is_unchanged = head.contains("if-none-match: \"1\"\r\n")
                || head.contains("if-modified-since: Sun, 01 Mar 2026 00:00:00 GMT\r\n");
            let (status, fields, content) = match path {
                "" => return,
                "/tagged" if is_unchanged => ("304", "cache-control: max-age=7", ""),
                "/tagged" => ("200", "etag: \"1\"\r\ncache-control: max-age=5", "tagged"),
                "/dated" if is_unchanged => ("304", "a: b", ""),
                "/dated" => (
                    "200",
                    "last-modified: Sun, 01 Mar 2026 00:00:00 GMT\r\n\
                     date: Sun, 01 Mar 2026 00:00:01 GMT",
                    "dated",
                ),
                "/private" => ("200", "cache-control: private\r\netag: \"1\"", "private"),
                "/large" => ("200", "content-type: text/plain", "more than ten bytes"),
                "/moved" => ("302", "location: /", ""),
                "/secret" => ("403", "a: b", ""),
                "/broken" => ("500", "a: b", ""),
                "/unasked" => ("304", "etag: \"1\"", ""),
                _ => ("404", "a: b", ""),
            };
            let length = content.len();
            peer.say(&format!(
                "HTTP/1.1 {status} x\r\n{fields}\r\ncontent-length: {length}\r\n\r\n"
            ))
            .await;
            peer.say(content).await;
        }
    })
    .await
}

#[tokio::test]
async fn an_item_is_asked_for_again_only_if_it_changed() {
    let origin = shop().await.origin();
    let (tagged, lasts) = version(&origin, "/tagged").await;
    assert_eq!((tagged.body().as_ref(), lasts.as_secs()), (&b"tagged"[..], 5));
    assert!(tagged.is_shareable());
    assert_eq!(tagged.headers().value(HeaderName::Etag), Some("\"1\""));
    let again = retrieve(&origin, "/tagged", Some(&tagged)).await.unwrap();
    assert!(matches!(again.retrieved, Retrieved::Unchanged));
    assert_eq!(again.freshness.lasts().as_secs(), 7);

    let (dated, lasts) = version(&origin, "/dated").await;
    assert!(lasts.is_zero());
    let again = retrieve(&origin, "/dated", Some(&dated)).await.unwrap();
    assert!(matches!(again.retrieved, Retrieved::Unchanged));
    // The time alone, without anybody who vouches for it, is not enough.
    let unstamped = Version::new(dated.headers().clone(), dated.body().clone());
    let again = retrieve(&origin, "/dated", Some(&unstamped)).await.unwrap();
    assert!(matches!(again.retrieved, Retrieved::Version(_)));
}

#[tokio::test]
async fn what_is_private_is_not_shared() {
    let origin = shop().await.origin();
    let (private, lasts) = version(&origin, "/private").await;
    assert!(!private.is_shareable() && lasts.is_zero());
}

#[tokio::test]
async fn a_large_item_is_passed_on() {
    let stage = shop().await;
    let origin = Origin::new(OriginOptions { max_item: 10, ..stage.options.clone() });
    let Retrieved::Unmirrored(mut item) =
        retrieve(&origin, "/large", None).await.unwrap().retrieved
    else {
        panic!("it is kept")
    };
    assert_eq!(item.length, 19);
    assert_eq!(item.headers.value(HeaderName::ContentType), Some("text/plain"));
    let mut all = Vec::new();
    loop {
        let piece = item.body.next().await.unwrap();
        if piece.is_empty() {
            break;
        }
        all.extend_from_slice(&piece);
    }
    assert_eq!(all, b"more than ten bytes");
    assert_eq!(origin.pool.count(), 1);

    let stage =
        Stage::saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nb\r\nhello hello\r\n")
            .await;
    let origin = Origin::new(OriginOptions { max_item: 10, ..stage.options.clone() });
    let error = retrieve(&origin, "/", None).await.err().unwrap();
    assert!(error.to_string().contains("more than 10 bytes"), "{error}");
}

#[tokio::test]
async fn other_answers_are_no_items() {
    let origin = shop().await.origin();
    let missing = retrieve(&origin, "/missing", None).await.unwrap().retrieved;
    assert!(matches!(missing, Retrieved::NotFound));
    for (key, refused, says) in [
        ("/moved", true, "leads to another place, with status 302"),
        ("/secret", true, "with status 403"),
        ("/broken", false, "with status 500"),
        ("/unasked", false, "was not asked for that"),
    ] {
        let error = retrieve(&origin, key, None).await.err().unwrap();
        assert_eq!(matches!(error, SourceError::Refused(_)), refused, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_call_is_a_post() {
    let stage = Stage::new(|_, mut peer| async move {
        let head = peer.head().await;
        let content = peer.until("abc").await;
        let typed = head.contains("content-type: text/plain\r\n");
        let typed = typed && head.starts_with("POST /do?x HTTP/1.1\r\n");
        let status = if typed { 201 } else { 400 };
        let length = content.len();
        peer.say(&format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n")).await;
        peer.say(&format!("content-language: en\r\n\r\n{content}")).await;
    })
    .await;
    let request = CallRequest {
        key: "/do?x".parse().unwrap(),
        headers: HeaderBlock::new([(HeaderName::ContentType, "text/plain")]).unwrap(),
        body: Bytes::from_static(b"abc"),
        idempotent: false,
    };
    let response = Source::call(&stage.origin(), request).await.unwrap();
    assert_eq!((response.status, response.body.as_ref()), (201, &b"abc"[..]));
    assert_eq!(response.headers.value(HeaderName::ContentLanguage), Some("en"));
}
