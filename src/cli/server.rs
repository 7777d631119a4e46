//! `understudy server`: the part that owns clients, next to their data.

use super::part::{self, Arguments};
use crate::config::{self, ServerConfig, SourceConfig};
use crate::net::server::EmbeddedServer as Server;
use std::process::ExitCode;

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    part::run(arguments, config::load_server, serve)
}

fn serve(config: ServerConfig) -> Result<(), String> {
    if config.pool.source == SourceConfig::Program {
        let why = "the pool's source is `program`, which is for servers that are built into other \
                   programs: give it a dir, or sample = true";
        return Err(why.to_owned());
    }
    let name = config.name.clone();
    let server = Server::builder().config(config).bind().map_err(|error| error.to_string())?;
    let listen = server.local_address().map_err(|error| error.to_string())?;
    let admin = part::shown(server.admin_address());
    tracing::info!(%name, %listen, admin, "the server is up");
    server.run_until(part::told_to_stop()).map_err(|error| error.to_string())
}
