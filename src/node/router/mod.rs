//! One worker of a router: gives each client a primary, forwards its requests, and finds another
//! server when the primary is gone. It reads no keys and no bodies.
//!
//! - `session`: a client's arrival, its token; `requests`: what it asks;
//! - `dispatch`: where a request goes now, and the takeover when that server is gone;
//! - `replies`: what servers answer;
//! - `bodies`: bodies on their way, and how they go on when their server is lost;
//! - `pools`: which servers are for whom;
//! - `health`, `pulse`: which servers can be asked;
//! - `hedge`, `answer_times`: which requests are sent to the alternate as well, and when;
//! - `http`: clients that speak HTTP;
//! - `resolve`: asking all servers who holds a client.

mod answer_times;
mod assignments;
mod bodies;
mod dispatch;
mod gone;
mod health;
mod hedge;
mod http;
mod pools;
mod pulse;
mod replies;
mod requests;
mod resolve;
mod servers;
mod session;
mod shared;
mod view;

#[cfg(test)]
mod tests;
mod tokens;

use crate::assign::{Entry, ServerIndex};
use crate::cluster::Policy;
use crate::node::Planted;
use crate::node::slots::Slots;
use crate::wire::session::{CloseCode, Limits, Versions};
use crate::wire::token::TokenKeys;
use crate::wire::{ClientId, Frame, Name, Time};
use assignments::Assignments;
use bodies::Body;
use pools::Pools;
use rand::SeedableRng;
use rand::rngs::StdRng;
use resolve::Resolution;
use servers::Servers;
use session::Session;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use bodies::{BodyRoute, BodyVerdict};
pub use http::HTTP_LANE;
pub use pools::MAX_POOLS;
pub use servers::HealthState;
pub use shared::Shared;
pub use view::{Counters, ReplyCounters, RouterView, ServerRow};

/// What a router is told about itself.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// The pools it serves; at least one, at most [`MAX_POOLS`], each with a name of its own.
    pub pools: Vec<PoolConfig>,
    /// How long a request may go unanswered, where its pool does not say otherwise.
    pub request_timeout: Duration,
    /// How long a token is good for.
    pub token_lifetime: Duration,
    /// The protocol versions it speaks to clients.
    pub versions: Versions,
    /// Seeds client ids and nonces.
    pub seed: [u8; 32],
    /// A mistake to make, in tests of the simulator.
    pub planted: Planted,
}

/// What a router is told about one of its pools. A client is of one pool, and no server of another
/// one ever serves it.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// What it is called.
    pub name: Name,
    /// How a new client gets its server.
    pub policy: Policy,
    /// What clients may do.
    pub limits: Limits,
    /// How long a request may go unanswered.
    pub request_timeout: Option<Duration>,
}

/// A pool, by its place in the configuration of its router.
pub type PoolIndex = usize;

/// Why a router has no use for a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotLink {
    /// It is of a pool that the router does not have.
    #[error("it is of the pool {0}, which this router does not have")]
    NoSuchPool(Name),
    /// No more can be told apart.
    #[error("there are more servers than a router can tell apart")]
    TooMany,
}

/// Unanswered requests of all clients of one worker; more are answered BUSY.
pub const MAX_REQUESTS: usize = 1 << 20;

const _: () = assert!(MAX_REQUESTS < Slots::<Request>::LIMIT);

/// One client's connection, by the worker's number for it. Its place, [`place_of`], is dense.
///
/// [`place_of`]: crate::node::slots::place_of
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// One lane of a session, by the shell's number for it.
pub type LaneId = u32;

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
        server: ServerIndex,
        /// Which of its workers.
        worker: u64,
        /// What.
        frame: Frame,
    },
    /// A client that may have a session with another worker has a newer one here.
    Admitted {
        /// Who.
        client: ClientId,
        /// How new the session is.
        admission: u64,
    },
    /// A server has another number of workers than its links were made for: make them again.
    Relink {
        /// Which.
        server: ServerIndex,
    },
    /// Send the content of an HTTP request to the server that has taken it.
    SendContent {
        /// Whose.
        session: SessionId,
        /// The front's number for the request.
        inner_id: u64,
        /// Which server.
        server: ServerIndex,
        /// Which of its workers.
        worker: u64,
        /// The number under which the server knows the request.
        number: u64,
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
    /// Take no more of a body from its server, which is gone, and say how much of it was passed on
    /// by [`Router::handle_body_broken`]. The client's stream stays open.
    SuspendBody {
        /// The body.
        body: u64,
    },
    /// Give up a body: reset the client's stream.
    AbandonBody {
        /// The body.
        body: u64,
    },
}

