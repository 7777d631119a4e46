//! Token keys that are replaced while the router runs.

use super::Shell;
use crate::config::TokenKeyBytes;
use crate::net::inspect::Inspectors;
use std::path::PathBuf;
use std::time::Duration;

/// How often the file is read: it is small, and whoever rotates keys waits for all routers anyway.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the file with the token keys again and again, and hands all workers what has changed in
/// it. A file that cannot be used is complained about once; the keys from before go on.
pub(super) async fn follow(path: PathBuf, mut known: TokenKeyBytes, workers: Inspectors<Shell>) {
    let mut complaint = String::new();
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let file = path.clone();
        // The disk may take its time, and this worker has clients.
        let read = tokio::task::spawn_blocking(move || TokenKeyBytes::read(&file)).await;
        match read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(keys) if keys == known => complaint.clear(),
            Ok(keys) => {
                complaint.clear();
                let live = keys.token_keys();
                let mut all_know = true;
                for worker in workers.each() {
                    let live = live.clone();
                    all_know &=
                        worker.tell(move |shell| shell.with(|node, _| node.set_token_keys(live)));
                }
                // A worker that is too busy to hear of it is told again in a while.
                if all_know {
                    tracing::info!(file = %path.display(), ?keys, "the token keys have changed");
                    known = keys;
                }
            }
            Err(why) if why != complaint => {
                let file = path.display();
                tracing::error!(%file, %why, "the token keys cannot be read; the old ones go on");
                complaint = why;
            }
            Err(_) => {}
        }
    }
}
