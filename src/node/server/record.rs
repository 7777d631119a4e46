//! What a worker keeps of one client, of another server, and of being back after a pause.

use super::{ClientRole, Link};
use crate::cluster::Choice;
use crate::mirror::Mirror;
use crate::wire::backplane::Forward;
use crate::wire::{Assignment, Epoch, Name, Time};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What a server knows of one client.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) role: ClientRole,
    pub(super) epoch: Epoch,
    /// The other mirror's holder, for a primary.
    pub(super) alternate: Option<Name>,
    pub(super) mirror: Mirror,
    /// Entries sent to the alternate, or received from the primary, since MIRROR_BEGIN.
    pub(super) sequence: u64,
    /// Servers to which a release is owed, kept by the alternate in case it must pay.
    pub(super) former: Vec<Name>,
    /// The router that asked last: it is told of a new alternate.
    pub(super) router: Option<Link>,
    /// Why this alternate.
    pub(super) choice: Option<Arc<Choice>>,
}

impl Record {
    pub(super) fn assignment(&self, own: &Name) -> Assignment {
        let alternate = match self.role {
            ClientRole::Primary => self.alternate.clone(),
            ClientRole::Alternate => Some(own.clone()),
        };
        Assignment { epoch: self.epoch.clone(), alternate }
    }
}

/// Another server, as far as its links say.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) workers: u64,
    pub(super) version: u64,
}

/// The state of being back after a pause.
#[derive(Debug)]
pub(super) struct Return {
    pub(super) round: u64,
    pub(super) since: Time,
    pub(super) repeat_at: Time,
    pub(super) awaited: BTreeSet<(Name, u64)>,
    pub(super) held_back: VecDeque<(Link, Forward)>,
}
