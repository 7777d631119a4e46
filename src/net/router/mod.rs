//! The router's shell: client connections, links to servers, bodies passed on.
//!
//! One thread owns all of it. Tasks read frames off streams and hand them to the machine; after
//! each input the machine's outputs go into outboxes, which other tasks write to streams.

mod bodies;
mod clients;
mod servers;

use super::alarm::Alarm;
use super::backplane::{self, Identity};
use super::clock::Clock;
use super::endpoint;
use super::inspect::{self, Inspections, Inspector};
use super::outbox::Outbox;
use super::tls::{self, Backplane};
use crate::config::{RouterConfig, TokenKeyBytes};
use crate::node::router::{LaneId, Output, Router, SessionId};
use crate::wire::backplane::{Holding, Message, Role};
use crate::wire::session::{ALPN, CloseCode, GoawayReason};
use crate::wire::token::{TOKEN_KEY_SIZE, TokenKeys};
use crate::wire::{ClientId, Name, Time};
use clients::SessionIo;
use rand::Rng;
use servers::ServerIo;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::task::LocalSet;

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
    runtime: tokio::runtime::Runtime,
    config: RouterConfig,
    public: quinn::Endpoint,
    backplane: quinn::Endpoint,
    dialling: servers::Dialling,
    inspector: Inspector<Shell>,
    inspections: Inspections<Shell>,
}

/// What one router worker owns.
pub(crate) struct Shell {
    pub(super) clock: Clock,
    pub(super) identity: Identity,
    pub(super) max_sessions: u64,
    node: RefCell<Router>,
    sessions: RefCell<BTreeMap<SessionId, SessionIo>>,
    servers: RefCell<BTreeMap<Name, ServerIo>>,
    /// Bodies that are being passed on, each with the way to stop it.
    bodies: RefCell<BTreeMap<u64, oneshot::Sender<()>>>,
    /// Rings whenever a reply may have made an early body welcome.
    replied: Notify,
    inspections: RefCell<BTreeMap<u64, oneshot::Sender<Option<Holding>>>>,
    next_session: Cell<u64>,
    next_inspection: Cell<u64>,
    alarm: Alarm,
}

impl RouterService {
    /// Binds the addresses of a configuration and reads its certificates.
    pub(crate) fn bind(config: RouterConfig) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let inside = runtime.enter();
        let tls = tls::public_server(&config.tls.cert, &config.tls.key, &[ALPN])?;
        let mut accepting = quinn::ServerConfig::with_crypto(tls::quic_server(tls));
        accepting.transport_config(endpoint::client_facing_transport());
        let bind = |address, accepting| {
            endpoint::bind(address, accepting).map_err(|error| StartError::Bind { address, error })
        };
        let public = bind(config.listen, Some(accepting))?;
        let member = Backplane::load(&config.backplane, Role::Router, &config.name)?;
        let dialling = servers::Dialling::new(tls::quic_client(member.client_config()));
        let any = config.backplane_listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        let backplane = bind(any, None)?;
        drop(inside);
        let (inspector, inspections) = inspect::channel();
        Ok(Self { runtime, config, public, backplane, dialling, inspector, inspections })
    }

    /// The way for other threads to look inside.
    pub(crate) fn inspector(&self) -> Inspector<Shell> {
        self.inspector.clone()
    }

    /// The public address, with the port that the system chose if none was asked for.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// Serves until `stop` is ready, then says goodbye.
    pub(crate) fn run(self, stop: impl Future<Output = ()>) {
        let Self { runtime, config, public, backplane, dialling, inspections, .. } = self;
        let local = LocalSet::new();
        runtime.block_on(local.run_until(async move {
            let shell = Rc::new(Shell::new(&config));
            tokio::task::spawn_local(inspections.serve(Rc::clone(&shell)));
            tokio::task::spawn_local(Rc::clone(&shell).keep_time());
            for seed in config.seeds.iter().map(ToString::to_string) {
                let link = servers::keep_link(
                    Rc::clone(&shell),
                    backplane.clone(),
                    dialling.clone(),
                    seed,
                );
                tokio::task::spawn_local(link);
            }
            tokio::select! {
                () = clients::accept(Rc::clone(&shell), public.clone()) => {}
                () = stop => {}
            }
            shell.say_goodbye(&public).await;
        }));
        // Tasks that still read files or sleep are not waited for.
        runtime.shutdown_background();
    }
}

