//! A router from its configuration to its workers.

use super::{Shell, clients, keys, servers};
use crate::config::{self, RouterConfig, TokenKeyBytes};
use crate::net::backplane::Dialling;
use crate::net::clock::Clock;
use crate::net::endpoint;
use crate::net::inspect::{self, Inspections, Inspectors};
use crate::net::steering::{EndpointSecrets, PortGroup, Steering, WorkerIds};
use crate::net::tls::{self, Backplane};
use crate::net::workers::{self, StopOrder};
use crate::node::router::Shared;
use crate::wire::backplane::Role;
use crate::wire::session::ALPN;
use crate::wire::token::{TOKEN_KEY_SIZE, TokenKeys};
use quinn::crypto::rustls::QuicClientConfig;
use rand::Rng;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;

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
pub(super) struct Plan {
    pub(super) config: RouterConfig,
    accepting: quinn::ServerConfig,
    secrets: EndpointSecrets,
    dialling: Arc<QuicClientConfig>,
    pub(super) keys: TokenKeys,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    pub(super) incarnation: u64,
    pub(super) inspectors: Inspectors<Shell>,
}

/// What one worker starts from.
struct Seat {
    worker: u8,
    public: UdpSocket,
    plan: Arc<Plan>,
    inspections: Inspections<Shell>,
}

impl RouterService {
    /// Binds the addresses of a configuration and reads its certificates.
    pub(crate) fn bind(config: RouterConfig) -> Result<Self, StartError> {
        let tls = tls::public_server(&config.tls.cert, &config.tls.key, &[ALPN])?;
        let member = Backplane::load(&config.backplane, Role::Router, &config.name)?;
        let (address, workers) = (config.listen, config::worker_count(config.workers));
        let (private, steering) = (tls::private_key(&config.tls.key)?, Steering::Public);
        let public = PortGroup::bind(address, workers, steering)
            .map_err(|error| StartError::Bind { address, error })?;
        let clock = Clock::new();
        let (inspectors, inspections) = inspect::channels(public.workers());
        let plan = Arc::new(Plan {
            accepting: endpoint::public_accepting(tls::quic_server(tls)),
            secrets: EndpointSecrets::of_member(private.secret_der(), &config.name, steering),
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
    let (file, known) = (plan.config.token_keys_file.clone(), plan.config.token_keys.clone());
    if let (0, Some(file), Some(known)) = (worker, file, known) {
        tokio::task::spawn_local(keys::follow(file, known, plan.inspectors.clone()));
    }
    let serving = async {
        // Meanwhile the endpoint already ends connections of a former run, by resets.
        shell.first_links(plan.config.seeds.len()).await;
        clients::accept(Rc::clone(&shell), public.clone()).await;
    };
    tokio::select! {
        () = serving => {}
        () = stop.given() => {}
    }
    shell.say_goodbye(&public).await;
    dialling.close();
    Ok(())
}

/// A key that nobody else has: clients that come back to another router start afresh.
fn random_keys() -> TokenKeys {
    let mut key = [0; TOKEN_KEY_SIZE];
    rand::rng().fill_bytes(&mut key);
    TokenKeys::new(&[key])
}
