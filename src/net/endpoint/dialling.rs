//! Where one worker dials from.

use crate::net::endpoint;
use std::io;
use std::net::SocketAddr;

/// The endpoints from which one worker dials other members: one for each place in their groups.
///
/// Connections to different workers of a member must not come from one port. They go to the same
/// address, so on the way a network card may merge their packets into one, which then reaches only
/// the worker of its first packet; and a hash of the addresses would never spread them.
#[derive(Debug)]
pub(crate) struct DiallingEndpoints {
    local: SocketAddr,
    by_worker: Vec<Option<quinn::Endpoint>>,
}

impl DiallingEndpoints {
    /// None yet. `local` is the address to dial from; its port is left to the system.
    pub(crate) fn new(mut local: SocketAddr) -> Self {
        local.set_port(0);
        Self { local, by_worker: Vec::new() }
    }

    /// The endpoint for connections to a given worker of whatever member, made when it is first
    /// asked for. Call it inside the worker's runtime.
    pub(crate) fn towards(&mut self, worker: u8) -> io::Result<quinn::Endpoint> {
        let at = usize::from(worker);
        if self.by_worker.len() <= at {
            self.by_worker.resize(at + 1, None);
        }
        if let Some(endpoint) = &self.by_worker[at] {
            return Ok(endpoint.clone());
        }
        let endpoint = endpoint::bind(self.local, None)?;
        self.by_worker[at] = Some(endpoint.clone());
        Ok(endpoint)
    }

    /// All that there are, to close them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &quinn::Endpoint> {
        self.by_worker.iter().flatten()
    }
}
