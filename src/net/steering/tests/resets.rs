//! Stateless resets: given where a connection is gone, never where it lives elsewhere.

use super::super::ids::WORKER_ID_LENGTH;
use super::*;
use std::sync::{Arc, Mutex};
use tokio::net::UdpSocket as Socket;

type Id = [u8; WORKER_ID_LENGTH];
type Token = [u8; 16];

/// The reset that a worker with these secrets makes for an id (RFC 9000, section 10.3).
fn token(secrets: &EndpointSecrets, id: Id) -> Token {
    let mut signature = [0; 32];
    secrets.reset_key().sign(&id, &mut signature);
    signature[..16].try_into().unwrap()
}

/// A packet with a short header that nobody can decrypt.
fn packet(id: Id) -> Vec<u8> {
    let mut packet = vec![0x55; 80];
    packet[0] = 0x40;
    packet[1..=WORKER_ID_LENGTH].copy_from_slice(&id);
    packet
}

fn id_of(worker: u8, generation: u8) -> Id {
    let mut id = [7; WORKER_ID_LENGTH];
    id[..2].copy_from_slice(&[worker, generation]);
    id
}

/// Sends packets for an id until one is answered, and returns the last 16 bytes of all answers.
async fn provoke(to: SocketAddr, ids: &[Id]) -> Vec<Token> {
    let from = Socket::bind(loopback()).await.unwrap();
    let mut buffer = [0; 2048];
    for _ in 0..1000 {
        for id in ids {
            // A worker sends only so many resets in a time.
            tokio::time::sleep(Duration::from_millis(2)).await;
            from.send_to(&packet(*id), to).await.unwrap();
        }
        let mut answers = Vec::new();
        while let Ok(Ok(length)) =
            tokio::time::timeout(Duration::from_millis(20), from.recv(&mut buffer)).await
        {
            answers.push(buffer[length - 16..length].try_into().unwrap());
        }
        if !answers.is_empty() {
            return answers;
        }
    }
    panic!("nobody answers for any of {ids:?}");
}

#[tokio::test]
async fn an_id_that_its_worker_does_not_know_earns_a_reset_from_it_alone() {
    for steering in [Steering::Public, Steering::Backplane] {
        let secrets = EndpointSecrets::random(steering);
        let process = Process::with_secrets(loopback(), steering, &secrets);
        for worker in 0..WORKERS {
            // The first two come to this worker, but it never made such ids.
            let own = id_of(worker, 0);
            let ids = [id_of(worker + WORKERS, 0), id_of(worker, 1), own];
            for answer in provoke(process.address(), &ids).await {
                assert_eq!(answer, token(&secrets, own));
            }
        }
    }
}

/// Passes packets on between a client and a process, and lets a test send some of its own with the
/// client's address. What any worker answers, wherever it is, goes to the client.
struct Relay {
    client_side: Socket,
    worker_side: Socket,
    process: SocketAddr,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    client: Option<SocketAddr>,
    /// The id in the client's latest packet with a short header.
    id: Option<Id>,
    /// The ends of the packets that came from elsewhere than the process.
    strays: Vec<Token>,
}

impl Relay {
    async fn start(process: SocketAddr) -> Arc<Self> {
        let relay = Arc::new(Self {
            client_side: Socket::bind(loopback()).await.unwrap(),
            worker_side: Socket::bind(loopback()).await.unwrap(),
            process,
            seen: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&relay).pass_requests());
        tokio::spawn(Arc::clone(&relay).pass_answers());
        relay
    }

    async fn pass_requests(self: Arc<Self>) {
        let mut buffer = [0; 2048];
        loop {
            let (length, from) = self.client_side.recv_from(&mut buffer).await.unwrap();
            {
                let mut seen = self.seen.lock().unwrap();
                seen.client = Some(from);
                if buffer[0] < 0x80 {
                    seen.id = Some(buffer[1..=WORKER_ID_LENGTH].try_into().unwrap());
                }
            }
            self.worker_side.send_to(&buffer[..length], self.process).await.unwrap();
        }
    }

    async fn pass_answers(self: Arc<Self>) {
        let mut buffer = [0; 2048];
        loop {
            let (length, from) = self.worker_side.recv_from(&mut buffer).await.unwrap();
            let client = {
                let mut seen = self.seen.lock().unwrap();
                if from != self.process {
                    seen.strays.push(buffer[length - 16..length].try_into().unwrap());
                }
                seen.client.unwrap()
            };
            self.client_side.send_to(&buffer[..length], client).await.unwrap();
        }
    }

