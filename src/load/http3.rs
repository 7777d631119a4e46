//! Any HTTP/3 server: GETs, with the validators of the first answer where copies are asked about.

mod items;
mod request;
#[cfg(test)]
mod tests;

use super::LoadError;
use super::config::{LoadConfig, Mode};
use super::dialer::Dialer;
use super::keys::{self, LIST};
use super::pace::Pace;
use super::shared::Shared;
use super::tally::{FailureKind, ReplyKind};
use super::worker::Place;
use crate::net::client::Lost;
use crate::wire::Key;
use bytes::Bytes;
use http::StatusCode;
use items::Items;
use request::{Broken, Origin};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long one of the first answers may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// How long is waited between attempts to connect again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// How often the first answer for an item may be one that says to come back.
const RETRIES: u32 = 20;
/// How long is waited before that.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

type Driver = h3::client::Connection<h3_quinn::Connection, Bytes>;
type Sender = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

/// Runs one connection to the end. Fails only where the run has not begun.
pub(super) async fn run(shared: Rc<Shared>, place: Place, pace: Rc<Pace>) -> Result<(), LoadError> {
    let address = shared.config.target.address(place.of_run, 0);
    let origin = Rc::new(Origin::new(&shared.config.target));
    let items = Rc::new(Items::new(Rc::clone(&shared)));
    let asking = Asking { shared: Rc::clone(&shared), pace, place: place.clone(), origin, items };
    for attempt in 0.. {
        let turn = shared.dialing.acquire().await.expect("it is never closed");
        let connected = connect(&shared.dialer, place.of_worker, &shared.config, true).await;
        drop(turn);
        let why = match connected {
            Ok((connection, driver, sender)) => {
                let _registered = shared.register(&connection);
                asking.run_connection(driver, sender, attempt == 0).await
            }
            Err(lost) => Err(lost.reason),
        };
        let why = match why {
            Ok(why) => why,
            Err(why) if attempt == 0 => return Err(LoadError::at(address, &why)),
            Err(why) => why,
        };
        if shared.is_over(Instant::now()) {
            return Ok(());
        }
        shared.note(|tally| tally.event(format!("connection {}: {why}", place.of_run)));
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
    Ok(())
}

async fn connect(
    dialer: &Dialer,
    socket: usize,
    config: &LoadConfig,
    patiently: bool,
) -> Result<(quinn::Connection, Driver, Sender), Lost> {
    let connection = dialer.connect(socket, config.target.address(0, 0), patiently).await?;
    let over = h3_quinn::Connection::new(connection.clone());
    let built = h3::client::builder().send_grease(false).build(over).await;
    let (driver, sender) = built.map_err(|why| Lost::broken(why.to_string()))?;
    Ok((connection, driver, sender))
}

/// Does what the connection needs, until it ends: why.
async fn drive(mut driver: Driver) -> String {
    driver.wait_idle().await.to_string()
}

/// Gets every item once.
async fn fill(items: &Items, origin: &Origin, sender: &mut Sender) -> Result<(), String> {
    for number in 0..items.len() {
        let key = items.key(number);
        let mut tries = 0;
        let kind = loop {
            let wanted = items.first_request(number);
            let asked = request::get(sender, origin, &wanted, false);
            let answer = tokio::time::timeout(ANSWER_PATIENCE, asked).await;
            let answer = answer.map_err(|_| format!("{key}: there is no answer"))?;
            let answer = answer.map_err(|why| format!("{key}: {why}"))?;
            let outcome = items.first(number, &answer);
            let kind = outcome.map_err(|kind| format!("{key}: it is wrong: {}", kind.name()))?;
            tries += 1;
            if kind != ReplyKind::Busy || tries > RETRIES {
                break (kind, answer.status);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        };
        match kind {
            (ReplyKind::Full, _) if items.may_be_unchanged(number) => {}
            (ReplyKind::Full, _) => {
                let text = "the answer has neither an ETag nor Last-Modified: use --mode full";
                return Err(format!("{key}: {text}"));
            }
            (_, status) => return Err(format!("{key}: the answer is {status}")),
        }
    }
    Ok(())
}

/// What the requests of one connection have in common.
#[derive(Clone)]
struct Asking {
    shared: Rc<Shared>,
    pace: Rc<Pace>,
    place: Place,
    origin: Rc<Origin>,
    items: Rc<Items>,
}

impl Asking {
    /// Runs while the connection stands: why it does not any more; an error before it was ready.
    async fn run_connection(
        &self,
        driver: Driver,
        mut sender: Sender,
        is_first: bool,
    ) -> Result<String, String> {
        let mut driver = std::pin::pin!(drive(driver));
        if is_first {
            tokio::select! {
                filled = fill(&self.items, &self.origin, &mut sender) => filled?,
                why = &mut driver => return Err(why),
            }
            self.shared.is_ready();
        } else {
            self.shared.note(|tally| tally.reconnects += 1);
        }
        let (is_lost, receiver) = watch::channel(false);
        let mut askers = JoinSet::new();
        for _ in 0..self.shared.config.in_flight {
            askers.spawn_local(self.clone().ask_on(sender.clone(), receiver.clone()));
        }
        let mut ended = std::pin::pin!(async { while askers.join_next().await.is_some() {} });
        tokio::select! {
            () = &mut ended => Ok("it took no more requests".to_owned()),
            why = driver => {
                // Requests in flight notice by themselves, and count what became of them.
                is_lost.send_replace(true);
                ended.await;
                Ok(why)
            }
        }
    }

    /// Makes one request after the other, to the end of the run or of the connection.
    async fn ask_on(self, mut sender: Sender, mut is_lost: watch::Receiver<bool>) {
        loop {
            let planned = tokio::select! {
                biased;
                _ = is_lost.wait_for(|is_lost| *is_lost) => return,
                planned = self.shared.next(&self.pace, &self.place.bell) => planned,
            };
            let Some(planned) = planned else {
                return;
            };
            let asked = self.items.next();
            let wanted = self.items.request(&asked);
            let outcome = match request::get(&mut sender, &self.origin, &wanted, false).await {
                Ok(answer) => self.items.check(&asked, &answer),
                Err(Broken::Body) => Err(FailureKind::BrokenBody),
                Err(Broken::Stream(_)) => Err(FailureKind::Protocol),
                Err(Broken::Connection(_)) => Err(FailureKind::ConnectionLost),
            };
            self.shared.settle(planned, Instant::now(), outcome);
            if outcome == Err(FailureKind::ConnectionLost) {
                return;
            }
        }
    }
}

/// Looks whether the server is there, and, if `wants_list`, which items it lists and how many
/// bytes they have.
pub(super) async fn list(
    dialer: &Dialer,
    config: &LoadConfig,
    wants_list: bool,
) -> Result<Vec<(Key, u64)>, LoadError> {
    let address = config.target.address(0, 0);
    let failed = |why: &str| LoadError::at(address, why);
    let connected = connect(dialer, 0, config, false).await;
    let (_connection, driver, mut sender) = connected.map_err(|lost| failed(&lost.reason))?;
    if !wants_list || config.mode == Mode::Connect {
        return Ok(Vec::new());
    }
    let origin = Origin::new(&config.target);
    tokio::select! {
        listed = listed(&mut sender, &origin) => listed.map_err(|why| failed(&why)),
        why = drive(driver) => Err(failed(&why)),
    }
}

async fn listed(sender: &mut Sender, origin: &Origin) -> Result<Vec<(Key, u64)>, String> {
    let list = first_answer(sender, origin, LIST, true).await?;
    if list.status != StatusCode::OK {
        return Err(format!("{LIST}: the answer is {}: name keys by --keys FILE", list.status));
    }
    let mut listed = Vec::new();
    for key in keys::parse_list(&list.kept).map_err(|why| why.to_string())? {
        let answer = first_answer(sender, origin, key.as_str(), false).await?;
        if answer.status == StatusCode::OK {
            listed.push((key, answer.held.length));
        }
    }
    Ok(listed)
}

async fn first_answer(
    sender: &mut Sender,
    origin: &Origin,
    path: &str,
    is_kept: bool,
) -> Result<request::Answer, String> {
    let wanted = request::Wanted { path: path.to_owned(), copy: None };
    let answer = request::get(sender, origin, &wanted, is_kept);
    let answer = tokio::time::timeout(ANSWER_PATIENCE, answer).await;
    let answer = answer.map_err(|_| format!("{path}: there is no answer"))?;
    answer.map_err(|why| format!("{path}: {why}"))
}
