//! The server's shell: links of routers and servers, the source, bodies.
//!
//! One thread owns all of it; see the router's shell for how inputs and outputs go.

mod bodies;
mod builder;
mod links;

use super::alarm::Alarm;
use super::backplane::Identity;
use super::clock::Clock;
use super::endpoint;
use super::inspect::{self, Inspections, Inspector};
use super::outbox::Outbox;
use super::router::StartError;
use super::tls::{self, Backplane};
use crate::config::ServerConfig;
use crate::node::server::{Link, Output, Retrieved, Server};
use crate::source::{self, SharedSource, SourceError, Unmirrored};
use crate::wire::backplane::{Message, Role};
use crate::wire::session::CloseCode;
use crate::wire::{Name, Time};
pub use builder::{BuildError, Builder, Server as EmbeddedServer};
use links::RouterLink;
use quinn::crypto::rustls::QuicClientConfig;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::LocalSet;

/// A server that is bound to its address.
pub(crate) struct ServerService {
    runtime: tokio::runtime::Runtime,
    config: ServerConfig,
    admin: String,
    source: SharedSource,
    endpoint: quinn::Endpoint,
    dialling: Arc<QuicClientConfig>,
    inspector: Inspector<Shell>,
    inspections: Inspections<Shell>,
}

/// What one server worker owns.
pub(crate) struct Shell {
    pub(super) identity: Identity,
    clock: Clock,
    node: RefCell<Server>,
    source: SharedSource,
    /// Frames to each router's connection, and to each other server.
    outboxes: RefCell<BTreeMap<Link, Outbox>>,
    routers: RefCell<BTreeMap<Link, RouterLink>>,
    /// Connections for bodies, by the router's name, incarnation and worker.
    body_connections: RefCell<BTreeMap<(Name, u64, u64), quinn::Connection>>,
    body_connected: Notify,
    /// Items that are passed on as they are read, by the retrieval that opened them.
    opened: RefCell<BTreeMap<u64, Unmirrored>>,
    next_link: Cell<u64>,
    alarm: Alarm,
}

impl ServerService {
    /// Binds the address of a configuration and reads its certificates. `admin` is where the admin
    /// pages are, for the status.
    pub(crate) fn bind(
        config: ServerConfig,
        source: SharedSource,
        admin: String,
    ) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let inside = runtime.enter();
        let member = Backplane::load(&config.backplane, Role::Server, &config.name)?;
        let accepting = tls::quic_server(member.server_config());
        let mut accepting = quinn::ServerConfig::with_crypto(accepting);
        accepting.transport_config(endpoint::backplane_transport());
        let address = config.listen;
        let endpoint = endpoint::bind(address, Some(accepting))
            .map_err(|error| StartError::Bind { address, error })?;
        let dialling = tls::quic_client(member.client_config());
        drop(inside);
        let (inspector, inspections) = inspect::channel();
        Ok(Self { runtime, config, admin, source, endpoint, dialling, inspector, inspections })
    }

    /// The way for other threads to look inside.
    pub(crate) fn inspector(&self) -> Inspector<Shell> {
        self.inspector.clone()
    }

    /// The backplane address, with the port that the system chose if none was asked for.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Serves until `stop` is ready.
    pub(crate) fn run(self, stop: impl Future<Output = ()>) {
        let Self { runtime, config, admin, source, endpoint, dialling, inspections, .. } = self;
        let local = LocalSet::new();
        runtime.block_on(local.run_until(async move {
            let shell = Rc::new(Shell::new(&config, source, admin));
            tokio::task::spawn_local(inspections.serve(Rc::clone(&shell)));
            tokio::task::spawn_local(Rc::clone(&shell).keep_time());
            let mut peer_config = quinn::ClientConfig::new(dialling);
            peer_config.transport_config(endpoint::backplane_transport());
            for seed in config.seeds.iter().map(ToString::to_string) {
                let (endpoint, dialling) = (endpoint.clone(), peer_config.clone());
                let link = links::keep_link(Rc::clone(&shell), endpoint, dialling, seed);
                tokio::task::spawn_local(link);
            }
            tokio::select! {
                () = links::accept(Rc::clone(&shell), endpoint.clone()) => {}
                () = stop => {}
            }
            endpoint.close(quinn::VarInt::from_u32(CloseCode::Shutdown as u32), b"shutting down");
            let goodbye = std::time::Duration::from_millis(500);
            let _ = tokio::time::timeout(goodbye, endpoint.wait_idle()).await;
        }));
        // Tasks that still read files or sleep are not waited for.
        runtime.shutdown_background();
    }
}

