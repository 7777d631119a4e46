//! What a client says it holds, when its mirror is gone.

use super::Server;
use super::serve::malformed;
use crate::node::Fault;
use crate::wire::ClientId;
use crate::wire::backplane::{Forward, How};
use crate::wire::lane::{Inventory, Outcome};

impl Server {
    /// Takes a client's word for what is in its slots. If it lies, it misleads nobody but itself:
    /// what it is told to use it checks.
    pub(super) fn serve_inventory(&mut self, forward: &Forward) -> Outcome {
        match self.read_inventory(forward) {
            Ok(inventory) if forward.how != How::Standby => {
                self.take_inventory(&forward.client, &inventory);
                Outcome::Noted
            }
            Ok(_) => Outcome::Noted,
            Err(outcome) => outcome,
        }
    }

    fn read_inventory(&self, forward: &Forward) -> Result<Inventory, Outcome> {
        let inventory = Inventory::decode(forward.inner.payload()).map_err(malformed)?;
        inventory.entries.iter().try_for_each(|entry| self.check_slot(entry.slot))?;
        Ok(inventory)
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
