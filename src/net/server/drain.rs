//! Draining from outside the workers: by the admin pages, and by a program that stops its server.

use super::Shell;
use crate::net::inspect::Inspectors;
use crate::node::server::DrainView;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often is looked whether the server has drained.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a drained server goes on, for the sake of requests that were on their way to it.
const LINGER: Duration = Duration::from_millis(100);

/// Has a server hand all its clients over before it stops.
#[derive(Clone)]
pub struct Drainer {
    workers: Inspectors<Shell>,
    timeout: Duration,
}

impl Drainer {
    pub(super) fn new(workers: Inspectors<Shell>, timeout: Duration) -> Self {
        Self { workers, timeout }
    }

    /// Hands all clients over, and returns when the server lists nobody, or no other server would
    /// take its clients, or the configured time is up. The server takes no new clients from then
    /// on. Does nothing while the server does not run.
    pub async fn drain(&self) {
        let begun = Instant::now();
        if start(&self.workers).await.is_none() {
            return;
        }
        tracing::info!("draining: the clients are handed over");
        while let Some(view) = look(&self.workers).await {
            let (primary, alternate) = (view.primary_clients, view.alternate_clients);
            if view.is_done() {
                sleep(LINGER).await;
                return tracing::info!("drained: no client is left");
            }
            if view.ready_servers == 0 {
                return tracing::info!(primary, alternate, "no other server takes the clients");
            }
            if begun.elapsed() >= self.timeout {
                return tracing::warn!(primary, alternate, "the time for draining is up");
            }
            sleep(LOOK_INTERVAL).await;
        }
    }
}

/// Has all workers hand their clients over; `None` if they do not run.
pub(crate) async fn start(workers: &Inspectors<Shell>) -> Option<()> {
    workers.look(|shell| shell.with(|node, now| node.handle_drain(now))).await.map(drop)
}

/// Has all workers take clients again; `None` if they do not run.
pub(crate) async fn stop(workers: &Inspectors<Shell>) -> Option<()> {
    workers.look(|shell| shell.with(|node, now| node.handle_undrain(now))).await.map(drop)
}

/// How far all workers are.
pub(crate) async fn look(workers: &Inspectors<Shell>) -> Option<DrainView> {
    workers.sum(|shell| shell.with(|node, _| node.drain_view()), DrainView::add).await
}
