//! Connection ids that name their worker.

use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::InvalidCid;
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of an id that a worker makes: its number, its generation, and six random ones.
///
/// The shortest that serves, for it stands in every packet that we receive, and in tables up to
/// eight times for each connection. The random part keeps a worker's ids apart and unlinkable, no
/// more: an endpoint never gives out one that it has in use, and whoever guesses one has gained
/// nothing. Not shorter than 8, which is what RFC 9000 (section 7.2) demands of a first packet's
/// id: after a Retry that is an id of ours.
pub(super) const WORKER_ID_LENGTH: usize = 8;

/// Bytes of a first packet's id on the backplane. The keys of those packets are made from it, so
/// that it must be hard to guess; and it is gone after the handshake, so that length costs nothing.
const INITIAL_ID_LENGTH: usize = 16;

/// Makes and checks a worker's connection ids.
///
/// What everybody can see in an id is the worker: of two addresses with different workers a
/// watcher knows that they are different connections. Hiding it would take a cipher in the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerIds {
    worker: u8,
    generation: u8,
}

impl WorkerIds {
    /// The ids of a worker, by its place in the group. The generation tells the ids of a process
    /// from those of the one that had the port before.
    pub(crate) fn new(worker: u8, generation: u8) -> Self {
        Self { worker, generation }
    }
}

impl ConnectionIdGenerator for WorkerIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; WORKER_ID_LENGTH];
        rand::rng().fill_bytes(&mut id);
        id[0] = self.worker;
        id[1] = self.generation;
        ConnectionId::new(&id)
    }

    /// Whether this worker, in this generation, may have made an id.
    ///
    /// A packet with an unknown id that passes is answered with a stateless reset. All workers make
    /// the same reset from the same id, so a worker that answered for another's id would end a live
    /// connection. That another's packet comes here at all takes no more than one sender that
    /// forges it, or one receive that merged two connections.
    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let ours = id.len() == WORKER_ID_LENGTH && id[..2] == [self.worker, self.generation];
        if ours { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        WORKER_ID_LENGTH
    }

    /// They live as long as the connection: a client that changes its address changes its id too,
    /// and an id that expires would cost every idle connection a timer and a packet.
    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Makes the id of the first packet of a connection to a given worker of the peer:
/// `quinn::ClientConfig::initial_dst_cid_provider`. Only ports steered as
/// [`Backplane`](super::Steering::Backplane) go by it. If the peer has fewer workers, the
/// connection reaches the worker that is the remainder.
pub(crate) fn initial_id_of(worker: u8) -> Arc<dyn Fn() -> ConnectionId + Send + Sync> {
    Arc::new(move || {
        let mut id = [0; INITIAL_ID_LENGTH];
        rand::rng().fill_bytes(&mut id);
        id[0] = worker;
        ConnectionId::new(&id)
    })
}
