//! Whom the commands that are clients ask, and how: what `get` and `call` have in common.

use super::report::Failure;
use super::target::{one_name, router};
use crate::net::client::{CacheConfig, ClientConfig, ConnectError, Roots};
use crate::wire::Name;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The routers, and what is to be known of them.
#[derive(clap::Args)]
pub(super) struct Connection {
    /// A router, by address or name; 4433 is the port that is asked where none is named. With
    /// several, the next one is asked where one fails.
    #[arg(long = "router", value_name = "ADDR", default_value = "127.0.0.1:4433")]
    routers: Vec<String>,
    /// The CA that signed the routers' certificates (PEM). Needed for routers beyond this machine;
    /// on it the bundled one is trusted.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The name in the routers' certificates, where it is not the one they are called by.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// The pool to ask; the router's first where none is named.
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Keeps items and identity in this directory, which is made if need be.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

impl Connection {
    /// Checks the arguments, and looks up the routers.
    pub(super) fn config(self) -> Result<ClientConfig, Failure> {
        let mut routers = Vec::new();
        let mut names = Vec::new();
        for text in &self.routers {
            let (addresses, name) = router(text)?;
            routers.extend(addresses);
            names.push(name);
        }
        let mut config = ClientConfig::new(routers);
        config.server_name = match self.server_name {
            Some(name) => name,
            None => one_name(names)?,
        };
        config.roots = roots(self.ca.as_deref(), &config.routers)?;
        let pool = self.pool.map(|pool| {
            Name::new(&pool).map_err(|why| Failure::Usage(format!("--pool {pool:?}: {why}")))
        });
        config.pool = pool.transpose()?;
        if let Some(directory) = self.cache {
            config.cache = CacheConfig::directory(directory);
        }
        Ok(config)
    }
}

fn roots(ca: Option<&Path>, routers: &[SocketAddr]) -> Result<Roots, Failure> {
    let beyond = routers.iter().find(|router| !router.ip().is_loopback());
    match (ca, beyond) {
        (Some(path), _) => Ok(Roots::File(path.to_owned())),
        (None, None) => Ok(Roots::Bundled),
        (None, Some(router)) => {
            let text = format!(
                "{router} is beyond this machine: say by --ca FILE which CA signed its certificate \
                 (the bundled one proves nothing there)"
            );
            Err(Failure::Usage(text))
        }
    }
}

/// Why there is no client, with what to do about it.
pub(super) fn unreachable(error: ConnectError) -> Failure {
    let text = error.to_string();
    match error {
        ConnectError::Config { .. } => Failure::Usage(text),
        ConnectError::Unreachable { .. } if text.ends_with("nobody listens there") => {
            Failure::Failed(format!("{text}; is it running? 'understudy up' starts one here"))
        }
        _ => Failure::Failed(text),
    }
}
