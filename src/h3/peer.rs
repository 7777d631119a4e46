//! What the streams of a peer that go one way share, and the rules of its frames of control
//! (RFC 9114, sections 6.2 and 7.2; RFC 9218, section 7).
//!
//! Everything a peer may say there without end costs of a budget, which grows with its requests: a
//! browser that reorders its images pays for it with them, a flood does not.

use super::error::{Code, Error};
use super::frames::{
    CANCEL_PUSH, DATA, GOAWAY, HEADERS, MAX_PUSH_ID, PRIORITY_UPDATE_PUSH, PRIORITY_UPDATE_REQUEST,
    PUSH_PROMISE, SETTINGS, is_of_http2,
};
use super::settings::{MAX_SETTINGS_BYTES, Settings};
use crate::wire::codec::peek_varint;
use bytes::Bytes;

/// Frames and instructions that a peer may send on streams that go one way, beside those that its
/// requests pay for.
pub const CONTROL_BUDGET: u64 = 256;
/// How many more frames and instructions each request pays for. More than [`CONTROL_BUDGET`] cannot
/// be saved.
pub const CONTROL_FRAMES_PER_REQUEST: u64 = 8;
/// Bytes of a frame that cost as much as a frame: what is skipped must not be endless either.
pub const BYTES_PER_FRAME: u64 = 1024;
/// Largest priority in PRIORITY_UPDATE, in bytes. Those in use have a dozen.
pub const MAX_PRIORITY: usize = 256;

pub(super) const STREAM_CONTROL: u64 = 0x00;
const STREAM_PUSH: u64 = 0x01;
const STREAM_ENCODER: u64 = 0x02;
const STREAM_DECODER: u64 = 0x03;

/// Bytes of the longest integer in a frame.
pub(super) const MAX_ID_BYTES: usize = 8;

/// Who opened the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The peer is a client.
    Client,
    /// The peer is a server.
    Server,
}

/// What the streams of one connection's peer share.
#[derive(Debug)]
pub struct Peer {
    role: Role,
    settings: Option<Settings>,
    /// Whether there was a stream of control, of the encoder, of the decoder.
    opened: [bool; 3],
    goaway: Option<u64>,
    max_push_id: Option<u64>,
    budget: u64,
}

/// What a stream that goes one way brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// The stream has a type that we do not know: send STOP_SENDING with
    /// [`Code::StreamCreationError`], and read no more of it.
    Ignore,
    /// The peer's settings.
    Settings(Settings),
    /// The peer will not begin anything from this identifier on: pushes if it is a client, requests
    /// if it is a server.
    Goaway(u64),
    /// The client wants a request to have another priority.
    PriorityUpdate {
        /// The stream of the request.
        stream_id: u64,
        /// A structured field (RFC 9218, section 4), which nobody has checked.
        priority: Bytes,
    },
}

/// What a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its type has not come.
    #[default]
    Unknown,
    Control(Place),
    Encoder,
    Decoder,
    Ignored,
}

/// Where in a frame the control stream is, with what is left of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Head,
    Payload { kind: u64, left: usize },
    Skip(u64),
}