impl Shell {
    fn new(config: &RouterConfig) -> Self {
        let clock = Clock::new();
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
        let keys = config.token_keys.as_ref().map_or_else(
            || {
                let mut key = [0; TOKEN_KEY_SIZE];
                rand::rng().fill_bytes(&mut key);
                TokenKeys::new(&[key])
            },
            TokenKeyBytes::token_keys,
        );
        let incarnation = clock.now().as_micros();
        Self {
            identity: Identity { role: Role::Router, name: config.name.clone(), incarnation },
            max_sessions: config.limits.clients,
            node: RefCell::new(Router::new(node, keys)),
            sessions: RefCell::default(),
            servers: RefCell::default(),
            bodies: RefCell::default(),
            replied: Notify::new(),
            inspections: RefCell::default(),
            next_session: Cell::new(0),
            next_inspection: Cell::new(FIRST_INSPECTION),
            alarm: Alarm::default(),
            clock,
        }
    }

    /// Gives the machine an input, then carries out what it wants done.
    pub(crate) fn with<R>(&self, input: impl FnOnce(&mut Router, Time) -> R) -> R {
        let mut node = self.node.borrow_mut();
        let result = input(&mut node, self.clock.now());
        while let Some(output) = node.poll_output() {
            self.carry_out(output);
        }
        self.alarm.set(node.poll_timeout());
        result
    }

    fn carry_out(&self, output: Output) {
        match output {
            Output::ToSession { session, frame } => {
                if let Some(io) = self.sessions.borrow().get(&session) {
                    io.first.push(frame.bytes().clone());
                }
            }
            Output::Welcomed { session } => {
                if let Some(io) = self.sessions.borrow().get(&session) {
                    io.welcomed.notify_one();
                }
            }
            Output::ToLane { session, lane, frame } => {
                if let Some(outbox) = self.lane(session, lane) {
                    outbox.push(frame.bytes().clone());
                }
            }
            Output::ToServer { name, message } => {
                if let Some(io) = self.servers.borrow().get(&name) {
                    io.outbox.push(message.encode().bytes().clone());
                }
            }
            Output::CloseSession { session, code, reason } => {
                if let Some(io) = self.sessions.borrow_mut().remove(&session) {
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

    /// Where a server is linked, as text; empty while it is not.
    pub(crate) fn server_address(&self, name: &Name) -> String {
        let servers = self.servers.borrow();
        servers.get(name).map_or_else(String::new, |io| io.connection.remote_address().to_string())
    }

    fn lane(&self, session: SessionId, lane: LaneId) -> Option<Outbox> {
        self.sessions.borrow().get(&session)?.lanes.get(&lane).cloned()
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
        if let Some(io) = self.servers.borrow().get(server) {
            self.inspections.borrow_mut().insert(query, answer);
            io.outbox.push(Message::WhoHolds { query, client }.encode().bytes().clone());
        }
    }

    async fn say_goodbye(&self, public: &quinn::Endpoint) {
        let goaway = GoawayReason::Shutdown.encode();
        for io in self.sessions.borrow().values() {
            io.first.push(goaway.bytes().clone());
            io.first.close();
        }
        // A moment for the frame to leave before the close overtakes it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        public.close(quinn::VarInt::from_u32(CloseCode::Shutdown as u32), b"shutting down");
        for io in self.servers.borrow().values() {
            backplane::close(&io.connection, CloseCode::Shutdown, "shutting down");
        }
        let _ = tokio::time::timeout(GOODBYE, public.wait_idle()).await;
    }
}
