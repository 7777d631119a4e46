//! The router's shell: client connections, links to servers, bodies passed on.
//!
//! A router has as many workers as it is told; each is one thread that owns a machine, its clients
//! and its own links to every server's workers. They share the assignment table and nothing else.
//! Tasks read frames off streams and hand them to the machine; after each turn the machine's outputs
//! go into outboxes, which other tasks write to streams.

mod bodies;
mod clients;
mod servers;

use super::alarm::Alarm;
use super::backplane::{Dialling, Identity};
use super::beside::Beside;
use super::clock::Clock;
use super::endpoint::{self, Door};
use super::inspect::{self, Inspections, Inspectors};
use super::outbox::Outbox;
use super::steering::{EndpointSecrets, PortGroup, Steering, WorkerIds};
use super::tls::{self, Backplane};
use super::traffic::Traffic;
use super::workers::{self, StopOrder};
use crate::assign::ServerIndex;
use crate::config::{self, RouterConfig, TokenKeyBytes};
use crate::node::router::{Output, Router, Shared};
use crate::wire::backplane::{Holding, Message, Role};
use crate::wire::session::{ALPN, CloseCode, GoawayReason};
use crate::wire::token::{TOKEN_KEY_SIZE, TokenKeys};
use crate::wire::{ClientId, Name, Time};
use clients::SessionIo;
use quinn::crypto::rustls::QuicClientConfig;
use rand::Rng;
use servers::ServerIo;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How long clients have to hear that the router goes away.
const GOODBYE: Duration = Duration::from_millis(500);
/// How long a token is good for.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// Numbers of questions that the shell asks servers for the admin pages start here, far above the
/// machine's own.
const FIRST_INSPECTION: u64 = 1 << 60;

/// Why a router could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("cannot listen on {address} (UDP): {error}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A certificate or key is not usable.
    #[error("{0}")]
    Tls(String),
    /// The event loop could not be made.
    #[error("cannot start the event loop: {0}")]
    Runtime(io::Error),
}

impl From<tls::TlsError> for StartError {
    fn from(error: tls::TlsError) -> Self {
        Self::Tls(error.to_string())
    }
}

/// A router that is bound to its address.
pub(crate) struct RouterService {
    public: PortGroup,
    plan: Arc<Plan>,
    inspectors: Inspectors<Shell>,
    inspections: Vec<Inspections<Shell>>,
}

/// What every worker starts from.
struct Plan {
    config: RouterConfig,
    accepting: quinn::ServerConfig,
    secrets: EndpointSecrets,
    dialling: Arc<QuicClientConfig>,
    keys: TokenKeys,
    shared: Arc<Shared>,
    clock: Clock,
    incarnation: u64,
    inspectors: Inspectors<Shell>,
}

/// What one worker starts from.
struct Seat {
    worker: u8,
    public: UdpSocket,
    plan: Arc<Plan>,
    inspections: Inspections<Shell>,
}

/// What one router worker owns.
pub(crate) struct Shell {
    pub(super) clock: Clock,
    pub(super) identity: Identity,
    door: Door,
    node: RefCell<Router>,
    sessions: RefCell<Beside<SessionIo>>,
    servers: RefCell<Vec<Option<ServerIo>>>,
    /// Bodies that are being passed on, each with the way to stop it.
    bodies: RefCell<BTreeMap<u64, oneshot::Sender<()>>>,
    /// Rings whenever a reply may have made an early body welcome.
    replied: Notify,
    inspections: RefCell<BTreeMap<u64, oneshot::Sender<Option<Holding>>>>,
    next_inspection: Cell<u64>,
    /// What went over the clients' connections that are gone.
    gone: RefCell<Traffic>,
    /// Clients' streams that were filled in this turn.
    unflushed: RefCell<Vec<Outbox>>,
    #[cfg(test)]
    doomed: Cell<Option<ClientId>>,
    alarm: Alarm,
    shared: Arc<Shared>,
    inspectors: Inspectors<Shell>,
}

