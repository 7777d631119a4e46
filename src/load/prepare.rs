//! What is looked at before a run: whether the target is there and speaks the protocol, and which
//! items it has.

use super::LoadError;
use super::config::{KeyChoice, LoadConfig, Mode, Target};
use super::dialer::{ClientSettings, Dialer};
use super::frames::write_get;
use super::http3;
use super::keys::{self, LIST};
use super::session::Session;
use crate::net::frames::FrameReader;
use crate::wire::frame::MAX_PAYLOAD;
use crate::wire::lane::{Body, Outcome, Reply, Validator};
use crate::wire::{FrameType, Key};
use bytes::BytesMut;
use quinn::SendStream;
use std::sync::Arc;
use std::time::Duration;

/// How long the target may take to answer one of the first questions.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Finds out, on this thread, that the target can be asked, and for what.
pub(super) async fn prepare(
    config: &LoadConfig,
    settings: &ClientSettings,
) -> Result<Arc<[Key]>, LoadError> {
    let dialer = Dialer::open(settings.clone(), config.target.address(0, 0), 1)?;
    let listed = match &config.keys {
        KeyChoice::Listed(count) if config.mode.needs_keys() => Some(*count),
        _ => None,
    };
    let listed = match (&config.target, config.mode) {
        (_, Mode::Echo) | (Target::Http3 { .. }, Mode::Connect) => {
            let address = config.target.address(0, 0);
            let connected = dialer.connect(0, address, false).await;
            drop(connected.map_err(|lost| LoadError::at(address, &lost.reason))?);
            None
        }
        (Target::Routers { .. }, _) => {
            let session = greet(&dialer, &config.target).await?;
            let listed = match listed {
                Some(count) => Some((list(&session).await?, count)),
                None => None,
            };
            session.close();
            listed
        }
        (Target::Http3 { .. }, _) => {
            let known = http3::list(&dialer, config, listed.is_some()).await?;
            listed.map(|count| (known, count))
        }
    };
    dialer.finish(Duration::from_millis(50)).await;
    match (listed, &config.keys) {
        (Some((listed, count)), _) => keys::choose(&listed, count).map(Arc::from),
        (None, KeyChoice::Named(keys)) => Ok(keys.as_slice().into()),
        (None, KeyChoice::Listed(_)) => Ok(Arc::new([])),
    }
}

/// A session with the first router that has one.
async fn greet(dialer: &Dialer, target: &Target) -> Result<Session, LoadError> {
    let Target::Routers { addresses, pool } = target else {
        return Err(LoadError::new("only routers are greeted"));
    };
    let mut failed = Vec::new();
    for address in addresses {
        let session = match dialer.connect(0, *address, false).await {
            Ok(connection) => Session::greet(connection, pool.clone(), None).await,
            Err(lost) => Err(lost),
        };
        match session {
            Ok(session) => return Ok(session),
            Err(lost) => failed.push(LoadError::at(*address, &lost.reason).to_string()),
        }
    }
    Err(LoadError::new(&failed.join("; ")))
}

/// The items that a router's pool lists, with their lengths.
async fn list(session: &Session) -> Result<Vec<(Key, u64)>, LoadError> {
    let lane = session.connection.open_bi().await;
    let (send, receive) = lane.map_err(|why| LoadError::new(&why))?;
    let mut asking = Asking { send, frames: FrameReader::new(receive, MAX_PAYLOAD), asked: 0 };
    let list = asking.get(LIST).await?;
    let Some(Body::Inline(list)) = list else {
        return Err(LoadError::new(&format!(
            "the pool has no {LIST}, as the built-in sample has: name its keys by --keys FILE"
        )));
    };
    let mut listed = Vec::new();
    for key in keys::parse_list(&list)? {
        if let Some(body) = asking.get(key.as_str()).await? {
            listed.push((key, body.length()));
        }
    }
    Ok(listed)
}

/// Asks one question after the other. Bodies on streams of their own are left unread.
struct Asking {
    send: SendStream,
    frames: FrameReader,
    asked: u64,
}

impl Asking {
    /// The body of an item; `None` if there is no such item.
    async fn get(&mut self, key: &str) -> Result<Option<Body>, LoadError> {
        let failed = |why: &dyn std::fmt::Display| LoadError::new(&format!("{key}: {why}"));
        let mut out = BytesMut::new();
        self.asked += 1;
        write_get(&mut out, self.asked, self.asked, Some(key.as_bytes()), &Validator::None);
        self.send.write_all(&out).await.map_err(|why| failed(&why))?;
        let reply = tokio::time::timeout(ANSWER_PATIENCE, self.reply()).await;
        let reply = reply.map_err(|_| failed(&"there is no answer"))??;
        match reply.outcome {
            Outcome::Full { body, .. } => Ok(Some(body)),
            Outcome::NotFound => Ok(None),
            Outcome::Busy { .. } => Err(failed(&"the pool is busy")),
            Outcome::Error { text, .. } => Err(failed(&text)),
            other => Err(failed(&format!("the answer is {:?}", other.frame_type()))),
        }
    }

    async fn reply(&mut self) -> Result<Reply, LoadError> {
        loop {
            let frame = self.frames.next().await.map_err(|why| LoadError::new(&why))?;
            let frame = frame.ok_or_else(|| LoadError::new("it ended the lane"))?;
            if frame.kind() == FrameType::Assigned {
                continue;
            }
            let reply = Reply::decode(&frame).map_err(|why| LoadError::new(&why))?;
            if reply.request_id == self.asked {
                return Ok(reply);
            }
        }
    }
}
