//! `understudy router`: the part that clients connect to.

use super::part::{self, Arguments};
use crate::admin::{self, Admin};
use crate::config::{self, RouterConfig};
use crate::net::router::RouterService;
use std::process::ExitCode;

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    part::run(arguments, config::load_router, serve)
}

fn serve(config: RouterConfig) -> Result<(), String> {
    let name = config.name.clone();
    let admin = config.admin.map(Admin::bind).transpose().map_err(|error| error.to_string())?;
    let service = RouterService::bind(config).map_err(|error| error.to_string())?;
    let listen = service.local_address().map_err(|error| error.to_string())?;
    let shown = part::shown(admin.as_ref().map(Admin::address));
    tracing::info!(%name, %listen, admin = shown, "the router is up");
    if let Some(admin) = admin {
        let pages = admin::router_pages(service.inspectors());
        admin.show(pages).map_err(|error| error.to_string())?;
    }
    service.run(async { _ = part::told_to_stop().await }).map_err(|error| error.to_string())
}