impl RouterService {
    /// Binds the addresses of a configuration and reads its certificates.
    pub(crate) fn bind(config: RouterConfig) -> Result<Self, StartError> {
        let tls = tls::public_server(&config.tls.cert, &config.tls.key, &[ALPN])?;
        let member = Backplane::load(&config.backplane, Role::Router, &config.name)?;
        let (address, workers) = (config.listen, config::worker_count(config.workers));
        let public = PortGroup::bind(address, workers, Steering::Public)
            .map_err(|error| StartError::Bind { address, error })?;
        let clock = Clock::new();
        let (inspectors, inspections) = inspect::channels(public.workers());
        let plan = Arc::new(Plan {
            accepting: endpoint::public_accepting(tls::quic_server(tls)),
            secrets: EndpointSecrets::random(Steering::Public),
            dialling: tls::quic_client(member.client_config()),
            keys: config.token_keys.as_ref().map_or_else(random_keys, TokenKeyBytes::token_keys),
            shared: Arc::default(),
            clock,
            incarnation: clock.now().as_micros(),
            inspectors: inspectors.clone(),
            config,
        });
        Ok(Self { public, plan, inspectors, inspections })
    }

    /// The way for other threads to look inside.
    pub(crate) fn inspectors(&self) -> Inspectors<Shell> {
        self.inspectors.clone()
    }

    /// The public address, with the port that the system chose if none was asked for.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.public.local_address()
    }

    /// Serves until `stop` is ready, then says goodbye.
    pub(crate) fn run(self, stop: impl Future<Output = ()>) -> Result<(), StartError> {
        let mut seats = Vec::new();
        for (worker, inspections) in (0..).zip(self.inspections) {
            let public = self.public.socket(worker).map_err(StartError::Runtime)?;
            seats.push(Seat { worker, public, plan: Arc::clone(&self.plan), inspections });
        }
        let ended = workers::run("router", seats, stop, async |seat, stop| {
            if let Err(error) = serve(seat, stop).await {
                tracing::error!(%error, "a worker of the router could not start");
            }
        });
        ended.map_err(StartError::Runtime)
    }
}

/// One worker, from its start to its goodbye.
async fn serve(seat: Seat, stop: StopOrder) -> io::Result<()> {
    let Seat { worker, public, plan, inspections } = seat;
    let ids = WorkerIds::new(worker, 0);
    let public = endpoint::worker_endpoint(public, ids, &plan.secrets, plan.accepting.clone())?;
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let local = plan.config.backplane_listen.unwrap_or(any);
    let dialling = Rc::new(Dialling::new(local, Arc::clone(&plan.dialling)));
    let shell = Rc::new(Shell::new(&plan, worker));
    tokio::task::spawn_local(inspections.serve(Rc::clone(&shell)));
    tokio::task::spawn_local(Rc::clone(&shell).keep_time());
    for seed in plan.config.seeds.iter().map(ToString::to_string) {
        let link = servers::keep_link(Rc::clone(&shell), Rc::clone(&dialling), seed);
        tokio::task::spawn_local(link);
    }
    tokio::select! {
        () = clients::accept(Rc::clone(&shell), public.clone()) => {}
        () = stop.given() => {}
    }
    shell.say_goodbye(&public).await;
    dialling.close();
    Ok(())
}

