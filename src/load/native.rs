//! A connection that asks a router for items, from its first HELLO to the end of the run.

use super::LoadError;
use super::config::Target;
use super::lane::{End, Filler, Holdings};
use super::pace::Pace;
use super::session::{Inbox, Session};
use super::shared::Shared;
use super::slots::Slots;
use super::worker::Place;
use crate::net::client::Lost;
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long is waited between attempts to connect again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// Runs one connection to the end. Fails only where the run has not begun.
pub(super) async fn run(shared: Rc<Shared>, place: Place, pace: Rc<Pace>) -> Result<(), LoadError> {
    let in_flight = shared.config.in_flight;
    let mut holdings = Holdings::new(Slots::new(Arc::clone(&shared.keys), in_flight));
    let mut token = None;
    for attempt in 0.. {
        let address = shared.config.target.address(place.of_run, attempt);
        let inbox = Inbox::new(Rc::clone(&place.bell));
        let why = match open(&shared, &place, attempt, token.take()).await {
            Ok(session) => {
                check_limits(&shared, &holdings, &session)?;
                if attempt > 0 {
                    shared.note(|tally| tally.reconnects += 1);
                }
                let newest = Rc::clone(&session.token);
                let end = match session.open_lane(&shared, &inbox).await {
                    Ok(lane) => {
                        Filler::new(&shared, &pace, &inbox, lane, &mut holdings).run().await
                    }
                    Err(lost) => End::Lost(lost.reason),
                };
                token = Some(newest.take());
                match end {
                    End::Finished => return Ok(()),
                    End::Lost(why) => why,
                    End::Hopeless(why) => return Err(LoadError::at(address, &why)),
                }
            }
            Err(lost) => lost.reason,
        };
        if shared.window().is_none() {
            return Err(LoadError::at(address, &why));
        }
        if shared.is_over(Instant::now()) {
            return Ok(());
        }
        shared.note(|tally| tally.event(format!("connection {}: {why}", place.of_run)));
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
    Ok(())
}

async fn open(
    shared: &Rc<Shared>,
    place: &Place,
    attempt: usize,
    token: Option<Bytes>,
) -> Result<Session, Lost> {
    let address = shared.config.target.address(place.of_run, attempt);
    let _turn = shared.dialing.acquire().await.expect("it is never closed");
    let connection = shared.dialer.connect(place.of_worker, address, attempt == 0).await?;
    let Target::Routers { pool, .. } = &shared.config.target else {
        return Err(Lost::broken("it is no router"));
    };
    Session::greet(connection, pool.clone(), token).await
}

/// What the router permits must suffice for what is asked for.
fn check_limits(shared: &Shared, holdings: &Holdings, session: &Session) -> Result<(), LoadError> {
    let limits = session.limits;
    let (slots, in_flight) = (holdings.slots.len() as u64, shared.config.in_flight as u64);
    if limits.in_flight < in_flight {
        let most = limits.in_flight;
        return Err(LoadError::new(&format!(
            "the router permits {most} requests in flight on a connection: say --in-flight {most} \
             or less"
        )));
    }
    if limits.slots < slots {
        let most = limits.slots;
        return Err(LoadError::new(&format!(
            "the router permits {most} slots to a client: say --keys {most} or less"
        )));
    }
    Ok(())
}