    /// Sends packets of these ids to a worker, in turn, until it answers any; its answers.
    async fn inject(&self, worker: SocketAddr, ids: &[Id]) -> Vec<Token> {
        for _ in 0..1000 {
            for id in ids {
                self.worker_side.send_to(&packet(*id), worker).await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let strays = std::mem::take(&mut self.seen.lock().unwrap().strays);
            if !strays.is_empty() {
                return strays;
            }
        }
        panic!("nobody answers for any of {ids:?}");
    }
}

#[tokio::test]
async fn a_packet_that_was_steered_wrong_does_not_end_its_connection() {
    let secrets = EndpointSecrets::random(Steering::Backplane);
    let process = Process::with_secrets(loopback(), Steering::Backplane, &secrets);
    let relay = Relay::start(process.address()).await;
    let client = endpoint::bind(loopback(), None).unwrap();
    let to = relay.client_side.local_addr().unwrap();
    let connection = connect(&client, aimed_at(1), to).await;
    assert_eq!(ask(&connection).await.0, 1);
    let live = relay.seen.lock().unwrap().id.unwrap();
    assert_eq!(live[0], 1);

    // Another worker of the process, as far as ids and keys go, gets the connection's packets.
    let alone = || plain_socket(loopback()).unwrap();
    let wrong = start_worker(alone(), 2, &secrets);
    let own = id_of(2, 0);
    for answer in relay.inject(wrong.local_addr().unwrap(), &[live, live, live, own]).await {
        assert_eq!(answer, token(&secrets, own));
    }
    assert_eq!(ask(&connection).await.0, 1, "the connection lives");

    // Its own worker, started anew: it knows that the connection is gone, and says so.
    let anew = start_worker(alone(), 1, &secrets);
    for answer in relay.inject(anew.local_addr().unwrap(), &[live]).await {
        assert_eq!(answer, token(&secrets, live));
    }
    let closed = tokio::time::timeout(PATIENCE, connection.closed()).await;
    assert_eq!(closed.expect("the client learns of it"), quinn::ConnectionError::Reset);
}

/// A worker that goes without a word, as if it had been killed.
struct Former {
    stop: tokio::sync::oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Former {
    fn start(socket: UdpSocket, secrets: EndpointSecrets) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            let endpoint = runtime.block_on(async {
                let endpoint = start_worker(socket, 0, &secrets);
                stopped.await.unwrap();
                endpoint
            });
            // Nobody is left who could send a goodbye.
            drop(runtime);
            drop(endpoint);
        });
        Self { stop, thread }
    }

    fn vanish(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

#[tokio::test]
async fn a_member_that_was_started_anew_ends_the_connections_of_its_former_run() {
    let name = |text: &str| crate::wire::Name::new(text).unwrap();
    let of = |member: &str| {
        EndpointSecrets::of_member(b"a private key", &name(member), Steering::Public)
    };
    let socket = plain_socket(loopback()).unwrap();
    let address = socket.local_addr().unwrap();
    let former = Former::start(socket, of("router-1"));
    let client = endpoint::bind(loopback(), None).unwrap();
    let connection = connect(&client, client_config(), address).await;
    assert_eq!(ask(&connection).await.0, 0);
    former.vanish();
    let anew = start_worker(plain_socket(address).unwrap(), 0, &of("router-1"));
    let closed = async {
        loop {
            // Whatever the client says is answered by a reset; some of it may come too early.
            let _ = connection.open_bi().await.map(|(mut send, _)| drop(send.reset(0u32.into())));
            let wait = tokio::time::timeout(Duration::from_millis(20), connection.closed());
            if let Ok(closed) = wait.await {
                return closed;
            }
        }
    };
    let closed = tokio::time::timeout(PATIENCE, closed).await.expect("the client learns of it");
    assert_eq!(closed, quinn::ConnectionError::Reset);
    drop(anew);
}

#[test]
fn keys_outlive_a_process_and_are_of_one_member_and_one_port_alone() {
    let id = id_of(0, 0);
    let made = |key: &[u8], name: &str, steering| {
        let name = crate::wire::Name::new(name).unwrap();
        token(&EndpointSecrets::of_member(key, &name, steering), id)
    };
    let first = made(b"key", "router-1", Steering::Public);
    assert_eq!(first, made(b"key", "router-1", Steering::Public));
    assert_ne!(first, made(b"key", "router-2", Steering::Public), "routers share a certificate");
    assert_ne!(first, made(b"key", "router-1", Steering::Backplane));
    assert_ne!(first, made(b"yek", "router-1", Steering::Public));
    assert_ne!(made(b"key", "a", Steering::Public), made(b"bkey", "a", Steering::Public));
}

#[test]
fn ports_make_different_resets_from_one_master_key() {
    let id = id_of(0, 0);
    let made = |master: u8, steering| token(&EndpointSecrets::derive(&[master; 32], steering), id);
    assert_eq!(made(1, Steering::Public), made(1, Steering::Public));
    assert_ne!(made(1, Steering::Public), made(1, Steering::Backplane));
    assert_ne!(made(1, Steering::Public), made(2, Steering::Public));
    let random = || token(&EndpointSecrets::random(Steering::Public), id);
    assert_ne!(random(), random());
}
