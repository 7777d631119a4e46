//! `understudy server`: the part that owns clients, next to their data.

use super::part::{self, Arguments, Told};
use crate::config::{self, ServerConfig, SourceConfig};
use crate::net::server::EmbeddedServer as Server;
use std::process::ExitCode;

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    part::run(arguments, config::load_server, serve)
}

fn serve(config: ServerConfig) -> Result<(), String> {
    if config.pool.source == SourceConfig::Program {
        let why = "the pool's source is `program`, which is for servers that are built into other \
                   programs: give it a dir, an http, or sample = true";
        return Err(why.to_owned());
    }
    let name = config.name.clone();
    let server = Server::builder().config(config).bind().map_err(|error| error.to_string())?;
    let listen = server.local_address().map_err(|error| error.to_string())?;
    let admin = part::shown(server.admin_address());
    tracing::info!(%name, %listen, admin, "the server is up");
    let drainer = server.drainer();
    let stop = async {
        if part::told_to_stop().await == Told::InOrder {
            tokio::select! {
                () = drainer.drain() => {}
                _ = part::told_to_stop() => tracing::info!("told to stop again: at once"),
            }
        }
    };
    server.run_until(stop).map_err(|error| error.to_string())
}
