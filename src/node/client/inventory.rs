//! Telling a server that has forgotten it what this client holds.
//!
//! A server that does not know a slot which it should know is cold: it lost the client's mirror, or
//! took the client over without one. Then the client offers, in the background, slot, key and
//! fingerprint of all that it holds; the mirror is warm again, and no item was sent for it. Slots
//! that are being asked for are left out: that request tells the same.

use super::{Client, Output};
use crate::wire::Time;
use crate::wire::lane::{ErrorCode, Inventory, InventoryEntry, Outcome};
use std::time::Duration;

/// A list is begun no more often.
const LEAST_INTERVAL: Duration = Duration::from_secs(2);

/// How far the client is with its list.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The slot to go on with; none when nothing is to be told.
    next: Option<u32>,
    /// The frame that was not answered.
    asked: Option<u64>,
    /// When the list was begun last, in this session.
    begun: Option<Time>,
    /// The session in which nobody wanted to know.
    refused_in: u64,
}

impl Listing {
    /// A server does not know what it should. It is told all, unless that is under way, or was a
    /// moment ago: then this was asked before it was told.
    pub(super) fn want(&mut self, now: Time) {
        let is_open = self.next.is_some() || self.asked.is_some();
        if !is_open && self.begun.is_none_or(|begun| now.since(begun) >= LEAST_INTERVAL) {
            (self.next, self.begun) = (Some(0), Some(now));
        }
    }

    /// The session is gone: who comes next may know it all.
    pub(super) fn forget_session(&mut self) {
        (self.next, self.asked, self.begun) = (None, None, None);
    }

    /// Frames that were not answered.
    pub(super) fn in_flight(&self) -> u64 {
        u64::from(self.asked.is_some())
    }

    pub(super) fn is_asked(&self, id: u64) -> bool {
        self.asked == Some(id)
    }
}

impl Client {
    /// Sends the next part of the list, if there is one and nothing else is to be sent.
    pub(super) fn send_inventory(&mut self) {
        let knows = self.session.knows_batches();
        let refused = self.inventory.refused_in == self.session.number();
        let Some(first) = self.inventory.next.filter(|_| self.inventory.asked.is_none()) else {
            return;
        };
        let Some((_, slots)) = self.session.allowance().filter(|_| knows && !refused) else {
            return;
        };
        let (mut entries, mut next) = (Vec::new(), None);
        for (slot, key, version) in self.cache.idle_items(first) {
            if u64::from(slot) >= slots {
                break;
            }
            if !Inventory::has_room(&entries) {
                next = Some(slot);
                break;
            }
            entries.push(InventoryEntry { slot: slot.into(), key: key.clone(), version });
        }
        self.inventory.next = next;
        if entries.is_empty() {
            return;
        }
        let request_id = self.requests.fresh_id();
        self.inventory.asked = Some(request_id);
        self.statistics.listed_items += entries.len() as u64;
        let frame = Inventory { request_id, entries }.encode();
        self.outputs.push_back(Output::SendLane(frame));
    }

    /// A part of the list was answered. What was not taken is told by the next requests.
    pub(super) fn inventory_reply(&mut self, outcome: &Outcome) {
        self.inventory.asked = None;
        match outcome {
            Outcome::Noted => {}
            Outcome::Error { code: ErrorCode::NotSupported, .. } => {
                self.inventory.refused_in = self.session.number();
            }
            _ => self.inventory.next = None,
        }
    }
}
