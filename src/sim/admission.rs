//! A router's workers tell each other which clients they have admitted.

use super::cluster::World;
use super::events::Event;
use super::network::{Host, Seat};
use crate::wire::ClientId;
use rand::RngExt;
use std::time::Duration;

impl World {
    /// A worker hears that another one has admitted a client.
    pub(super) fn hand_in_admitted(
        &mut self,
        host: Host,
        worker: usize,
        client: ClientId,
        admission: u64,
    ) {
        if let Host::Router(place) = host {
            self.with_router((place, worker), |machine, now| {
                machine.handle_admitted_elsewhere(now, client, admission);
            });
        }
    }

    /// Tells the router's other workers that a client has a session here now.
    pub(super) fn tell_others(&mut self, (place, own): Seat, client: ClientId, admission: u64) {
        let host = Host::Router(place);
        let life = self.life(host);
        for worker in (0..self.routers[place].workers.len()).filter(|worker| *worker != own) {
            let delay = Duration::from_micros(self.random.random_range(0..2_000));
            self.schedule(delay, Event::Admitted { host, life, worker, client, admission });
        }
    }
}