impl Shell {
    fn new(plan: &Plan, worker: u8) -> Self {
        let config = &plan.config;
        let mut seed = [0; 32];
        rand::rng().fill_bytes(&mut seed);
        let node = crate::node::router::RouterConfig {
            pool: config.pool.name.clone(),
            limits: crate::wire::session::Limits {
                slots: config.limits.slots,
                in_flight: config.limits.in_flight,
                max_item: config.limits.max_item,
            },
            request_timeout: config.request_timeout,
            token_lifetime: TOKEN_LIFETIME,
            seed,
            planted: crate::node::Planted::default(),
        };
        let workers = plan.inspectors.each().len();
        let clients = usize::try_from(config.limits.clients).unwrap_or(usize::MAX);
        Self {
            identity: Identity {
                role: Role::Router,
                name: config.name.clone(),
                incarnation: plan.incarnation,
                workers: workers as u64,
                worker: u64::from(worker),
            },
            door: Door::new(clients.div_ceil(workers)),
            node: RefCell::new(Router::new(node, plan.keys.clone(), Arc::clone(&plan.shared))),
            sessions: RefCell::default(),
            servers: RefCell::default(),
            bodies: RefCell::default(),
            replied: Notify::new(),
            inspections: RefCell::default(),
            next_inspection: Cell::new(FIRST_INSPECTION),
            gone: RefCell::default(),
            unflushed: RefCell::default(),
            #[cfg(test)]
            doomed: Cell::default(),
            alarm: Alarm::default(),
            clock: plan.clock,
            shared: Arc::clone(&plan.shared),
            inspectors: plan.inspectors.clone(),
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

    fn carry_out(&self, output: Output) {
        match output {
            Output::ToSession { session, frame } => {
                if let Some(io) = self.sessions.borrow().get(session.0)
                    && io.first.push(&frame)
                {
                    self.unflushed.borrow_mut().push(io.first.clone());
                }
            }
            Output::Welcomed { session } => {
                if let Some(io) = self.sessions.borrow().get(session.0) {
                    io.welcomed.notify_one();
                }
            }
            Output::ToLane { session, lane, frame } => {
                let sessions = self.sessions.borrow();
                if let Some(outbox) = sessions.get(session.0).and_then(|io| io.lane(lane))
                    && outbox.push(&frame)
                {
                    self.unflushed.borrow_mut().push(outbox.clone());
                }
            }
            Output::ToServer { server, worker, frame } => {
                let servers = self.servers.borrow();
                if let Some(outbox) = server_io(&servers, server).and_then(|io| io.outbox(worker)) {
                    outbox.push(&frame);
                }
            }
            Output::Admitted { client, admission } => self.tell_others(client, admission),
            Output::Relink { server } => {
                if let Some(io) = server_io(&self.servers.borrow(), server) {
                    io.close(CloseCode::Done, "it has another number of workers");
                }
            }
            Output::CloseSession { session, code, reason } => {
                if let Some(io) = self.sessions.borrow_mut().remove(session.0) {
                    tokio::task::spawn_local(io.close(code, reason));
                }
            }
            Output::AbandonBody { request_id } => {
                if let Some(stop) = self.bodies.borrow_mut().remove(&request_id) {
                    // Fails only if the body has just ended by itself.
                    let _ = stop.send(());
                }
            }
        }
    }

    /// Tells the other workers that a client has a session here now.
    fn tell_others(&self, client: ClientId, admission: u64) {
        let others = self.inspectors.each().iter().enumerate();
        for (_, other) in others.filter(|(at, _)| *at as u64 != self.identity.worker) {
            let told = other.tell(move |shell| {
                shell.with(|node, _| node.handle_admitted_elsewhere(client, admission));
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

    /// What went over all connections of clients, those that are gone included.
    pub(crate) fn traffic(&self) -> Traffic {
        let mut traffic = *self.gone.borrow();
        for io in self.sessions.borrow().values() {
            traffic.add_connection(&io.connection.stats());
        }
        traffic
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
        for io in self.sessions.borrow().values() {
            io.first.push(&goaway);
            io.first.close();
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

/// A key that nobody else has: clients that come back to another router start afresh.
fn random_keys() -> TokenKeys {
    let mut key = [0; TOKEN_KEY_SIZE];
    rand::rng().fill_bytes(&mut key);
    TokenKeys::new(&[key])
}

fn server_io(servers: &[Option<ServerIo>], server: ServerIndex) -> Option<&ServerIo> {
    servers.get(server.get())?.as_ref()
}
