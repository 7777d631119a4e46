//! The public address: a port for QUIC, and the one of the same number for TCP.

use super::StartError;
use crate::net::steering::{PortGroup, Steering};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// How often a port is chosen that turns out to be taken for the other transport.
const PORT_TRIES: u32 = 16;

/// Binds the public address for QUIC, and for TCP if that is wanted, under one number.
pub(super) fn bind_public(
    address: SocketAddr,
    workers: usize,
    with_tcp: bool,
) -> Result<(PortGroup, Option<TcpListener>), StartError> {
    for tried in 1.. {
        let bind_error = |error| StartError::Bind { address, error };
        let udp = PortGroup::bind(address, workers, Steering::Public).map_err(bind_error)?;
        if !with_tcp {
            return Ok((udp, None));
        }
        let bound = udp.local_address().map_err(bind_error)?;
        match listen(bound) {
            Ok(tcp) => return Ok((udp, Some(tcp))),
            // The system has chosen a number that is free for UDP alone.
            Err(_) if address.port() == 0 && tried < PORT_TRIES => {}
            Err(error) => return Err(StartError::Listen { address: bound, error }),
        }
    }
    unreachable!("the last try returns")
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // What is left of connections that have ended, a minute long, is in nobody's way.
    socket.set_reuse_address(cfg!(unix))?;
    if address.is_ipv6() {
        // As the socket of QUIC: what comes by IPv4 is not for this address.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
