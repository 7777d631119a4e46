//! How two members of the backplane meet: each says who it is, and its certificate must agree.

use super::endpoint::{self, DiallingEndpoints};
use super::frames::{FrameReader, ReadFrameError};
use super::steering::initial_id_of;
use super::tls;
use crate::wire::backplane::{GOSSIP_SINCE, POOL_SINCE, Purpose, Role, ServerHello};
use crate::wire::frame::MAX_BACKPLANE_PAYLOAD;
use crate::wire::session::{CloseCode, OLDEST_VERSION, Versions};
use crate::wire::{DecodeError, FrameType, Name};
use quinn::TransportConfig;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::rustls::pki_types::CertificateDer;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// How long a peer may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);

/// How a dialled link ended.
pub(crate) enum Held {
    /// The connection is gone.
    Broke,
    /// There is no use in dialling again.
    NotWanted,
    /// The same member is linked by another address.
    Elsewhere,
    /// It is a server of a pool that is not ours; it may be started anew for another one.
    OfAnotherPool,
}

/// Who this worker is on the backplane.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) role: Role,
    pub(crate) name: Name,
    pub(crate) incarnation: u64,
    pub(crate) workers: u64,
    pub(crate) worker: u64,
    pub(crate) versions: Versions,
    /// The pool that a server is of.
    pub(crate) pool: Option<Name>,
}

/// A connection whose other end has said who it is.
pub(crate) struct Met {
    pub(crate) connection: quinn::Connection,
    pub(crate) peer: ServerHello,
    /// The newest version that both ends speak.
    pub(crate) version: u64,
    pub(crate) send: quinn::SendStream,
    pub(crate) frames: FrameReader,
}

/// The streams of a connection that is being met, and what the peer said.
type Streams = (quinn::SendStream, FrameReader, ServerHello);

