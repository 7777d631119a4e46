//! The server's shell: links of routers and servers, the source, bodies.
//!
//! A server has as many workers as it is told; each is one thread that owns a machine and the links
//! of its own clients. See the router's shell for how inputs and outputs go.

mod bodies;
mod builder;
mod differences;
pub(crate) mod drain;
mod exchanges;
mod links;
mod outputs;
mod retrieval;

use super::alarm::Alarm;
use super::backplane::{Dialling, Identity};
use super::clock::Clock;
use super::endpoint::{self, Door};
use super::inspect::{self, Inspections, Inspectors};
use super::membership::{Mesh, Roster};
use super::outbox::Outbox;
use super::router::StartError;
use super::steering::{EndpointSecrets, PortGroup, Steering, WorkerIds};
use super::tls::{self, Backplane};
use super::workers::{self, StopOrder};
use crate::cluster::Tally;
use crate::config::{self, ServerConfig};
use crate::node::server::{Link, Server};
use crate::source::{BodyPieces, SharedSource, Unmirrored};
use crate::wire::backplane::Role;
use crate::wire::session::CloseCode;
use crate::wire::{Name, Time};
pub use builder::{BuildError, Builder, Server as EmbeddedServer};
pub use drain::Drainer;
use exchanges::ContentStream;
use links::RouterLink;
use quinn::crypto::rustls::QuicClientConfig;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, oneshot, watch};

/// Connections of other members that one worker holds at the most.
const MAX_LINKS: usize = 4096;
/// Entries of mirrors that go to new alternates in one turn: a millisecond's work at the most.
const REBUILD_BATCH: usize = 1024;
/// How long others have to hear that the server goes away.
const GOODBYE: Duration = Duration::from_millis(500);

/// A server that is bound to its address.
pub(crate) struct ServerService {
    port: PortGroup,
    plan: Arc<Plan>,
    inspectors: Inspectors<Shell>,
    inspections: Vec<Inspections<Shell>>,
}

/// What every worker starts from.
struct Plan {
    config: ServerConfig,
    admin: String,
    source: SharedSource,
    accepting: quinn::ServerConfig,
    secrets: EndpointSecrets,
    dialling: Arc<QuicClientConfig>,
    tally: Arc<Tally>,
    clock: Clock,
    incarnation: u64,
    workers: usize,
    inspectors: Inspectors<Shell>,
    roster: watch::Sender<Roster>,
}

/// What one worker starts from.
struct Seat {
    worker: u8,
    socket: UdpSocket,
    plan: Arc<Plan>,
    inspections: Inspections<Shell>,
}

/// What one server worker owns.
pub(crate) struct Shell {
    pub(super) identity: Identity,
    clock: Clock,
    door: Door,
    node: RefCell<Server>,
    source: SharedSource,
    /// Frames to each router's connection, and to the workers of each other server.
    outboxes: RefCell<BTreeMap<Link, Outbox>>,
    routers: RefCell<BTreeMap<Link, RouterLink>>,
    /// Connections for bodies, by the router's name, incarnation and worker.
    body_connections: RefCell<BTreeMap<(Name, u64, u64), quinn::Connection>>,
    body_connected: Notify,
    /// Items that are passed on as they are read, by the retrieval that opened them.
    opened: RefCell<BTreeMap<u64, Unmirrored>>,
    /// Exchanges with an HTTP origin that wait for an answer.
    exchanging: RefCell<BTreeMap<u64, exchanges::Underway>>,
    /// Content of answers that is passed on as it comes, by the exchange.
    answering: RefCell<BTreeMap<u64, Box<dyn BodyPieces>>>,
    /// Who waits for the content of a request.
    contents: RefCell<BTreeMap<(Link, u64), oneshot::Sender<ContentStream>>>,
    /// Answers with more bytes are not kept.
    max_item: u64,
    /// How long an answer may be given after its time when the origin fails, in seconds.
    stale_if_error_s: u64,
    /// Bounds the threads that make differences.
    makers: Semaphore,
    next_link: Cell<u64>,
    alarm: Alarm,
    /// The process's part in the gossip: worker 0's.
    mesh: OnceCell<Rc<Mesh>>,
}

impl ServerService {
    /// Binds the address of a configuration and reads its certificates. `admin` is where the admin
    /// pages are, for the status.
    pub(crate) fn bind(
        config: ServerConfig,
        source: SharedSource,
        admin: String,
    ) -> Result<Self, StartError> {
        let member = Backplane::load(&config.backplane, Role::Server, &config.name)?;
        let (address, workers) = (config.listen, config::worker_count(config.workers));
        let (private, steering) = (tls::private_key(&config.backplane.key)?, Steering::Backplane);
        let port = PortGroup::bind(address, workers, steering)
            .map_err(|error| StartError::Bind { address, error })?;
        let clock = Clock::new();
        let (inspectors, inspections) = inspect::channels(port.workers());
        let plan = Arc::new(Plan {
            admin,
            source,
            accepting: endpoint::backplane_accepting(tls::quic_server(member.server_config())),
            secrets: EndpointSecrets::of_member(private.secret_der(), &config.name, steering),
            dialling: tls::quic_client(member.client_config()),
            tally: Arc::default(),
            clock,
            incarnation: clock.now().as_micros(),
            workers: port.workers(),
            inspectors: inspectors.clone(),
            roster: watch::Sender::new(Roster::default()),
            config,
        });
        Ok(Self { port, plan, inspectors, inspections })
    }

