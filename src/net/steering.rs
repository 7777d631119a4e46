//! One UDP port, many workers: every packet of a connection reaches the worker that owns it.
//!
//! Each worker has a socket of its own on the shared port (SO_REUSEPORT). Which one gets a packet
//! is decided in the kernel by a few instructions (see `steering/program.rs`) that read the first
//! byte of the packet's connection id, which names the worker (see `steering/ids.rs`). So a client
//! whose address changes keeps its connection *and* its worker, and no packet crosses from worker
//! to worker.
//!
//! Only a connection's first packets carry an id that we did not make. On the public port they are
//! spread by address, so that nobody can aim load at one worker. On the backplane port the id
//! counts from the first packet on: members dial the worker that they mean.

#[cfg(target_os = "linux")]
mod attach;
mod cores;
mod ids;
mod program;
mod secrets;
#[cfg(all(test, target_os = "linux", feature = "cli"))]
mod tests;

pub(crate) use cores::pin_to_core;
pub(crate) use ids::{WorkerIds, initial_id_of};
pub(crate) use secrets::EndpointSecrets;

use std::io;
use std::net::{SocketAddr, UdpSocket};

/// Most workers that can share a port: their number is one byte of the connection id.
pub(crate) const MAX_WORKERS: usize = 256;

/// Bytes that the system may hold for a socket, each way.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// Whose word decides where a connection's first packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steering {
    /// The system's: they go by a hash of the addresses.
    Public,
    /// The dialling member's: they go to the worker in the id that it chose ([`initial_id_of`]).
    Backplane,
}

/// A UDP port that the workers of one process share: one socket each, steered by connection id.
///
/// The process owns the group, not the workers, and keeps it until the last of them has stopped.
/// The kernel finds sockets by their place in the group, and closing one would move another into
/// its place: then live connections would be steered to a worker that does not know them. Workers
/// get duplicates, so a worker that dies, or starts anew, moves nothing.
#[derive(Debug)]
pub(crate) struct PortGroup {
    sockets: Vec<UdpSocket>,
}

impl PortGroup {
    /// Binds one socket for each worker. There is only one where the system cannot steer; see
    /// [`PortGroup::workers`].
    ///
    /// Fails if anything else has the port, be it another group of the same user.
    pub(crate) fn bind(
        address: SocketAddr,
        workers: usize,
        steering: Steering,
    ) -> io::Result<Self> {
        if !(1..=MAX_WORKERS).contains(&workers) {
            let why = format!("{workers} workers cannot share a port: ask for 1 to {MAX_WORKERS}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if workers > 1
            && let Some(sockets) = bind_shared(address, workers, steering)?
        {
            return Ok(Self { sockets });
        }
        Ok(Self { sockets: vec![plain_socket(address)?] })
    }

    /// How many workers there are sockets for.
    pub(crate) fn workers(&self) -> usize {
        self.sockets.len()
    }

    /// The address of all of them, with the port that the system chose if none was asked for.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.sockets[0].local_addr()
    }

    /// A worker's socket.
    ///
    /// # Panics
    /// If there is no such worker.
    pub(crate) fn socket(&self, worker: u8) -> io::Result<UdpSocket> {
        self.sockets[usize::from(worker)].try_clone()
    }
}

/// A socket that shares its port with nobody.
pub(crate) fn plain_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = unbound_socket(address)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn unbound_socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Larger buffers are a wish: the system may cap them.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The sockets of a group, in the order of its workers; `None` if the system takes no program.
#[cfg(target_os = "linux")]
fn bind_shared(
    address: SocketAddr,
    workers: usize,
    steering: Steering,
) -> io::Result<Option<Vec<UdpSocket>>> {
    let program = program::steer(workers, steering);
    let first = unbound_socket(address)?;
    first.set_reuse_port(true)?;
    // The program comes before the port, for two reasons. What arrives while the others bind is
    // already steered, as far as there are sockets. And a socket that has a program starts a group
    // and joins none: without it, two routers started on one port by mistake would quietly share
    // it, and port 0 could pick a port that is in use.
    if let Err(error) = attach::attach(&first, &program) {
        tracing::warn!(%error, "this system cannot steer packets by connection id: one worker");
        return Ok(None);
    }
    first.bind(&address.into())?;
    let mut sockets = vec![UdpSocket::from(first)];
    let address = sockets[0].local_addr()?;
    // A socket's place in the group is its turn to bind.
    while sockets.len() < workers {
        let next = unbound_socket(address)?;
        next.set_reuse_port(true)?;
        next.bind(&address.into())?;
        sockets.push(next.into());
    }
    Ok(Some(sockets))
}

#[cfg(not(target_os = "linux"))]
fn bind_shared(_: SocketAddr, _: usize, _: Steering) -> io::Result<Option<Vec<UdpSocket>>> {
    Ok(None)
}
