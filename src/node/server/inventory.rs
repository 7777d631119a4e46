//! What a client says it holds, when its mirror is gone.

use super::Server;
use crate::node::Fault;
use crate::wire::ClientId;
use crate::wire::backplane::{Forward, How};
use crate::wire::lane::{ErrorCode, Inventory, Outcome};

impl Server {
    /// Takes a client's word for what is in its slots. If it lies, it misleads nobody but itself:
    /// what it is told to use it checks.
    pub(super) fn serve_inventory(&mut self, forward: &Forward) -> Outcome {
        let malformed = |text: String| Outcome::error(ErrorCode::Malformed, text);
        let inventory = match Inventory::decode(forward.inner.payload()) {
            Ok(inventory) => inventory,
            Err(error) => return malformed(error.to_string()),
        };
        let limit = self.config.slots;
        if let Some(entry) = inventory.entries.iter().find(|entry| entry.slot >= limit) {
            let slot = entry.slot;
            return malformed(format!("slot {slot} is beyond the limit of {limit} slots"));
        }
        if forward.how != How::Standby {
            self.take_inventory(&forward.client, &inventory);
        }
        Outcome::Noted
    }

    fn take_inventory(&mut self, client: &ClientId, inventory: &Inventory) {
        for entry in &inventory.entries {
            let Some(record) = self.clients.get_mut(client) else {
                return;
            };
            let held = self.store.held(&record.mirror, entry.slot);
            let known = held
                .is_some_and(|held| held.key == &entry.key && held.version == Some(&entry.version));
            if !known {
                self.counters.listed_entries += 1;
                let (slot, key) = (entry.slot, &entry.key);
                self.store.set(&mut record.mirror, slot, key, Some(&entry.version));
                if !self.config.planted.is(Fault::UntoldInventory) {
                    self.replicate(client, slot, key, Some(&entry.version));
                }
            }
        }
    }
}
