//! The router's shell: client connections, links to servers, bodies passed on.
//!
//! A router has as many workers as it is told; each is one thread that owns a machine, its clients
//! and its own links to every server's workers. They share the assignment table and nothing else.
//! Tasks read frames off streams and hand them to the machine; after each turn the machine's
//! outputs go into outboxes, which other tasks write to streams.

mod bodies;
mod clients;
mod http;
mod keys;
mod listen;
mod outputs;
mod pools;
mod servers;
mod service;
mod status_counts;

use super::access_log::AccessLog;
use super::alarm::Alarm;
use super::backplane::Identity;
use super::beside::Beside;
use super::clock::Clock;
use super::endpoint::Door;
use super::inspect::Inspectors;
use super::membership::Mesh;
use super::outbox::Outbox;
use super::traffic::Traffic;
use crate::assign::ServerIndex;
use crate::node::router::{Router, Shared};
use crate::wire::backplane::{Holding, Message, Role};
use crate::wire::session::{CloseCode, GoawayReason};
use crate::wire::{ClientId, Name, Time};
use bodies::Passing;
use clients::SessionIo;
use pools::Pools;
use rand::Rng;
use servers::ServerIo;
use service::Plan;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

pub(crate) use service::RouterService;
pub use service::StartError;
pub(crate) use status_counts::StatusCounts;

/// How long clients have to hear that the router goes away.
const GOODBYE: Duration = Duration::from_millis(500);
/// How long a token is good for.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// Numbers of questions that the shell asks servers for the admin pages start here, far above the
/// machine's own.
const FIRST_INSPECTION: u64 = 1 << 60;

/// What one router worker owns.
pub(crate) struct Shell {
    pub(super) clock: Clock,
    pub(super) identity: Identity,
    door: Door,
    node: RefCell<Router>,
    pools: Pools,
    sessions: RefCell<Beside<SessionIo>>,
    servers: RefCell<Vec<Option<ServerIo>>>,
    /// Bodies that are being passed on.
    bodies: RefCell<BTreeMap<u64, Passing>>,
    /// Rings whenever a server was linked.
    linked: Notify,
    /// Rings whenever a reply may have made an early body welcome.
    replied: Notify,
    inspections: RefCell<BTreeMap<u64, oneshot::Sender<Option<Holding>>>>,
    next_inspection: Cell<u64>,
    /// What went over the clients' connections that are gone.
    gone: RefCell<Traffic>,
    /// Clients' streams that were filled in this turn.
    unflushed: RefCell<Vec<Outbox>>,
    /// Rings when the router goes away.
    leaving: Notify,
    /// HTTP clients are told who they are by a cookie.
    cookies: bool,
    #[cfg(test)]
    doomed: Cell<Option<ClientId>>,
    alarm: Alarm,
    shared: Arc<Shared>,
    inspectors: Inspectors<Shell>,
    pub(super) access_log: Option<AccessLog>,
    /// Answers of the HTTP front, for it to count.
    pub(super) http_answers: StatusCounts,
    /// The process's part in the gossip: worker 0's.
    mesh: OnceCell<Rc<Mesh>>,
}

impl Shell {
    fn new(plan: &Plan, worker: u8) -> Self {
        let config = &plan.config;
        let mut seed = [0; 32];
        rand::rng().fill_bytes(&mut seed);
        let node = pools::machine_config(config, seed);
        let workers = plan.inspectors.each().len();
        let clients = usize::try_from(config.limits.clients).unwrap_or(usize::MAX);
        Self {
            identity: Identity {
                role: Role::Router,
                name: config.name.clone(),
                incarnation: plan.incarnation,
                workers: workers as u64,
                worker: u64::from(worker),
                versions: config.versions,
                pool: None,
            },
            door: Door::new(clients.div_ceil(workers)),
            node: RefCell::new(Router::new(node, plan.keys.clone(), Arc::clone(&plan.shared))),
            pools: Pools::new(config),
            sessions: RefCell::default(),
            servers: RefCell::default(),
            bodies: RefCell::default(),
            linked: Notify::new(),
            replied: Notify::new(),
            inspections: RefCell::default(),
            next_inspection: Cell::new(FIRST_INSPECTION),
            gone: RefCell::default(),
            unflushed: RefCell::default(),
            leaving: Notify::new(),
            cookies: config.cookies,
            #[cfg(test)]
            doomed: Cell::default(),
            alarm: Alarm::default(),
            clock: plan.clock,
            shared: Arc::clone(&plan.shared),
            inspectors: plan.inspectors.clone(),
            access_log: plan.access_log.clone(),
            http_answers: StatusCounts::default(),
            mesh: OnceCell::new(),
        }
    }