    /// The way for other threads to look inside.
    pub(crate) fn inspectors(&self) -> Inspectors<Shell> {
        self.inspectors.clone()
    }

    /// The way to hand all clients over before the server stops.
    pub(crate) fn drainer(&self) -> Drainer {
        Drainer::new(self.inspectors(), self.plan.config.drain_timeout)
    }

    /// The backplane address, with the port that the system chose if none was asked for.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.port.local_address()
    }

    /// Serves until `stop` is ready.
    pub(crate) fn run(self, stop: impl Future<Output = ()>) -> Result<(), StartError> {
        let mut seats = Vec::new();
        for (worker, inspections) in (0..).zip(self.inspections) {
            let socket = self.port.socket(worker).map_err(StartError::Runtime)?;
            seats.push(Seat { worker, socket, plan: Arc::clone(&self.plan), inspections });
        }
        let ended = workers::run("server", seats, stop, async |seat, stop| {
            if let Err(error) = serve(seat, stop).await {
                tracing::error!(%error, "a worker of the server could not start");
            }
        });
        ended.map_err(StartError::Runtime)
    }
}

/// One worker, from its start to its goodbye.
async fn serve(seat: Seat, stop: StopOrder) -> io::Result<()> {
    let Seat { worker, socket, plan, inspections } = seat;
    let local = socket.local_addr()?;
    let ids = WorkerIds::new(worker, 0);
    let endpoint = endpoint::worker_endpoint(socket, ids, &plan.secrets, plan.accepting.clone())?;
    let dialling = Rc::new(Dialling::new(local, Arc::clone(&plan.dialling)));
    let shell = Rc::new(Shell::new(&plan, worker));
    tokio::task::spawn_local(inspections.serve(Rc::clone(&shell)));
    tokio::task::spawn_local(Rc::clone(&shell).keep_time());
    links::start(&shell, &plan, &dialling, local);
    tokio::select! {
        () = links::accept(Rc::clone(&shell), endpoint.clone()) => {}
        () = stop.given() => {}
    }
    if let Some(mesh) = shell.mesh.get() {
        mesh.leave().await;
    }
    endpoint.close(quinn::VarInt::from_u32(CloseCode::Shutdown as u32), b"shutting down");
    dialling.close();
    let _ = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await;
    Ok(())
}

impl Shell {
    fn new(plan: &Plan, worker: u8) -> Self {
        let config = &plan.config;
        let workers = plan.workers as u64;
        let memory = usize::try_from(config.memory).unwrap_or(usize::MAX);
        let node = crate::node::server::ServerConfig {
            name: config.name.clone(),
            worker: u64::from(worker),
            workers,
            zone: config.zone.clone(),
            threshold: config.threshold,
            capacity: config.capacity,
            slots: crate::wire::lane::MAX_SLOTS,
            passes_http: plan.source.is_http(),
            memory: memory / plan.workers,
            client_idle_timeout: config.client_idle_timeout,
            rebuild_batch: REBUILD_BATCH,
            incarnation: plan.incarnation,
            pid: u64::from(std::process::id()),
            admin: plan.admin.clone(),
            planted: crate::node::Planted::default(),
        };
        Self {
            identity: Identity {
                role: Role::Server,
                name: config.name.clone(),
                incarnation: plan.incarnation,
                workers,
                worker: u64::from(worker),
                versions: config.versions,
                pool: Some(config.pool.name.clone()),
            },
            clock: plan.clock,
            door: Door::new(MAX_LINKS),
            node: RefCell::new(Server::new(node, Arc::clone(&plan.tally))),
            source: Arc::clone(&plan.source),
            outboxes: RefCell::default(),
            routers: RefCell::default(),
            body_connections: RefCell::default(),
            body_connected: Notify::new(),
            opened: RefCell::default(),
            exchanging: RefCell::default(),
            answering: RefCell::default(),
            contents: RefCell::default(),
            max_item: config.max_item,
            stale_if_error_s: config.pool.source.stale_if_error().as_secs(),
            makers: Semaphore::new(differences::MAKERS),
            next_link: Cell::new(0),
            alarm: Alarm::default(),
            mesh: OnceCell::new(),
        }
    }

    /// Gives the machine an input, then carries out what it wants done.
    pub(crate) fn with<R>(self: &Rc<Self>, input: impl FnOnce(&mut Server, Time) -> R) -> R {
        let mut node = self.node.borrow_mut();
        let result = input(&mut node, self.clock.now());
        while let Some(output) = node.poll_output() {
            self.carry_out(output);
        }
        self.alarm.set(node.poll_timeout());
        result
    }

    /// Turns the machine's clock.
    async fn keep_time(self: Rc<Self>) {
        let due = || self.node.borrow().poll_timeout();
        let wake = || self.with(|node, now| node.handle_timeout(now));
        self.alarm.run(self.clock, due, wake).await;
    }
}