/// Why a peer was not met.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeetError {
    #[error("cannot connect: {0}")]
    Connect(#[from] quinn::ConnectError),
    #[error("the connection failed: {0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error(transparent)]
    Read(#[from] ReadFrameError),
    #[error("the peer's hello is malformed: {0}")]
    Decode(#[from] DecodeError),
    #[error("writing failed: {0}")]
    Write(#[from] quinn::WriteError),
    #[error("the peer did not say who it is within {HELLO_TIMEOUT:?}")]
    Silent,
    #[error("the peer sent no hello")]
    NoHello,
    #[error(
        "the peer speaks versions {oldest} to {newest}, we speak {} to {}", ours.oldest, ours.newest
    )]
    Version { oldest: u64, newest: u64, ours: Versions },
    #[error("worker {worker} was dialled, and worker {found} of {workers} answered")]
    WrongWorker { worker: u64, found: u64, workers: u64 },
    #[error("the member has more workers than can be dialled: {0}")]
    TooManyWorkers(u64),
    #[error("cannot open a socket to dial from: {0}")]
    Socket(std::io::Error),
    #[error("the peer calls itself {role} {name}, and its certificate does not vouch for that")]
    NotVouchedFor { role: &'static str, name: Name },
    #[error("version {0} is spoken with it, and there is gossip since version {GOSSIP_SINCE}")]
    NoGossip(u64),
    #[error("{expected} was said to be there, and {role} {name} is")]
    Another { expected: Name, role: &'static str, name: Name },
}

impl Identity {
    fn hello(&self, purpose: Purpose) -> ServerHello {
        ServerHello {
            oldest: self.versions.oldest,
            newest: self.versions.newest,
            role: self.role,
            name: self.name.clone(),
            purpose,
            incarnation: self.incarnation,
            workers: self.workers,
            worker: self.worker,
            pool: None,
        }
    }

    /// Connects to a member and exchanges hellos.
    pub(crate) async fn dial(
        &self,
        endpoint: &quinn::Endpoint,
        config: quinn::ClientConfig,
        address: SocketAddr,
        purpose: Purpose,
    ) -> Result<Met, MeetError> {
        let connecting = endpoint.connect_with(config, address, dial_name(purpose))?;
        let connection = connecting.await?;
        let meeting = async {
            let (mut send, receive) = connection.open_bi().await?;
            let hello = self.hello(purpose).encode(FrameType::ServerHello);
            send.write_all(hello.bytes()).await?;
            let mut frames = FrameReader::new(receive, MAX_BACKPLANE_PAYLOAD);
            let peer = read_hello(&mut frames, FrameType::ServerWelcome).await?;
            Ok((send, frames, peer))
        };
        self.meet(connection.clone(), meeting).await
    }

    /// Connects to worker 0 of a member, whatever its role.
    pub(crate) async fn dial_any(
        &self,
        dialling: &Dialling,
        address: SocketAddr,
        purpose: Purpose,
    ) -> Result<Met, MeetError> {
        let (endpoint, config) = dialling.to_worker(0, purpose)?;
        self.dial(&endpoint, config, address, purpose).await
    }

    /// Connects to every worker of a member, in the order of their numbers.
    pub(crate) async fn dial_all(
        &self,
        dialling: &Dialling,
        address: SocketAddr,
        purpose: Purpose,
    ) -> Result<Vec<Met>, MeetError> {
        let mut all: Vec<Met> = Vec::new();
        loop {
            let worker = all.len() as u64;
            let (endpoint, config) = dialling.to_worker(worker, purpose)?;
            let met = self.dial(&endpoint, config, address, purpose).await?;
            // A member that starts anew meanwhile may have another number of workers.
            let first = all.first().map_or(&met.peer, |first| &first.peer);
            let (run, workers) = (first.incarnation, first.workers);
            if (met.peer.worker, met.peer.incarnation, met.peer.workers) != (worker, run, workers) {
                let found = met.peer.worker;
                return Err(MeetError::WrongWorker { worker, found, workers: met.peer.workers });
            }
            all.push(met);
            if all.len() as u64 >= workers {
                return Ok(all);
            }
        }
    }

    /// Exchanges hellos with whoever connected.
    pub(crate) async fn welcome(&self, connection: quinn::Connection) -> Result<Met, MeetError> {
        let meeting = async {
            let (mut send, receive) = connection.accept_bi().await?;
            let mut frames = FrameReader::new(receive, MAX_BACKPLANE_PAYLOAD);
            let peer = read_hello(&mut frames, FrameType::ServerHello).await?;
            let mut welcome = self.hello(peer.purpose);
            if peer.newest.min(self.versions.newest) >= POOL_SINCE {
                welcome.pool = self.pool.clone();
            }
            send.write_all(welcome.encode(FrameType::ServerWelcome).bytes()).await?;
            Ok((send, frames, peer))
        };
        self.meet(connection.clone(), meeting).await
    }

    async fn meet(
        &self,
        connection: quinn::Connection,
        meeting: impl Future<Output = Result<Streams, MeetError>>,
    ) -> Result<Met, MeetError> {
        let met = match tokio::time::timeout(HELLO_TIMEOUT, meeting).await {
            Err(_) => Err(MeetError::Silent),
            Ok(Err(error)) => Err(error),
            Ok(Ok((send, frames, peer))) => self.check(&connection, &peer).map(|version| Met {
                connection: connection.clone(),
                peer,
                version,
                send,
                frames,
            }),
        };
        if let Err(error) = &met {
            close(&connection, CloseCode::NotWelcome, &error.to_string());
        }
        met
    }

    /// The version that the connection has, if the peer may be whom it calls itself.
    fn check(&self, connection: &quinn::Connection, peer: &ServerHello) -> Result<u64, MeetError> {
        let (oldest, newest, ours) = (peer.oldest, peer.newest, self.versions);
        let common = ours.common(oldest, newest);
        let version = common.ok_or(MeetError::Version { oldest, newest, ours })?;
        if peer.purpose == Purpose::Gossip && version < GOSSIP_SINCE {
            return Err(MeetError::NoGossip(version));
        }
        let identity = connection.peer_identity();
        let certificates =
            identity.and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        let vouched = certificates
            .is_some_and(|certificates| tls::peer_may_be(&certificates, peer.role, &peer.name));
        let (role, name) = (peer.role.as_str(), peer.name.clone());
        if vouched { Ok(version) } else { Err(MeetError::NotVouchedFor { role, name }) }
    }
}

/// What is spoken with a member: no connection's version is newer than what all of them can.
pub(crate) fn version_with(links: &[Met]) -> u64 {
    links.iter().map(|met| met.version).min().unwrap_or(OLDEST_VERSION)
}

/// Gossip is for routers and servers, all else for servers.
fn dial_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Frames | Purpose::Bodies => tls::dial_name(Role::Server),
        Purpose::Gossip => tls::ANY_MEMBER,
    }
}

async fn read_hello(frames: &mut FrameReader, kind: FrameType) -> Result<ServerHello, MeetError> {
    let frame = frames.next().await?.filter(|frame| frame.kind() == kind);
    let frame = frame.ok_or(MeetError::NoHello)?;
    Ok(match kind {
        FrameType::ServerWelcome => ServerHello::decode_welcome(frame.payload())?,
        _ => ServerHello::decode(frame.payload())?,
    })
}

/// How one worker dials other members.
pub(crate) struct Dialling {
    local: SocketAddr,
    endpoints: RefCell<DiallingEndpoints>,
    crypto: Arc<QuicClientConfig>,
    frames: Arc<TransportConfig>,
    bodies: Arc<TransportConfig>,
}

impl Dialling {
    /// Dials from `local`, whatever its port.
    pub(crate) fn new(local: SocketAddr, crypto: Arc<QuicClientConfig>) -> Self {
        Self {
            local,
            endpoints: RefCell::new(DiallingEndpoints::new(local)),
            crypto,
            frames: endpoint::backplane_transport(),
            bodies: endpoint::backplane_body_transport(),
        }
    }

    /// Whether an address is of a family that can be dialled from here.
    pub(crate) fn can_reach(&self, address: &SocketAddr) -> bool {
        self.local.is_ipv6() || address.is_ipv4()
    }

    /// From where, and how, a given worker of a member is dialled.
    fn to_worker(
        &self,
        worker: u64,
        purpose: Purpose,
    ) -> Result<(quinn::Endpoint, quinn::ClientConfig), MeetError> {
        let place = u8::try_from(worker).map_err(|_| MeetError::TooManyWorkers(worker))?;
        let endpoint = self.endpoints.borrow_mut().towards(place).map_err(MeetError::Socket)?;
        let crypto: Arc<QuicClientConfig> = Arc::clone(&self.crypto);
        let mut config = quinn::ClientConfig::new(crypto);
        config.transport_config(Arc::clone(match purpose {
            Purpose::Frames | Purpose::Gossip => &self.frames,
            Purpose::Bodies => &self.bodies,
        }));
        config.initial_dst_cid_provider(initial_id_of(place));
        Ok((endpoint, config))
    }

    /// Closes what was dialled.
    pub(crate) fn close(&self) {
        for endpoint in self.endpoints.borrow().all() {
            endpoint.close(quinn::VarInt::from_u32(CloseCode::Shutdown as u32), b"shutting down");
        }
    }
}

/// Waits until the first of several connections is gone, and says why it is.
pub(crate) async fn first_closed(connections: &[quinn::Connection]) -> quinn::ConnectionError {
    let mut all: Vec<_> =
        connections.iter().map(|connection| Box::pin(connection.closed())).collect();
    std::future::poll_fn(|context| {
        let gone = all.iter_mut().map(|closed| closed.as_mut().poll(context));
        gone.into_iter().find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

/// Closes a connection with a reason that the peer can show.
pub(crate) fn close(connection: &quinn::Connection, code: CloseCode, reason: &str) {
    connection.close(quinn::VarInt::from_u32(code as u32), reason.as_bytes());
}

/// Closes a connection whose bytes are not frames. One that broke by itself needs no closing.
pub(crate) fn refuse(connection: &quinn::Connection, error: &ReadFrameError) {
    if matches!(error, ReadFrameError::Decode(_) | ReadFrameError::CutShort) {
        close(connection, CloseCode::ProtocolViolation, &error.to_string());
    }
}
