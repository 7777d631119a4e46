//! A server with its source and its admin pages, as a program builds and runs one.

use super::{Drainer, ServerService};
use crate::admin::{self, Admin, AdminError};
use crate::config::{self, ConfigErrors, ServerConfig, SourceConfig};
use crate::net::router::StartError;
use crate::source::{
    Directory, DirectoryOptions, OpenError, Origin, OriginOptions, Sample, SharedSource, Source,
};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// Why a server could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The configuration file is wrong; every problem is listed.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// There is neither a configuration nor a configuration file.
    #[error("the server has no configuration: call config_file or config")]
    NoConfig,
    /// The configuration leaves the source to the program, and the program gave none.
    #[error("the pool's source is left to the program, and none was given: call source")]
    NoSource,
    /// The source's directory cannot be opened.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// An address, a certificate, or the event loop.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The admin pages have no place.
    #[error("{0}")]
    Admin(String),
}

impl From<AdminError> for BuildError {
    fn from(error: AdminError) -> Self {
        Self::Admin(error.to_string())
    }
}

/// Collects what a [`Server`] needs. See [`Server::builder`].
#[derive(Default)]
pub struct Builder {
    config: Option<ServerConfig>,
    source: Option<SharedSource>,
}

/// A server in this process, bound to its addresses.
///
/// ```no_run
/// use understudy::server::Server;
/// use understudy::source::Sample;
///
/// let server = Server::builder().config_file("server.toml")?.source(Sample::new()).bind()?;
/// server.run_until(std::future::pending())?;
/// # Ok::<(), understudy::server::BuildError>(())
/// ```
pub struct Server {
    service: ServerService,
    admin: Option<SocketAddr>,
}

impl Builder {
    /// Reads the configuration from a TOML file.
    pub fn config_file(mut self, path: impl AsRef<Path>) -> Result<Self, BuildError> {
        self.config = Some(config::load_server(path.as_ref())?);
        Ok(self)
    }

    /// Takes a configuration.
    pub fn config(mut self, config: ServerConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Serves items from your own source, whatever the configuration names.
    pub fn source(mut self, source: impl Source) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Binds the addresses, reads the certificates, opens the source and shows the admin pages.
    pub fn bind(self) -> Result<Server, BuildError> {
        let config = self.config.ok_or(BuildError::NoConfig)?;
        let source = match self.source {
            Some(source) => source,
            None => configured_source(&config)?,
        };
        let admin = config.admin.map(Admin::bind).transpose()?;
        let address = admin.as_ref().map(Admin::address);
        let shown = address.map_or_else(String::new, |address| address.to_string());
        let service = ServerService::bind(config, source, shown)?;
        if let Some(admin) = admin {
            admin.show(admin::server_pages(service.inspectors()))?;
        }
        Ok(Server { service, admin: address })
    }
}

impl Server {
    /// Starts to build a server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where routers and other servers reach it (UDP).
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.service.local_address()
    }

    /// Where its admin pages are (TCP).
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The way to hand all clients over to other servers before this one stops: have `stop` of
    /// [`run_until`](Self::run_until) wait for it.
    pub fn drainer(&self) -> Drainer {
        self.service.drainer()
    }

    /// Serves, on threads of its own, until `stop` is ready; this thread waits.
    ///
    /// # Errors
    /// A thread or an event loop could not be made, or one of them failed.
    pub fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), StartError> {
        self.service.run(stop)
    }
}

fn configured_source(config: &ServerConfig) -> Result<SharedSource, BuildError> {
    Ok(match &config.pool.source {
        SourceConfig::Directory { dir, freshness } => {
            let options = DirectoryOptions {
                max_item: config.max_item,
                freshness: *freshness,
                ..Default::default()
            };
            Arc::new(Directory::open(dir, options)?)
        }
        // For how long it may fail is for those who keep its answers.
        SourceConfig::Http { url, timeout, .. } => {
            let options = OriginOptions {
                timeout: *timeout,
                max_item: config.max_item,
                ..OriginOptions::new(url.clone())
            };
            Arc::new(Origin::new(options))
        }
        SourceConfig::Sample => Arc::new(Sample::new()),
        SourceConfig::Program => return Err(BuildError::NoSource),
    })
}