/// A request that has not been answered, by the router's number for it.
#[derive(Debug)]
struct Request {
    session: SessionId,
    lane: LaneId,
    attempts: u16,
    idempotent: bool,
    /// Whether the client understands a DELTA.
    takes_deltas: bool,
    client: ClientId,
    frame: Frame,
    deadline: Time,
    /// When it was sent last.
    asked_at: Time,
    stage: Stage,
    /// The body that was announced to the client.
    body: Option<Box<Body>>,
}

// Beyond this it is copied by a call, every time that it goes from hand to hand.
const _: () = assert!(size_of::<Request>() <= 128);

impl Request {
    /// The client's number for it.
    fn inner_id(&self) -> u64 {
        self.frame.request_id().expect("it was read when the request came")
    }
}

/// Where a request is.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Nowhere: no server can be asked now.
    Waiting,
    /// At a server, asked under an entry of the table, and at another one as a hedge.
    Asked { entry: Entry, hedge: Option<ServerIndex> },
    /// Its reply was passed on, and its body comes from the same server, or has begun to.
    Body { server: ServerIndex, begun: bool },
}

/// One worker of a router.
#[derive(Debug)]
pub struct Router {
    config: RouterConfig,
    keys: TokenKeys,
    /// Clients whose tokens were sealed by a key that may be gone soon.
    renewals: Vec<ClientId>,
    rng: StdRng,
    assignments: Assignments,
    pools: Pools,
    servers: Servers,
    sessions: Slots<Session>,
    /// Sessions that wait for a server.
    queue: BTreeSet<SessionId>,
    session_of: BTreeMap<ClientId, SessionId>,
    departed: VecDeque<(Time, ClientId)>,
    requests: Slots<Request>,
    /// Requests that wait for a server; some may have ended since.
    waiting: BTreeSet<u64>,
    resolutions: BTreeMap<ClientId, Resolution>,
    next_number: u64,
    budget: hedge::Budget,
    /// When the next thing may have to be decided.
    due: Time,
    /// When what need not be looked at often is looked at next.
    slow_due: Time,
    /// The clock was looked at too late, and nothing was decided.
    was_late: bool,
    counters: Counters,
    replies: ReplyCounters,
    outputs: VecDeque<Output>,
}

impl Router {
    /// A worker that knows no servers, and the clients that others have put in the table.
    pub fn new(config: RouterConfig, keys: TokenKeys, shared: Arc<Shared>) -> Self {
        Self {
            rng: StdRng::from_seed(config.seed),
            pools: Pools::new(config.pools.clone()),
            config,
            keys,
            renewals: Vec::new(),
            assignments: Assignments::new(shared),
            servers: Servers::default(),
            sessions: Slots::default(),
            queue: BTreeSet::new(),
            session_of: BTreeMap::new(),
            departed: VecDeque::new(),
            requests: Slots::default(),
            waiting: BTreeSet::new(),
            resolutions: BTreeMap::new(),
            next_number: 1,
            budget: hedge::Budget::default(),
            due: Time::default(),
            slow_due: Time::default(),
            was_late: true,
            counters: Counters::default(),
            replies: ReplyCounters::default(),
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A number that this worker has not used before, for queries and pings.
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Sends to the worker that owns the client on a server.
    fn send_to_owner(&mut self, server: ServerIndex, client: &ClientId, frame: Frame) {
        let worker = client.owner(self.servers.workers(server));
        self.outputs.push_back(Output::ToServer { server, worker, frame });
    }
}
