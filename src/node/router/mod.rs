//! The router: gives each client a primary, forwards its requests, and finds another server when
//! the primary is gone. It reads no keys and no bodies.
//!
//! - `session`: a client's arrival, its token, its requests;
//! - `dispatch`: where a request goes now, and the takeover when that server is gone;
//! - `replies`: what servers answer;
//! - `health`: which servers can be asked;
//! - `resolve`: asking all servers who holds a client.

mod assignments;
mod dispatch;
mod health;
mod replies;
mod resolve;
mod session;
mod view;

use crate::cluster::Board;
use crate::node::Planted;
use crate::wire::backplane::Message;
use crate::wire::lane::BodyStart;
use crate::wire::session::{CloseCode, Limits};
use crate::wire::token::TokenKeys;
use crate::wire::{ClientId, Epoch, Frame, Name, Time};
use assignments::Assignments;
use health::Health;
use rand::SeedableRng;
use rand::rngs::StdRng;
use resolve::Resolution;
use session::Session;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use assignments::Title;
pub use health::HealthState;
pub use view::{ReplyCounters, RouterView, ServerRow};

/// What a router is told about itself.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// The one pool it serves.
    pub pool: Name,
    /// What clients may do.
    pub limits: Limits,
    /// How long a request may go unanswered.
    pub request_timeout: Duration,
    /// How long a token is good for.
    pub token_lifetime: Duration,
    /// Seeds client ids and nonces.
    pub seed: [u8; 32],
    /// A mistake to make, in tests of the simulator.
    pub planted: Planted,
}

/// One client's connection, by the shell's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// One lane of a session, by the shell's number for it.
pub type LaneId = u64;

/// What the router wants done.
#[derive(Debug)]
pub enum Output {
    /// Send a frame on a session's first stream.
    ToSession {
        /// Whose.
        session: SessionId,
        /// What.
        frame: Frame,
    },
    /// The session is welcome: its lanes may be read from now on.
    Welcomed {
        /// Whose.
        session: SessionId,
    },
    /// Send a frame on a lane.
    ToLane {
        /// Whose.
        session: SessionId,
        /// Which of its lanes.
        lane: LaneId,
        /// What.
        frame: Frame,
    },
    /// Send a message to a server.
    ToServer {
        /// Which.
        name: Name,
        /// What.
        message: Message,
    },
    /// Close a session's connection.
    CloseSession {
        /// Whose.
        session: SessionId,
        /// Why, for programs.
        code: CloseCode,
        /// Why, for people.
        reason: String,
    },
    /// Give up the body that is being passed on under this number: its server is gone.
    AbandonBody {
        /// The router's number for the request.
        request_id: u64,
    },
}

/// Where a body that came from a server goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRoute {
    /// Whose.
    pub session: SessionId,
    /// How the client's stream starts.
    pub start: BodyStart,
}

/// What becomes of a body that came from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyVerdict {
    /// It goes to a client.
    Wanted(BodyRoute),
    /// The reply that announces it has not come yet: ask again after the next replies.
    Early,
    /// Nobody waits for it.
    Unwanted,
}

/// A request that has not been answered, by the router's number for it.
#[derive(Debug)]
struct Request {
    session: SessionId,
    lane: LaneId,
    client: ClientId,
    inner_id: u64,
    frame: Frame,
    idempotent: bool,
    deadline: Time,
    attempts: u32,
    stage: Stage,
}

/// Where a request is.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Nowhere: no server can be asked now.
    Waiting,
    /// At a server, asked in an epoch.
    Asked { server: Name, epoch: Epoch },
    /// Its reply was passed on, and its body comes from the same server, or has begun to.
    Body { server: Name, begun: bool },
}

/// A router.
#[derive(Debug)]
pub struct Router {
    config: RouterConfig,
    keys: TokenKeys,
    rng: StdRng,
    assignments: Assignments,
    board: Board,
    health: BTreeMap<Name, Health>,
    sessions: BTreeMap<SessionId, Session>,
    session_of: BTreeMap<ClientId, SessionId>,
    departed: VecDeque<(Time, ClientId)>,
    requests: BTreeMap<u64, Request>,
    resolutions: BTreeMap<ClientId, Resolution>,
    next_number: u64,
    cursor: Option<Name>,
    last_turn: Option<Time>,
    takeovers: u64,
    replies: ReplyCounters,
    outputs: VecDeque<Output>,
}

impl Router {
    /// A router that knows no servers and no clients.
    pub fn new(config: RouterConfig, keys: TokenKeys) -> Self {
        Self {
            rng: StdRng::from_seed(config.seed),
            config,
            keys,
            assignments: Assignments::default(),
            board: Board::default(),
            health: BTreeMap::new(),
            sessions: BTreeMap::new(),
            session_of: BTreeMap::new(),
            departed: VecDeque::new(),
            requests: BTreeMap::new(),
            resolutions: BTreeMap::new(),
            next_number: 1,
            cursor: None,
            last_turn: None,
            takeovers: 0,
            replies: ReplyCounters::default(),
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A number that this router has not used before, for requests, queries and pings.
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn send(&mut self, name: &Name, message: Message) {
        self.outputs.push_back(Output::ToServer { name: name.clone(), message });
    }
}
