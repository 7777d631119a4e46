//! Which processes a cluster has, where they are reached, and how they are started.

use super::child::Launch;
use super::files::Place;
use super::ports::{Reservations, Transport};
use super::{Arguments, Role};
use crate::cli::report::Failure;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// One process of the cluster: its name, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Part {
    pub(in crate::cli) role: Role,
    pub(in crate::cli) name: String,
    /// Of a router, where clients come in; of a server, its backplane. UDP.
    pub(in crate::cli) address: SocketAddr,
    /// HTTP.
    pub(in crate::cli) admin: SocketAddr,
}

/// The routers and the servers.
#[derive(Debug)]
pub(super) struct Layout {
    /// At least one. The first is called `router`, the others `router-2` and so on.
    pub(super) routers: Vec<Part>,
    pub(super) servers: Vec<Part>,
}

impl Layout {
    /// Checks or picks all addresses. They are kept as long as the cluster runs.
    pub(super) fn reserve(
        arguments: &Arguments,
        reservations: &mut Reservations,
    ) -> Result<Self, Failure> {
        let mut address = |wanted: SocketAddr, transport, option| match wanted.port() {
            0 => reservations.pick(wanted.ip()).map(|port| SocketAddr::new(wanted.ip(), port)),
            _ => reservations.take(wanted, transport, option).map(|()| wanted),
        };
        let listen = address(arguments.listen, Transport::Udp, "--listen")?;
        if arguments.listen.port() != 0 {
            // HTTP/2 and HTTP/1.1 come by TCP to the port of the same number.
            address(listen, Transport::Tcp, "--listen")?;
        }
        let first = Part {
            role: Role::Router,
            name: "router".to_owned(),
            address: listen,
            admin: address(arguments.admin, Transport::Tcp, "--admin")?,
        };
        // One number for both: UDP for QUIC, TCP for the admin pages of a server, which stay where
        // they can be read from while it is cut off. A router's TCP port is for clients.
        let mut picked = |role: Role, number: u8, ip: IpAddr| {
            let port = reservations.pick(ip)?;
            let is_apart = arguments.apart && role == Role::Server;
            let own = if is_apart { Ipv4Addr::new(127, 0, 1, number).into() } else { ip };
            let name = format!("{}-{number}", role.as_str());
            let for_admin = if role == Role::Router { reservations.pick(ip)? } else { port };
            let (address, admin) = (SocketAddr::new(own, port), SocketAddr::new(ip, for_admin));
            Ok(Part { role, name, address, admin })
        };
        let mut routers = vec![first];
        for number in 2..=arguments.routers {
            routers.push(picked(Role::Router, number, arguments.listen.ip())?);
        }
        let server = |number| picked(Role::Server, number, Ipv4Addr::LOCALHOST.into());
        let servers = (1..=arguments.servers).map(server).collect::<Result<_, Failure>>()?;
        Ok(Self { routers, servers })
    }

    /// The routers and the servers, in this order.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.routers.iter().chain(&self.servers)
    }
}

/// What is to be started: this program, once for each part.
pub(super) fn launches(layout: &Layout, place: &Place, program: &Path, log: &str) -> Vec<Launch> {
    let launch = |part: &Part| {
        let role = part.role.as_str();
        let mut arguments: Vec<OsString> = [role, "--log", log, "--config"].map(Into::into).into();
        arguments.push(place.config(&part.name).into());
        arguments.extend(["--parent".into(), std::process::id().to_string().into()]);
        Launch { part: part.clone(), program: program.to_owned(), arguments }
    };
    layout.parts().map(launch).collect()
}
