//! What a router shows of itself.

use super::{HealthState, Router, Title};
use crate::wire::backplane::{Status, UseCachedBy};
use crate::wire::{Assignment, ClientId, FrameType, Name};

/// Replies that went to clients, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyCounters {
    /// USE_CACHED.
    pub use_cached: u64,
    /// FULL.
    pub full: u64,
    /// DELTA.
    pub delta: u64,
    /// NOT_FOUND.
    pub not_found: u64,
    /// BUSY.
    pub busy: u64,
    /// ERROR and FATE_UNKNOWN.
    pub error: u64,
    /// UNKNOWN_SLOT.
    pub unknown_slot: u64,
    /// USE_CACHED because of the mirror alone.
    pub by_mirror: u64,
    /// USE_CACHED because of the client's CRC.
    pub by_crc: u64,
    /// USE_CACHED because of the client's digest.
    pub by_strong: u64,
}

impl ReplyCounters {
    pub(super) fn count(&mut self, kind: FrameType) {
        let counter = match kind {
            FrameType::UseCached => &mut self.use_cached,
            FrameType::Full => &mut self.full,
            FrameType::Delta => &mut self.delta,
            FrameType::NotFound => &mut self.not_found,
            FrameType::Busy => &mut self.busy,
            FrameType::UnknownSlot => &mut self.unknown_slot,
            FrameType::Error | FrameType::FateUnknown => &mut self.error,
            _ => return,
        };
        *counter += 1;
    }

    pub(super) fn count_use_cached(&mut self, by: Option<UseCachedBy>) {
        match by {
            Some(UseCachedBy::Mirror) => self.by_mirror += 1,
            Some(UseCachedBy::Crc) => self.by_crc += 1,
            Some(UseCachedBy::Strong) => self.by_strong += 1,
            None => {}
        }
    }
}

/// A server, as a router sees it.
#[derive(Clone, Debug)]
pub struct ServerRow {
    /// Which.
    pub name: Name,
    /// What the router thinks of it.
    pub health: HealthState,
    /// Its newest status.
    pub status: Option<Status>,
}

/// A router's numbers.
#[derive(Clone, Debug)]
pub struct RouterView {
    /// All servers it knows, in order.
    pub servers: Vec<ServerRow>,
    /// Clients in its table.
    pub clients: usize,
    /// Clients that are connected.
    pub sessions: usize,
    /// Requests that are not answered yet.
    pub requests: usize,
    /// Takeovers it asked for.
    pub takeovers: u64,
    /// Replies that went to clients.
    pub replies: ReplyCounters,
}

impl Router {
    /// Its numbers now.
    pub fn view(&self) -> RouterView {
        let row = |(name, health): (&Name, &super::Health)| ServerRow {
            name: name.clone(),
            health: health.state,
            status: self.board.member(name).and_then(|member| member.status.clone()),
        };
        RouterView {
            servers: self.health.iter().map(row).collect(),
            clients: self.assignments.len(),
            sessions: self.session_of.len(),
            requests: self.requests.len(),
            takeovers: self.takeovers,
            replies: self.replies,
        }
    }

    /// Whether a client that comes now would be served.
    pub fn is_ready(&self) -> bool {
        self.board.members().any(|(_, member)| member.is_ready())
    }

    /// Who services a client, as far as this router knows.
    pub fn assignment(&self, client: &ClientId) -> Option<(Assignment, Title)> {
        let assigned = self.assignments.find(client)?;
        Some((assigned.assignment, assigned.title))
    }
}
