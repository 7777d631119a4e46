//! Differences between versions, made off the event loop.

use super::Shell;
use crate::mirror::{Pair, delta};
use bytes::Bytes;
use std::rc::Rc;

/// Differences that a worker has made at one time.
pub(super) const MAKERS: usize = 2;

/// Makes one, and hands it in. One that cannot be made is not worth it.
pub(super) async fn make(shell: Rc<Shell>, pair: Pair, old: Bytes, new: Bytes) {
    let Ok(_permit) = shell.makers.acquire().await else {
        return;
    };
    let made = tokio::task::spawn_blocking(move || delta::encode(&old, &new)).await;
    let made = made.inspect_err(|error| tracing::error!(%error, "a difference was not made"));
    shell.with(|node, now| node.handle_difference(now, pair, made.ok().flatten()));
}
