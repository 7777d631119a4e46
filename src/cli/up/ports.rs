//! Addresses for a cluster on this machine: those that were asked for are checked, the others are
//! picked so that they stay ours while a server is down.
//!
//! A port that is picked is reserved by a TCP socket that is bound to it and never listens. On
//! Linux such a socket lets the child, which sets `SO_REUSEADDR` as every server does, bind and
//! listen on the port, again and again; everybody who wants the port for himself is refused,
//! another `up` included. UDP has nothing like it, so the UDP port is the one with the same number,
//! and numbers are picked outside the range that the system takes ports for outgoing sockets from.

use super::holder;
use crate::cli::report::Failure;
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// How many numbers are tried before giving up. Few of them are ever taken.
const MAX_TRIES: u32 = 10_000;
/// Below it are ports that need rights, or that people know by heart.
const FIRST_PORT: u16 = 10_000;
/// Fewer ports than these are no choice.
const MIN_CHOICE: u16 = 1_000;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// The ports of a cluster. They are free for others once this is dropped.
#[derive(Default)]
pub(super) struct Reservations {
    held: Vec<Socket>,
}

impl Reservations {
    /// Takes the address that was asked for with `option`; fails if somebody else has it.
    pub(super) fn take(
        &mut self,
        address: SocketAddr,
        transport: Transport,
        option: &str,
    ) -> Result<(), Failure> {
        let socket = bind_asked(address, transport)
            .map_err(|error| Failure::Failed(refusal(address, transport, option, &error)))?;
        if transport == Transport::Tcp {
            self.hold(socket);
        }
        Ok(())
    }