impl Peer {
    /// A peer of which nothing has come.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            settings: None,
            opened: [false; 3],
            goaway: None,
            max_push_id: None,
            budget: CONTROL_BUDGET,
        }
    }

    /// Its settings, once they have come.
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    /// It began a request, which pays for some frames.
    pub fn handle_request(&mut self) {
        self.budget = CONTROL_BUDGET.min(self.budget + CONTROL_FRAMES_PER_REQUEST);
    }

    pub(super) fn pay(&mut self, length: u64) -> Result<(), Error> {
        let left = self.budget.checked_sub(1 + length / BYTES_PER_FRAME);
        let why = "control streams bring more than requests need";
        self.budget = left.ok_or(Error::connection(Code::ExcessiveLoad, why))?;
        Ok(())
    }

    /// Finds out what a stream of this type is.
    pub(super) fn open(&mut self, stream_type: u64) -> Result<Kind, Error> {
        let wrong = |code, why| Err(Error::connection(code, why));
        let (place, kind) = match stream_type {
            STREAM_CONTROL => (0, Kind::Control(Place::Head)),
            STREAM_ENCODER => (1, Kind::Encoder),
            STREAM_DECODER => (2, Kind::Decoder),
            STREAM_PUSH if self.role == Role::Client => {
                return wrong(Code::StreamCreationError, "clients do not push");
            }
            STREAM_PUSH => return wrong(Code::IdError, "no push was allowed"),
            _ => {
                self.pay(0)?;
                return Ok(Kind::Ignored);
            }
        };
        if self.opened[place] {
            return wrong(Code::StreamCreationError, "there is another stream of this type");
        }
        self.opened[place] = true;
        Ok(kind)
    }

    /// Checks a frame by its head, and says where the stream is then.
    pub(super) fn enter_frame(&mut self, kind: u64, length: u64) -> Result<Place, Error> {
        let wrong = |code, why| Err(Error::connection(code, why));
        if kind != SETTINGS && self.settings.is_none() {
            return wrong(Code::MissingSettings, "the first frame is not SETTINGS");
        }
        self.pay(length)?;
        let limit = match kind {
            SETTINGS if self.settings.is_some() => {
                return wrong(Code::FrameUnexpected, "there are settings already");
            }
            SETTINGS => MAX_SETTINGS_BYTES,
            GOAWAY | CANCEL_PUSH => MAX_ID_BYTES,
            MAX_PUSH_ID if self.role == Role::Client => MAX_ID_BYTES,
            PRIORITY_UPDATE_REQUEST | PRIORITY_UPDATE_PUSH if self.role == Role::Client => {
                MAX_ID_BYTES + MAX_PRIORITY
            }
            DATA
            | HEADERS
            | PUSH_PROMISE
            | MAX_PUSH_ID
            | PRIORITY_UPDATE_REQUEST
            | PRIORITY_UPDATE_PUSH => {
                return wrong(Code::FrameUnexpected, "a frame does not belong on this stream");
            }
            _ if is_of_http2(kind) => {
                return wrong(Code::FrameUnexpected, "a frame is one of HTTP/2");
            }
            _ => return Ok(Place::Skip(length)),
        };
        match usize::try_from(length) {
            Ok(left) if left <= limit => Ok(Place::Payload { kind, left }),
            _ if limit == MAX_ID_BYTES => wrong(Code::FrameError, "a frame is too long"),
            _ => wrong(Code::ExcessiveLoad, "a frame is too long"),
        }
    }

    /// Takes a frame whose payload is there.
    pub(super) fn handle_frame(
        &mut self,
        kind: u64,
        payload: Bytes,
    ) -> Result<Option<ControlEvent>, Error> {
        let wrong = |why| Err(Error::connection(Code::IdError, why));
        if kind == SETTINGS {
            let settings = Settings::decode(&payload)?;
            self.settings = Some(settings);
            return Ok(Some(ControlEvent::Settings(settings)));
        }
        let cut_short = Error::connection(Code::FrameError, "a frame is cut short");
        let (id, length) = peek_varint(&payload).ok_or(cut_short)?;
        let rest = payload.slice(length..);
        match kind {
            PRIORITY_UPDATE_REQUEST if id % 4 == 0 => {
                return Ok(Some(ControlEvent::PriorityUpdate { stream_id: id, priority: rest }));
            }
            PRIORITY_UPDATE_REQUEST => return wrong("no request has this stream"),
            PRIORITY_UPDATE_PUSH => return wrong("no push was promised"),
            _ if !rest.is_empty() => {
                return Err(Error::connection(Code::FrameError, "a frame is too long"));
            }
            GOAWAY if self.role == Role::Server && id % 4 != 0 => {
                return wrong("no request has this stream");
            }
            GOAWAY if self.goaway.is_some_and(|before| id > before) => {
                return wrong("what was given up does not come back");
            }
            GOAWAY => {
                self.goaway = Some(id);
                return Ok(Some(ControlEvent::Goaway(id)));
            }
            MAX_PUSH_ID if self.max_push_id.is_some_and(|before| id < before) => {
                return wrong("the limit of pushes does not shrink");
            }
            MAX_PUSH_ID => self.max_push_id = Some(id),
            // A server never promised one to this client; or a client never allowed one.
            _ => return wrong("no push was promised"),
        }
        Ok(None)
    }
}
