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
    /// Those of them that the alternate has said it has.
    pub(super) acked: u64,
    /// The slot from which on the mirror is still to be sent to the alternate.
    pub(super) rebuild: Option<u64>,
    /// Servers to which a release is owed, kept by the alternate in case it must pay.
    pub(super) former: Vec<Name>,
    /// The router that asked last: it is told of a new alternate.
    pub(super) router: Option<Link>,
    /// Why this alternate.
    pub(super) choice: Option<Arc<Choice>>,
    /// When the client last asked here; of an alternate, when its primary was last known to live.
    pub(super) asked: Time,
    /// Which run of the primary made this server the alternate, as far as is known.
    pub(super) run: Option<u64>,
    /// The second in which it is looked at, whether it has been idle for too long.
    pub(super) filed: u64,
}

impl Record {
    /// A record without a mirror, and without the other server.
    pub(super) fn new(role: ClientRole, epoch: Epoch, former: Vec<Name>, now: Time) -> Self {
        Self {
            role,
            epoch,
            alternate: None,
            mirror: Mirror::default(),
            sequence: 0,
            acked: 0,
            rebuild: None,
            former,
            router: None,
            choice: None,
            asked: now,
            run: None,
            filed: 0,
        }
    }

    /// The client asked, by way of a router.
    pub(super) fn note_request(&mut self, now: Time, link: &Link) {
        self.asked = now;
        if self.router.as_ref() != Some(link) {
            self.router = Some(link.clone());
        }
    }

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
    /// Requests, and when each came.
    pub(super) held_back: VecDeque<(Time, Link, Forward)>,
}