    /// Picks a port that is free for UDP and TCP.
    pub(super) fn pick(&mut self, ip: IpAddr) -> Result<u16, Failure> {
        let range = range();
        let count = u64::from(range.end() - range.start()) + 1;
        // A hash with a key that differs from one process to the next.
        let random = RandomState::new();
        let mut last_error = None;
        for tried in 0..MAX_TRIES {
            let offset = u16::try_from(random.hash_one(tried) % count).unwrap_or(0);
            let address = SocketAddr::new(ip, range.start() + offset);
            // TCP first: whoever holds that is the only one to try the UDP port.
            match bind(address, Transport::Tcp)
                .and_then(|tcp| bind(address, Transport::Udp).map(|_| tcp))
            {
                Ok(tcp) => {
                    self.hold(tcp);
                    return Ok(address.port());
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => last_error = Some(error),
                // As with an address that is not of this machine: no other port would do better.
                Err(error) => return Err(none_free(ip, &error)),
            }
        }
        Err(none_free(ip, &last_error.unwrap_or_else(|| ErrorKind::AddrInUse.into())))
    }

    /// Elsewhere than on Linux a bound socket would keep the child out too.
    fn hold(&mut self, socket: Socket) {
        if cfg!(target_os = "linux") && socket.set_reuse_address(true).is_ok() {
            self.held.push(socket);
        }
    }
}

/// Binds a socket to an address that nobody has. What is left of connections that have ended, a
/// minute long, is in nobody's way.
fn bind_asked(address: SocketAddr, transport: Transport) -> io::Result<Socket> {
    let bound = bind(address, transport);
    let taken = matches!(&bound, Err(error) if error.kind() == ErrorKind::AddrInUse);
    if !taken || transport == Transport::Udp || holder::find(address.port(), transport).is_some() {
        return bound;
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(cfg!(unix))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Binds a socket that shares its address with nobody.
fn bind(address: SocketAddr, transport: Transport) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn none_free(ip: IpAddr, error: &io::Error) -> Failure {
    Failure::Failed(format!("no free port was found on {ip}: {error}"))
}

/// Says who is in the way, and what to do.
fn refusal(address: SocketAddr, transport: Transport, option: &str, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => match holder::find(address.port(), transport) {
            Some(holder) => format!(
                "{address} ({transport}) is in use by {holder}: stop it, or choose another \
                 address with {option}"
            ),
            None => format!(
                "{address} ({transport}) is in use: stop what runs there, or choose another \
                 address with {option}"
            ),
        },
        ErrorKind::PermissionDenied => format!(
            "{address} ({transport}) needs rights that this process lacks: choose a port above \
             1023 with {option}"
        ),
        _ => format!(
            "{address} ({transport}) cannot be used: {error}; choose another address with {option}"
        ),
    }
}

/// The numbers to pick from.
fn range() -> RangeInclusive<u16> {
    let outgoing = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    outgoing.ok().as_deref().and_then(parse_outgoing).map_or(FIRST_PORT..=u16::MAX, beside)
}

/// Two numbers: the first and the last port for outgoing sockets.
fn parse_outgoing(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace();
    let first = numbers.next()?.parse().ok()?;
    let last = numbers.next()?.parse().ok()?;
    (first <= last).then_some(first..=last)
}

/// The larger of the ranges below and above the ports for outgoing sockets, if either is worth it.
fn beside(outgoing: RangeInclusive<u16>) -> RangeInclusive<u16> {
    let below = outgoing.start().saturating_sub(FIRST_PORT);
    let above = u16::MAX - outgoing.end().max(&FIRST_PORT);
    if below.max(above) < MIN_CHOICE {
        FIRST_PORT..=u16::MAX
    } else if below >= above {
        FIRST_PORT..=outgoing.start() - 1
    } else {
        outgoing.end().max(&FIRST_PORT) + 1..=u16::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};
    use std::time::{Duration, Instant};

    const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn take(address: SocketAddr, transport: Transport, option: &str) -> Result<(), Failure> {
        Reservations::default().take(address, transport, option)
    }

    /// Other tests start processes, and those hold all that is open here until they are someone
    /// else: what was closed may be in use for a moment longer.
    fn eventually<T, E: fmt::Debug>(mut attempt: impl FnMut() -> Result<T, E>) -> T {
        let start = Instant::now();
        loop {
            match attempt() {
                Ok(value) => return value,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(120), "{error:?}"),
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_address_in_use_is_refused_and_says_by_whom() {
        let udp = UdpSocket::bind((LOCALHOST, 0)).unwrap();
        let tcp = TcpListener::bind((LOCALHOST, 0)).unwrap();
        let udp_address = udp.local_addr().unwrap();
        let tcp_address = tcp.local_addr().unwrap();
        for (address, transport, option) in
            [(udp_address, Transport::Udp, "--listen"), (tcp_address, Transport::Tcp, "--admin")]
        {
            let text = take(address, transport, option).unwrap_err().to_string();
            assert!(text.starts_with(&format!("{address} ({transport}) is in use")), "{text}");
            let advice = format!("or choose another address with {option}");
            assert!(text.ends_with(&advice), "{text}");
            #[cfg(target_os = "linux")]
            assert!(text.contains("(process ") && text.contains("): stop it"), "{text}");
        }
        drop(tcp);
        eventually(|| take(tcp_address, Transport::Tcp, "--admin"));
    }

    #[test]
    fn what_is_left_of_a_connection_is_in_nobodys_way() {
        let listener = TcpListener::bind((LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        // Whoever closes first keeps the address for a while.
        drop(server);
        drop(client);
        drop(listener);
        // Other tests start processes, which hold on to what is open here until they have begun.
        let begun = Instant::now();
        while let Err(error) = take(address, Transport::Tcp, "--admin") {
            assert!(begun.elapsed() < Duration::from_secs(30), "{error:?}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let text = take("192.0.2.1:9".parse().unwrap(), Transport::Udp, "--listen").unwrap_err();
        assert!(text.to_string().contains("192.0.2.1:9 (UDP) cannot be used"), "{text}");
    }

    #[test]
    fn a_picked_port_serves_a_child_again_and_again_and_no_one_else() {
        let mut reservations = Reservations::default();
        let port = reservations.pick(LOCALHOST).unwrap();
        for _ in 0..2 {
            eventually(|| UdpSocket::bind((LOCALHOST, port)));
            let listener = eventually(|| TcpListener::bind((LOCALHOST, port)));
            let client = std::net::TcpStream::connect((LOCALHOST, port)).unwrap();
            // The server's side closes first, as when a child dies: its connections linger.
            drop(listener.accept().unwrap());
            drop(client);
        }
        #[cfg(target_os = "linux")]
        {
            let other = bind((LOCALHOST, port).into(), Transport::Tcp);
            assert!(other.is_err(), "another reservation of the port was possible");
        }
        let more: Vec<_> = (0..200).map(|_| reservations.pick(LOCALHOST).unwrap()).collect();
        #[cfg(target_os = "linux")]
        assert_eq!(std::collections::HashSet::<u16>::from_iter(more.clone()).len(), more.len());
        assert!(more.iter().all(|port| range().contains(port)));
    }

    #[test]
    fn ports_are_picked_beside_those_for_outgoing_sockets() {
        assert_eq!(parse_outgoing("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(parse_outgoing("9 8"), None);
        assert_eq!(parse_outgoing("32768"), None);
        assert_eq!(beside(32_768..=60_999), 10_000..=32_767);
        assert_eq!(beside(10_500..=30_000), 30_001..=65_535);
        assert_eq!(beside(1_024..=2_000), 10_001..=65_535);
        assert_eq!(beside(1_024..=65_535), 10_000..=65_535);
        assert_eq!(beside(0..=u16::MAX), 10_000..=65_535);
    }
}
