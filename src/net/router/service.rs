//! A router from its configuration to its workers.

use super::http::{self, H3};
use super::listen::bind_public;
use super::{Shell, clients, keys, servers};
use crate::config::{self, AccessLogConfig, RouterConfig, TokenKeyBytes};
use crate::net::access_log::AccessLog;
use crate::net::backplane::Dialling;
use crate::net::clock::Clock;
use crate::net::endpoint::{self, Door};
use crate::net::inspect::{self, Inspections, Inspectors};
use crate::net::membership::{self, Mesh, Roster, Setup};
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
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Connections for gossip that a router takes: one or two of each member.
const MAX_GOSSIP_CONNECTIONS: usize = 4096;

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
    /// The address cannot be listened on for HTTP/2 and HTTP/1.1.
    #[error("cannot listen on {address} (TCP): {error}; tcp = false does without")]
    Listen {
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
    /// The access log cannot be written.
    #[error("cannot open the access log {}: {error}", path.display())]
    AccessLog {
        /// Where it was to be.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl From<tls::TlsError> for StartError {
    fn from(error: tls::TlsError) -> Self {
        Self::Tls(error.to_string())
    }
}

/// A router that is bound to its address.
pub(crate) struct RouterService {
    public: PortGroup,
    /// The same port of TCP.
    tcp: Option<TcpListener>,
    /// Where other members may dial it for gossip.
    backplane: Option<PortGroup>,
    plan: Arc<Plan>,
    inspectors: Inspectors<Shell>,
    inspections: Vec<Inspections<Shell>>,
}

/// What every worker starts from.
pub(super) struct Plan {
    pub(super) config: RouterConfig,
    accepting: quinn::ServerConfig,
    side_door: TlsAcceptor,
    secrets: EndpointSecrets,
    backplane_accepting: quinn::ServerConfig,
    backplane_secrets: EndpointSecrets,
    roster: watch::Sender<Roster>,
    dialling: Arc<QuicClientConfig>,
    pub(super) keys: TokenKeys,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    pub(super) incarnation: u64,
    pub(super) inspectors: Inspectors<Shell>,
    pub(super) access_log: Option<AccessLog>,
}

/// What one worker starts from.
struct Seat {
    worker: u8,
    public: UdpSocket,
    /// All workers accept from the same queue.
    tcp: Option<TcpListener>,
    /// Worker 0 alone has it.
    backplane: Option<UdpSocket>,
    plan: Arc<Plan>,
    inspections: Inspections<Shell>,
}

impl RouterService {
    /// Binds the addresses of a configuration, reads its certificates and opens its log.
    pub(crate) fn bind(config: RouterConfig) -> Result<Self, StartError> {
        let tls = tls::public_server(&config.tls.cert, &config.tls.key, &[ALPN, H3])?;
        let member = Backplane::load(&config.backplane, Role::Router, &config.name)?;
        let (address, workers) = (config.listen, config::worker_count(config.workers));
        let (private, steering) = (tls::private_key(&config.tls.key)?, Steering::Public);
        let (public, tcp) = bind_public(address, workers, config.tcp)?;
        let side_door = tls::public_server(&config.tls.cert, &config.tls.key, &http::ALPNS)?;
        let bind = |address| {
            PortGroup::bind(address, 1, Steering::Backplane)
                .map_err(|error| StartError::Bind { address, error })
        };
        let backplane = config.backplane_listen.map(bind).transpose()?;
        let clock = Clock::new();
        let (inspectors, inspections) = inspect::channels(public.workers());
        let plan = Arc::new(Plan {
            accepting: endpoint::public_accepting(tls::quic_server(tls)),
            side_door: TlsAcceptor::from(Arc::new(side_door)),
            secrets: EndpointSecrets::of_member(private.secret_der(), &config.name, steering),
            backplane_accepting: endpoint::backplane_accepting(tls::quic_server(
                member.server_config(),
            )),
            backplane_secrets: EndpointSecrets::of_member(
                tls::private_key(&config.backplane.key)?.secret_der(),
                &config.name,
                Steering::Backplane,
            ),
            roster: watch::Sender::new(Roster::default()),
            dialling: tls::quic_client(member.client_config()),
            keys: config.token_keys.as_ref().map_or_else(random_keys, TokenKeyBytes::token_keys),
            shared: Arc::default(),
            clock,
            incarnation: clock.now().as_micros(),
            inspectors: inspectors.clone(),
            access_log: config.access_log.as_ref().map(open_access_log).transpose()?,
            config,
        });
        Ok(Self { public, tcp, backplane, plan, inspectors, inspections })
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
            let backplane = self.backplane.as_ref().filter(|_| worker == 0);
            let backplane = backplane.map(|port| port.socket(0)).transpose();
            let backplane = backplane.map_err(StartError::Runtime)?;
            let plan = Arc::clone(&self.plan);
            let tcp = self.tcp.as_ref().map(TcpListener::try_clone).transpose();
            let tcp = tcp.map_err(StartError::Runtime)?;
            seats.push(Seat { worker, public, tcp, backplane, plan, inspections });
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
    let Seat { worker, public, tcp, backplane, plan, inspections } = seat;
    let ids = WorkerIds::new(worker, 0);
    let public = endpoint::worker_endpoint(public, ids, &plan.secrets, plan.accepting.clone())?;
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let tcp = tcp.map(tokio::net::TcpListener::from_std).transpose()?;
    let local = plan.config.backplane_listen.unwrap_or(any);
    let dialling = Rc::new(Dialling::new(local, Arc::clone(&plan.dialling)));
    let shell = Rc::new(Shell::new(&plan, worker));
    tokio::task::spawn_local(inspections.serve(Rc::clone(&shell)));
    tokio::task::spawn_local(Rc::clone(&shell).keep_time());
    let (linker, links_dialling) = (Rc::clone(&shell), Rc::clone(&dialling));
    let hold = async move |target: &_| servers::hold_links(&linker, &links_dialling, target).await;
    tokio::task::spawn_local(membership::keep_links(plan.roster.subscribe(), hold));
    if worker == 0 {
        join(&shell, &plan, &dialling, backplane)?;
    }
    let (file, known) = (plan.config.token_keys_file.clone(), plan.config.token_keys.clone());
    if let (0, Some(file), Some(known)) = (worker, file, known) {
        tokio::task::spawn_local(keys::follow(file, known, plan.inspectors.clone()));
    }
    let serving = async {
        // Meanwhile the endpoint already ends connections of a former run, by resets.
        shell.first_links(plan.roster.subscribe()).await;
        let side_door = async {
            match tcp {
                Some(tcp) => http::accept_tcp(Rc::clone(&shell), tcp, plan.side_door.clone()).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(clients::accept(Rc::clone(&shell), public.clone()), side_door);
    };
    tokio::select! {
        () = serving => {}
        () = stop.given() => {}
    }
    if let Some(mesh) = shell.mesh.get() {
        mesh.leave().await;
    }
    shell.say_goodbye(&public).await;
    dialling.close();
    Ok(())
}

/// Takes part in the gossip, and lets other members in if there is a port for them.
fn join(
    shell: &Rc<Shell>,
    plan: &Plan,
    dialling: &Rc<Dialling>,
    backplane: Option<UdpSocket>,
) -> io::Result<()> {
    let setup = Setup {
        identity: shell.identity.clone(),
        listen: backplane.as_ref().map(UdpSocket::local_addr).transpose()?,
        advertise: plan.config.advertise,
        seeds: plan.config.seeds.clone(),
    };
    let gone = membership::tell_workers(&plan.inspectors, |shell: &Rc<Shell>, name| {
        shell.with(|node, now| node.handle_server_gone(now, name));
    });
    let (clock, roster) = (plan.clock, plan.roster.clone());
    let mesh = Mesh::new(setup, clock, Rc::clone(dialling), roster, gone);
    if let Some(socket) = backplane {
        let secrets = plan.backplane_secrets.clone();
        let (ids, accepting) = (WorkerIds::new(0, 0), plan.backplane_accepting.clone());
        let endpoint = endpoint::worker_endpoint(socket, ids, &secrets, accepting)?;
        let door = Door::new(MAX_GOSSIP_CONNECTIONS);
        tokio::task::spawn_local(membership::accept(Rc::clone(&mesh), door, endpoint));
    }
    mesh.start();
    shell.join(mesh);
    Ok(())
}

fn open_access_log(config: &AccessLogConfig) -> Result<AccessLog, StartError> {
    let path = &config.path;
    AccessLog::open(path, config.format)
        .map_err(|error| StartError::AccessLog { path: path.clone(), error })
}

/// A key that nobody else has: clients that come back to another router start afresh.
fn random_keys() -> TokenKeys {
    let mut key = [0; TOKEN_KEY_SIZE];
    rand::rng().fill_bytes(&mut key);
    TokenKeys::new(&[key])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{bundled, load_router};
    use std::path::Path;

    /// A router that keeps its log at a path.
    fn bind(directory: &Path, log: &str) -> Result<RouterService, StartError> {
        bundled::write_to(directory).unwrap();
        let file = directory.join("router.toml");
        let text = "listen = '127.0.0.1:0'\nworkers = 2\nseeds = ['127.0.0.1:1']\n\
                    tls = { cert = 'server.pem', key = 'server.key' }\n\
                    access_log = { path = 'LOG' }\n[backplane]\nca = 'backplane-ca.pem'\n\
                    cert = 'backplane-router.pem'\nkey = 'backplane-router.key'\n";
        std::fs::write(&file, text.replace("LOG", log)).unwrap();
        RouterService::bind(load_router(&file).unwrap())
    }

    #[test]
    fn a_router_that_ends_leaves_nobody_with_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let service = bind(directory.path(), "access.log").unwrap();
        let log = service.plan.access_log.clone().unwrap();
        service.run(std::future::ready(())).unwrap();
        assert_eq!(log.handles(), 1, "whoever has it last writes it out");
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let name = "a".repeat(300);
        let error = bind(directory.path(), &name).err().unwrap().to_string();
        assert!(
            error.starts_with("cannot open the access log ") && error.contains(&name),
            "{error}"
        );
    }
}
