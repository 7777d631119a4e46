//! What is made of versions off the event loop: differences, and compressed forms for HTTP clients.

use super::Shell;
use crate::mirror::{Coding, Pair, codings, delta};
use bytes::Bytes;
use std::rc::Rc;

/// Things of these kinds that a worker has made at one time.
pub(super) const MAKERS: usize = 2;

/// Makes a difference, and hands it in.
pub(super) async fn make(shell: Rc<Shell>, pair: Pair, old: Bytes, new: Bytes) {
    let Some(made) = in_turn(&shell, move || delta::encode(&old, &new)).await else {
        return;
    };
    shell.with(|node, now| node.handle_difference(now, pair, made));
}

/// Codes a version, and hands it in.
pub(super) async fn compress(shell: Rc<Shell>, coding: Coding, bytes: Bytes) {
    let coded = in_turn(&shell, move || codings::encode(coding.encoding, &bytes)).await;
    if let Some(coded) = coded {
        shell.with(|node, now| node.handle_compressed(now, coding, coded));
    }
}

/// Has something made when it is its turn. What cannot be made is not worth it; `None` if nothing
/// is made any more.
async fn in_turn<T: Send + 'static>(
    shell: &Shell,
    make: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<Option<T>> {
    let _permit = shell.makers.acquire().await.ok()?;
    let made = tokio::task::spawn_blocking(make).await;
    let made = made.inspect_err(|error| tracing::error!(%error, "something was not made"));
    Some(made.ok().flatten())
}
