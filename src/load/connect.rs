//! Handshakes: a connection is made, greeted where that is the custom, and closed.

use super::LoadError;
use super::config::Target;
use super::pace::Pace;
use super::session::Session;
use super::shared::Shared;
use super::tally::{FailureKind, ReplyKind};
use super::worker::Place;
use crate::net::client::Lost;
use quinn::VarInt;
use std::rc::Rc;
use std::time::Instant;

/// The code with which HTTP/3 ends a connection without an error (RFC 9114, section 8.1).
const HTTP3_NO_ERROR: u32 = 0x100;

/// Makes one connection after the other, to the end of the run.
pub(super) async fn run(shared: Rc<Shared>, place: Place, pace: Rc<Pace>) -> Result<(), LoadError> {
    shared.is_ready();
    for attempt in 0.. {
        let Some(planned) = shared.next(&pace, &place.bell).await else {
            return Ok(());
        };
        let outcome = match connect(&shared, &place, attempt).await {
            Ok(()) => Ok(ReplyKind::Welcome),
            Err(lost) => {
                shared.note(|tally| {
                    tally.event(format!("connection {}: {}", place.of_run, lost.reason));
                });
                Err(FailureKind::NotConnected)
            }
        };
        shared.settle(planned, Instant::now(), outcome);
    }
    Ok(())
}

async fn connect(shared: &Rc<Shared>, place: &Place, attempt: usize) -> Result<(), Lost> {
    let address = shared.config.target.address(place.of_run, attempt);
    let connection = shared.dialer.connect(place.of_worker, address, true).await?;
    let _registered = shared.register(&connection);
    match &shared.config.target {
        Target::Routers { pool, .. } => {
            Session::greet(connection, pool.clone(), None).await?.close();
        }
        Target::Http3 { .. } => connection.close(VarInt::from_u32(HTTP3_NO_ERROR), b""),
    }
    Ok(())
}
