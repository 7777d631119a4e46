//! Whom a worker lets in: handshakes are bounded in number and in time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Handshakes under way before strangers must show that their address is theirs, which costs them
/// a round trip and us nothing that we would have to keep: twice what a busy worker has.
const HANDSHAKES_BEFORE_RETRY: usize = 256;
/// Handshakes under way before new ones are not answered; the client tries again by itself. Each
/// holds about 50 KiB.
const MAX_HANDSHAKES: usize = 4096;
const _: () = assert!(HANDSHAKES_BEFORE_RETRY < MAX_HANDSHAKES);
/// How long a handshake may take: several losses on a slow path, and no longer, for nothing else
/// ends one that trickles.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// One worker's door.
#[derive(Debug)]
pub(crate) struct Door {
    handshakes: Rc<Cell<usize>>,
    max_connections: usize,
}

/// What is done about somebody at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accept,
    /// Come back with proof of your address.
    Retry,
    /// A reply costs more than silence.
    Ignore,
    Refuse,
}

impl Door {
    /// The door of a worker that holds so many connections at most, those being made included.
    pub(crate) fn new(max_connections: usize) -> Self {
        Self { handshakes: Rc::default(), max_connections }
    }

    /// How many handshakes are under way.
    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.get()
    }

    /// Decides at once about a connection that `endpoint` accepted. If it may come in, the future
    /// finishes the handshake; `None` from it means that there is no connection after all.
    pub(crate) fn admit(
        &self,
        endpoint: &quinn::Endpoint,
        incoming: quinn::Incoming,
    ) -> Option<impl Future<Output = Option<quinn::Connection>> + use<>> {
        let open = endpoint.open_connections();
        match self.answer(open, incoming.remote_address_validated()) {
            Answer::Accept => {}
            Answer::Retry => {
                // An address that is not validated always may be asked to try again.
                let _ = incoming.retry();
                return None;
            }
            Answer::Ignore => {
                incoming.ignore();
                return None;
            }
            Answer::Refuse => {
                incoming.refuse();
                return None;
            }
        }
        let connecting = incoming.accept().ok()?;
        let place = Place::take(&self.handshakes);
        Some(async move {
            let connection = tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await;
            drop(place);
            connection.ok()?.ok()
        })
    }

    fn answer(&self, open_connections: usize, validated: bool) -> Answer {
        let handshakes = self.handshakes.get();
        if handshakes >= MAX_HANDSHAKES {
            Answer::Ignore
        } else if !validated && handshakes >= HANDSHAKES_BEFORE_RETRY {
            Answer::Retry
        } else if open_connections >= self.max_connections {
            Answer::Refuse
        } else {
            Answer::Accept
        }
    }
}

/// One handshake's place in the count, given up when it ends, however it ends.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(handshakes: &Rc<Cell<usize>>) -> Self {
        handshakes.set(handshakes.get() + 1);
        Self(Rc::clone(handshakes))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::steering::{EndpointSecrets, Steering, WorkerIds, plain_socket};
    use crate::net::{endpoint, tls};
    use quinn::{ConnectionError, TransportErrorCode, VarInt};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::Path;

    #[test]
    fn the_door_closes_step_by_step() {
        let door = Door::new(10_000);
        let mut places = Vec::new();
        let mut answers = |handshakes: usize, open: usize| {
            places.resize_with(handshakes, || Place::take(&door.handshakes));
            assert_eq!(door.handshakes(), handshakes);
            [door.answer(open, false), door.answer(open, true)]
        };
        assert_eq!(answers(0, 0), [Answer::Accept; 2]);
        assert_eq!(answers(HANDSHAKES_BEFORE_RETRY - 1, 0), [Answer::Accept; 2]);
        assert_eq!(answers(HANDSHAKES_BEFORE_RETRY, 0), [Answer::Retry, Answer::Accept]);
        assert_eq!(answers(HANDSHAKES_BEFORE_RETRY, 10_000), [Answer::Retry, Answer::Refuse]);
        assert_eq!(answers(MAX_HANDSHAKES, 0), [Answer::Ignore; 2]);
        assert_eq!(answers(10, 9_999), [Answer::Accept; 2]);
        assert_eq!(answers(10, 10_000), [Answer::Refuse; 2]);
        assert_eq!(answers(0, 0), [Answer::Accept; 2]);
    }

    /// Connects to a worker whose door has so many handshakes under way already; whether the client
    /// had to show its address first, and what became of it.
    async fn knock(
        handshakes: usize,
        max_connections: usize,
    ) -> (bool, Result<(), ConnectionError>) {
        let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
        let (cert, key) = (certs.join("server.pem"), certs.join("server.key"));
        let tls = tls::quic_server(tls::public_server(&cert, &key, &[b"door"]).unwrap());
        let secrets = EndpointSecrets::random(Steering::Public);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = plain_socket(address).unwrap();
        let (ids, accepting) = (WorkerIds::new(0, 0), endpoint::public_accepting(tls));
        let worker = endpoint::worker_endpoint(socket, ids, &secrets, accepting).unwrap();
        let client = endpoint::bind(address, None).unwrap();
        let trust = tls::public_client(tls::Roots::Bundled, &[b"door"]).unwrap();
        let config = quinn::ClientConfig::new(tls::quic_client(trust));
        let address = worker.local_addr().unwrap();
        let connecting = client.connect_with(config, address, "localhost").unwrap();

        let door = Door::new(max_connections);
        let _others: Vec<_> = (0..handshakes).map(|_| Place::take(&door.handshakes)).collect();
        let serving = async {
            let mut retried = false;
            loop {
                let incoming = worker.accept().await.unwrap();
                retried |= incoming.remote_address_validated();
                if let Some(handshake) = door.admit(&worker, incoming) {
                    assert_eq!(door.handshakes(), handshakes + 1);
                    let connection = handshake.await.expect("it may come in");
                    assert_eq!(door.handshakes(), handshakes, "the place is free again");
                    return (retried, connection);
                }
            }
        };
        tokio::select! {
            (retried, connection) = serving => {
                connection.close(VarInt::from_u32(0), b"");
                (retried, Ok(()))
            }
            failed = async {
                match connecting.await {
                    // The worker says how it went.
                    Ok(_connection) => std::future::pending().await,
                    Err(error) => error,
                }
            } => (false, Err(failed)),
        }
    }

    #[tokio::test]
    async fn strangers_come_in_show_their_address_or_stay_out() {
        assert_eq!(knock(0, 1).await, (false, Ok(())));
        assert_eq!(knock(HANDSHAKES_BEFORE_RETRY, 1).await, (true, Ok(())));
        let refused = knock(0, 0).await.1.unwrap_err();
        let ConnectionError::ConnectionClosed(close) = refused else { panic!("{refused}") };
        assert_eq!(close.error_code, TransportErrorCode::CONNECTION_REFUSED);
    }
}
