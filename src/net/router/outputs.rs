//! What the machine wants done.

use super::bodies::Stop;
use super::clients::SessionIo;
use super::http::Taken;
use super::{Shell, server_io};
use crate::node::router::Output;
use crate::wire::session::CloseCode;

impl Shell {
    /// Does it.
    pub(super) fn carry_out(&self, output: Output) {
        match output {
            Output::ToSession { session, frame } => {
                let sessions = self.sessions.borrow();
                let filled = sessions.get(session.0).and_then(|io| io.push_first(&frame));
                self.unflushed.borrow_mut().extend(filled);
            }
            Output::Welcomed { session } => {
                if let Some(io) = self.sessions.borrow().get(session.0) {
                    io.welcome();
                }
            }
            Output::ToLane { session, lane, frame } => {
                let sessions = self.sessions.borrow();
                let filled = sessions.get(session.0).and_then(|io| io.push_lane(lane, &frame));
                self.unflushed.borrow_mut().extend(filled);
            }
            Output::ToServer { server, worker, frame } => {
                let servers = self.servers.borrow();
                if let Some(outbox) = server_io(&servers, server).and_then(|io| io.outbox(worker)) {
                    outbox.push(&frame);
                }
            }
            Output::Admitted { client, admission } => self.tell_others(client, admission),
            Output::Relink { server } => {
                if let Some(io) = server_io(&self.servers.borrow(), server) {
                    io.close(CloseCode::Done, "it has another number of workers");
                }
            }
            Output::CloseSession { session, code, reason } => {
                if let Some(io) = self.sessions.borrow_mut().remove(session.0) {
                    tokio::task::spawn_local(io.close(code, reason));
                }
            }
            Output::SendContent { session, inner_id, server, worker, number } => {
                let servers = self.servers.borrow();
                let bodies = server_io(&servers, server).and_then(|io| io.bodies(worker));
                if let (Some(SessionIo::Http(io, _)), Some(connection)) =
                    (self.sessions.borrow().get(session.0), bodies)
                {
                    io.content_wanted(inner_id, Taken { connection: connection.clone(), number });
                }
            }
            Output::SuspendBody { body } => self.stop_body(body, Stop::Suspend),
            Output::AbandonBody { body } => self.stop_body(body, Stop::Abandon),
        }
    }
}
