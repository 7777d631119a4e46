//! Connections that do nothing: what keeping one, and what making one, costs.

use quinn::{Endpoint, VarInt};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps every connection until its client ends it.
pub(crate) async fn serve(endpoint: Endpoint) {
    let open = Rc::new(Cell::new(0_usize));
    tokio::task::spawn_local(report(Rc::clone(&open)));
    while let Some(incoming) = endpoint.accept().await {
        let open = Rc::clone(&open);
        tokio::task::spawn_local(async move {
            let Ok(connection) = incoming.await else { return };
            open.set(open.get() + 1);
            connection.closed().await;
            open.set(open.get() - 1);
        });
    }
}

async fn report(open: Rc<Cell<usize>>) {
    loop {
        tokio::time::sleep(REPORT_INTERVAL).await;
        println!("connections {} resident_kib {}", open.get(), resident_kib());
    }
}

/// Resident memory of this process, as `/proc` states it; 0 where there is none.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Completes each handshake, and closes.
pub(crate) async fn serve_handshakes(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::task::spawn_local(async move {
            if let Ok(connection) = incoming.await {
                connection.close(VarInt::from_u32(0), b"");
            }
        });
    }
}
