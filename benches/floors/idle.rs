//! Connections that do nothing: what keeping one, and what making one, costs.
//!
//! Clients of the real router say HELLO on their first stream, are answered WELCOME, and keep that
//! stream open. So do these, with one WELCOME for all, so that the memory and the time of a
//! connection are those of a connection of the same shape.

use crate::{Failure, endpoint};
use bytes::Bytes;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use understudy::wire::session::{Hello, Limits, OLDEST_VERSION, VERSION, Welcome};
use understudy::wire::{Assignment, ClientId, Epoch, Name};

const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// As long as a sealed token is, roughly.
const TOKEN_SIZE: usize = 96;
/// Sockets that connections are spread over, so that no socket's buffer overflows.
const SOCKETS: usize = 16;
/// Handshakes that are under way at one time.
const HANDSHAKES: usize = 64;
/// Largest frame that is read here.
const GREETING_SIZE: usize = 1024;

/// Keeps every connection until its client ends it.
pub(crate) async fn serve(endpoint: Endpoint) -> Result<(), Failure> {
    let welcome = welcome()?;
    let open = Rc::new(Cell::new(0_usize));
    tokio::task::spawn_local(report(Rc::clone(&open)));
    while let Some(incoming) = endpoint.accept().await {
        let (open, welcome) = (Rc::clone(&open), welcome.clone());
        tokio::task::spawn_local(async move {
            let Ok(connection) = incoming.await else { return };
            open.set(open.get() + 1);
            let _session = greet(&connection, welcome).await;
            connection.closed().await;
            open.set(open.get() - 1);
        });
    }
    Ok(())
}

/// Greets every client, and keeps nothing of it once it is gone.
pub(crate) async fn serve_handshakes(endpoint: Endpoint) -> Result<(), Failure> {
    let welcome = welcome()?;
    while let Some(incoming) = endpoint.accept().await {
        tokio::task::spawn_local(serve_handshake(incoming, welcome.clone()));
    }
    Ok(())
}

async fn serve_handshake(incoming: Incoming, welcome: Bytes) {
    let Ok(connection) = incoming.await else { return };
    let _session = greet(&connection, welcome).await;
    connection.closed().await;
}

/// Answers HELLO; the session stream is then there to be kept. `None` if the client is gone.
async fn greet(connection: &Connection, welcome: Bytes) -> Option<(SendStream, RecvStream)> {
    let (mut send, mut receive) = connection.accept_bi().await.ok()?;
    receive.read_chunk(GREETING_SIZE, true).await.ok()??;
    send.write_chunk(welcome).await.ok()?;
    Some((send, receive))
}

fn welcome() -> Result<Bytes, Failure> {
    let name = Name::new("floor")?;
    let welcome = Welcome {
        version: VERSION,
        client: ClientId([0; 16]),
        token: Bytes::from_static(&[0; TOKEN_SIZE]),
        assignment: Assignment { epoch: Epoch::new(1, name), alternate: None },
        limits: Limits { slots: 65_536, in_flight: 256, max_item: 64 << 20 },
    };
    Ok(welcome.encode().to_bytes())
}

/// Opens `count` connections to a floor or a router, prints when all stand, and keeps them.
pub(crate) async fn hold(address: SocketAddr, count: usize) -> Result<(), Failure> {
    let sockets: Result<Vec<_>, _> = (0..SOCKETS).map(|_| endpoint::dialling_lanes()).collect();
    let (sockets, hello) = (Rc::new(sockets?), hello());
    let (next, mut workers) = (Rc::new(Cell::new(0)), tokio::task::JoinSet::new());
    for _ in 0..HANDSHAKES.min(count) {
        let (sockets, next, hello) = (Rc::clone(&sockets), Rc::clone(&next), hello.clone());
        workers.spawn_local(async move {
            let mut sessions = Vec::new();
            while next.get() < count {
                let socket = &sockets[next.get() % SOCKETS];
                next.set(next.get() + 1);
                let session = say_hello(socket, address, hello.clone()).await;
                sessions.push(session.map_err(|failure| failure.to_string())?);
            }
            Ok::<_, String>(sessions)
        });
    }
    let mut held = Vec::new();
    while let Some(sessions) = workers.join_next().await {
        held.extend(sessions??);
    }
    println!("holding {} connections", held.len());
    std::future::pending().await
}

type Session = (Connection, SendStream, RecvStream);

async fn say_hello(socket: &Endpoint, to: SocketAddr, hello: Bytes) -> Result<Session, Failure> {
    let connection = socket.connect(to, "localhost")?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_chunk(hello).await?;
    let answer = receive.read_chunk(GREETING_SIZE, true).await?;
    answer.ok_or("the session stream was closed instead of an answer to HELLO")?;
    Ok((connection, send, receive))
}

fn hello() -> Bytes {
    let hello = Hello { oldest: OLDEST_VERSION, newest: VERSION, token: None, pool: None };
    hello.encode().to_bytes()
}

async fn report(open: Rc<Cell<usize>>) {
    loop {
        tokio::time::sleep(REPORT_INTERVAL).await;
        println!("connections {} resident_kib {}", open.get(), resident_kib());
    }
}

/// Resident memory of this process, as `/proc` states it; 0 where there is none.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