impl Shell {
    fn new(config: &ServerConfig, source: SharedSource, admin: String) -> Self {
        let clock = Clock::new();
        let incarnation = clock.now().as_micros();
        let node = Server::new(crate::node::server::ServerConfig {
            name: config.name.clone(),
            zone: config.zone.clone(),
            threshold: config.threshold,
            capacity: config.capacity,
            slots: crate::wire::lane::MAX_SLOTS,
            memory: usize::try_from(config.memory).unwrap_or(usize::MAX),
            incarnation,
            pid: u64::from(std::process::id()),
            admin,
            planted: crate::node::Planted::default(),
        });
        Self {
            identity: Identity { role: Role::Server, name: config.name.clone(), incarnation },
            clock,
            node: RefCell::new(node),
            source,
            outboxes: RefCell::default(),
            routers: RefCell::default(),
            body_connections: RefCell::default(),
            body_connected: Notify::new(),
            opened: RefCell::default(),
            next_link: Cell::new(0),
            alarm: Alarm::default(),
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

    fn carry_out(self: &Rc<Self>, output: Output) {
        match output {
            Output::Send { to, message } => self.send(&to, &message),
            Output::SendBody { to, request_id, version } => {
                tokio::task::spawn_local(bodies::send(Rc::clone(self), to, request_id, version));
            }
            Output::SendUnmirrored { to, request_id, key, ticket } => {
                if let Some(item) = self.opened.borrow_mut().remove(&ticket) {
                    let shell = Rc::clone(self);
                    tokio::task::spawn_local(bodies::send_unmirrored(
                        shell, to, request_id, key, item,
                    ));
                }
            }
            Output::Retrieve { ticket, key, known } => {
                let shell = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    let answer = shell.source.retrieve(&key, known.as_deref()).await;
                    let retrieved = shell.translate(ticket, answer);
                    shell.with(|node, now| node.handle_retrieved(now, ticket, retrieved));
                    // Left over if the machine had no more use for it.
                    shell.opened.borrow_mut().remove(&ticket);
                });
            }
        }
    }

    /// Sends a message if the link is there.
    fn send(&self, to: &Link, message: &Message) {
        if let Some(outbox) = self.outboxes.borrow().get(to) {
            outbox.push(message.encode().bytes().clone());
        }
    }

    /// The source's answer as the machine takes it; what stays open is kept here.
    fn translate(&self, ticket: u64, answer: Result<source::Retrieved, SourceError>) -> Retrieved {
        match answer {
            Ok(source::Retrieved::Unchanged) => Retrieved::Unchanged,
            Ok(source::Retrieved::Version(version)) => Retrieved::Version(Arc::new(version)),
            Ok(source::Retrieved::Unmirrored(item)) => {
                let (headers, length) = (item.headers.clone(), item.length);
                self.opened.borrow_mut().insert(ticket, item);
                Retrieved::Unmirrored { headers, length }
            }
            Ok(source::Retrieved::NotFound) => Retrieved::NotFound,
            Err(SourceError::Refused(text)) => Retrieved::Refused(text),
            Err(SourceError::Failed(text)) => Retrieved::Failed(text),
        }
    }

    /// Turns the machine's clock.
    async fn keep_time(self: Rc<Self>) {
        let due = || self.node.borrow().poll_timeout();
        let wake = || self.with(|node, now| node.handle_timeout(now));
        self.alarm.run(self.clock, due, wake).await;
    }
}