    /// Gives the machine an input, then carries out what it wants done.
    pub(crate) fn with<R>(&self, input: impl FnOnce(&mut Router, Time) -> R) -> R {
        // The table is read for every request: it is pinned once for all of this turn.
        let _pinned = self.shared.pin();
        let mut node = self.node.borrow_mut();
        let result = input(&mut node, self.clock.now());
        while let Some(output) = node.poll_output() {
            self.carry_out(output);
        }
        self.unflushed.borrow_mut().drain(..).for_each(|outbox| outbox.flush());
        self.alarm.set(node.poll_timeout());
        result
    }

    /// Tells the other workers that a client has a session here now.
    fn tell_others(&self, client: ClientId, admission: u64) {
        let others = self.inspectors.each().iter().enumerate();
        for (_, other) in others.filter(|(at, _)| *at as u64 != self.identity.worker) {
            let told = other.tell(move |shell| {
                shell.with(|node, now| node.handle_admitted_elsewhere(now, client, admission));
            });
            if !told {
                tracing::warn!(%client, "a worker is too busy to hear of a client's new session");
            }
        }
    }

    /// How many clients are connected.
    #[cfg(test)]
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.borrow().values().count()
    }

    /// Of each linked server, how many workers it has.
    #[cfg(test)]
    pub(crate) fn links(&self) -> Vec<usize> {
        self.servers.borrow().iter().flatten().map(|io| io.workers() as usize).collect()
    }

    /// Has the next request of a client panic, to show what that costs.
    #[cfg(test)]
    pub(crate) fn doom(&self, client: ClientId) {
        self.doomed.set(Some(client));
    }

    #[cfg(test)]
    fn is_doomed(&self, session: crate::node::router::SessionId) -> bool {
        let client = self.doomed.get();
        client
            .is_some_and(|client| self.with(|node, _| node.session_client(session)) == Some(client))
    }

    fn join(&self, mesh: Rc<Mesh>) {
        assert!(self.mesh.set(mesh).is_ok(), "a process takes part in the gossip once");
    }

    /// What worker 0 knows of the members.
    pub(crate) fn mesh(&self) -> Option<&Mesh> {
        self.mesh.get().map(Rc::as_ref)
    }

    /// Handshakes of clients that are under way.
    pub(crate) fn handshakes(&self) -> usize {
        self.door.handshakes()
    }

    /// What went over all connections of clients, those that are gone included.
    pub(crate) fn traffic(&self) -> Traffic {
        let mut traffic = *self.gone.borrow();
        for io in self.sessions.borrow().values() {
            if let Some(connection) = io.connection() {
                traffic.add_connection(&connection.stats());
            }
        }
        traffic
    }

    /// How HTTP requests were answered.
    pub(crate) fn http_answers(&self) -> StatusCounts {
        self.http_answers.clone()
    }

    /// The log of these, if there is one. All workers have the same.
    pub(crate) fn access_log(&self) -> Option<&AccessLog> {
        self.access_log.as_ref()
    }

    /// Where a server is linked, as text; empty while it is not.
    pub(crate) fn server_address(&self, name: &Name) -> String {
        let servers = self.servers.borrow();
        let linked = servers.iter().flatten().find(|io| io.name == *name);
        linked.map_or_else(String::new, ServerIo::address)
    }

    /// Turns the machine's clock.
    async fn keep_time(self: Rc<Self>) {
        let due = || self.node.borrow().poll_timeout();
        let wake = || self.with(|node, now| node.handle_timeout(now));
        self.alarm.run(self.clock, due, wake).await;
    }

    /// Asks a server which mirror it holds of a client. The answer is dropped if none comes.
    pub(crate) fn ask_holding(
        &self,
        server: &Name,
        client: ClientId,
        answer: oneshot::Sender<Option<Holding>>,
    ) {
        let query = self.next_inspection.get();
        self.next_inspection.set(query + 1);
        let servers = self.servers.borrow();
        if let Some(io) = servers.iter().flatten().find(|io| io.name == *server)
            && let Some(outbox) = io.outbox(client.owner(io.workers()))
        {
            self.inspections.borrow_mut().insert(query, answer);
            outbox.fill(|out| Message::WhoHolds { query, client }.gather(out));
        }
    }

    async fn say_goodbye(&self, public: &quinn::Endpoint) {
        let goaway = GoawayReason::Shutdown.encode();
        self.leaving.notify_waiters();
        for io in self.sessions.borrow().values() {
            io.say_goodbye(&goaway);
        }
        // A moment for the frame to leave before the close overtakes it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        public.close(quinn::VarInt::from_u32(CloseCode::Shutdown as u32), b"shutting down");
        for io in self.servers.borrow().iter().flatten() {
            io.close(CloseCode::Shutdown, "shutting down");
        }
        let _ = tokio::time::timeout(GOODBYE, public.wait_idle()).await;
    }
}

fn server_io(servers: &[Option<ServerIo>], server: ServerIndex) -> Option<&ServerIo> {
    servers.get(server.get())?.as_ref()
}
