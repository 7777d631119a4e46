//! Calls through the client library, a router, a server and a source.

use super::cluster::{Cluster, block_on, wait_until};
use crate::net::client::{CallRequest, Client, ClientConfig, Error};
use crate::source::{Answer, CallResponse, Known, Retrieved, Source, SourceError};
use crate::wire::frame::MAX_INLINE_BODY;
use crate::wire::lane::ErrorCode;
use crate::wire::{HeaderBlock, HeaderName, Key};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Does what it is told, and counts.
#[derive(Default)]
struct Obedient {
    executions: AtomicUsize,
    go_on: Notify,
}

impl Source for Obedient {
    async fn retrieve(&self, _: &Key, _: Option<&Known>) -> Result<Answer, SourceError> {
        Ok(Retrieved::NotFound.into())
    }

    async fn call(&self, request: crate::source::CallRequest) -> Result<CallResponse, SourceError> {
        self.executions.fetch_add(1, Ordering::SeqCst);
        match request.key.as_str() {
            "/echo" => {
                let (headers, body) = (request.headers, request.body);
                Ok(CallResponse { status: 299, headers, body })
            }
            "/long" => Ok(CallResponse::new(200, vec![7; 3 << 20])),
            "/wait" => {
                self.go_on.notified().await;
                Ok(CallResponse::new(200, "waited"))
            }
            "/panic" => panic!("as a test wants"),
            "/impossible" => Ok(CallResponse::new(99, "")),
            _ => Err(SourceError::Refused("no".into())),
        }
    }
}

/// A cluster, its source, and a client of it.
async fn start(source: &Arc<Obedient>, cluster: &Cluster) -> Client {
    assert_eq!(source.executions.load(Ordering::SeqCst), 0);
    Client::connect(ClientConfig::new(vec![cluster.router])).await.expect("a router")
}

fn cluster() -> (Arc<Obedient>, Cluster) {
    let source = Arc::new(Obedient::default());
    let cluster = Cluster::start(2, Arc::clone(&source) as _);
    (source, cluster)
}

#[test]
fn what_is_called_is_executed_and_answered() {
    let (source, cluster) = cluster();
    block_on(async {
        let client = start(&source, &cluster).await;
        let headers = HeaderBlock::new([(HeaderName::ContentType, "a/b")]).expect("headers");
        let body = Bytes::from(vec![1; MAX_INLINE_BODY]);
        let request = CallRequest { headers, body, idempotent: false };
        let echo = client.call("/echo", request.clone()).await.expect("an answer");
        assert_eq!((echo.status, echo.headers, echo.bytes), (299, request.headers, request.body));
        // A long answer has a stream of its own.
        let long = client.call("/long", CallRequest::default()).await.expect("an answer");
        assert_eq!((long.bytes.len(), long.bytes.iter().all(|byte| *byte == 7)), (3 << 20, true));
        assert_eq!(source.executions.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_call_that_fails_says_so_and_others_go_on() {
    let (source, cluster) = cluster();
    block_on(async {
        let client = start(&source, &cluster).await;
        let failed = async |key: &str| match client.call(key, CallRequest::default()).await {
            Err(Error::Failed { code, text }) => (code, text),
            other => panic!("{key}: {other:?}"),
        };
        let panicked = (ErrorCode::Source, "the source panicked".to_owned());
        assert_eq!(failed("/panic").await, panicked);
        assert_eq!(failed("/other").await, (ErrorCode::Refused, "no".to_owned()));
        let (code, text) = failed("/impossible").await;
        assert!(code == ErrorCode::Source && text.contains("status 99"), "{text}");
        assert!(client.call("/echo", CallRequest::default()).await.is_ok());
        assert!(matches!(
            client.call("x", CallRequest::default()).await,
            Err(Error::InvalidKey { .. })
        ));
        let body = Bytes::from(vec![0; MAX_INLINE_BODY + 1]);
        let large = CallRequest { body, ..CallRequest::default() };
        let large = client.call("/echo", large).await;
        assert!(matches!(large, Err(Error::CallTooLarge { limit: 16_384, .. })), "{large:?}");
        assert_eq!(source.executions.load(Ordering::SeqCst), 4);
    });
}

#[test]
fn a_call_that_nobody_waits_for_any_more_is_executed_once_all_the_same() {
    let (source, cluster) = cluster();
    block_on(async {
        let client = start(&source, &cluster).await;
        let begun = || source.executions.load(Ordering::SeqCst) == 1;
        {
            let call = client.call("/wait", CallRequest { idempotent: true, ..Default::default() });
            tokio::select! {
                answer = call => panic!("{answer:?}"),
                () = wait_until(async || begun()) => {}
            }
        }
        source.go_on.notify_one();
        assert!(client.call("/echo", CallRequest::default()).await.is_ok());
        assert_eq!(source.executions.load(Ordering::SeqCst), 2);
        // A client that is closed meanwhile does not know.
        let other = client.clone();
        let call = tokio::spawn(async move { other.call("/wait", CallRequest::default()).await });
        wait_until(async || source.executions.load(Ordering::SeqCst) == 3).await;
        client.close().await;
        assert_eq!(call.await.expect("no panic"), Err(Error::FateUnknown));
        source.go_on.notify_one();
    });
}
