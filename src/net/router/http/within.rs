//! Patience that costs nothing where none is needed.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::error::Elapsed;

/// Waits for something, but not for longer than this. No clock is read for what is there at once.
pub(super) async fn within<T>(
    patience: Duration,
    future: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let mut future = pin!(future);
    let at_once = std::future::poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
    });
    match at_once.await {
        Some(value) => Ok(value),
        None => tokio::time::timeout(patience, future).await,
    }
}
