//! What membership says of servers: slow, but certain.

use super::Router;
use super::servers::HealthState;
use crate::wire::{Name, Time};

impl Router {
    /// Membership says that a server is gone: nobody reaches it, or it left. Of one that owes us
    /// nothing on its own links that is not believed.
    pub fn handle_server_gone(&mut self, now: Time, name: &Name) {
        let Some(server) = self.assignments.shared().names.find(name) else {
            return;
        };
        let Some(known) = self.servers.get_mut(server) else {
            return;
        };
        let answers = known.linked && known.state == HealthState::Healthy;
        if answers || known.state == HealthState::Down {
            return;
        }
        known.state = HealthState::Down;
        self.lose_server(now, server);
    }
}
