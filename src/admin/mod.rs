//! The admin pages: JSON for people and programs, metrics for Prometheus.
//!
//! They have a thread of their own and ask the worker, so that reading them never holds up a
//! request for longer than it takes to copy a few numbers.

#![forbid(unsafe_code)]

mod members;
mod metrics;
mod router;
mod server;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::io;
use std::net::{SocketAddr, TcpListener};

pub(crate) use router::pages as router_pages;
pub(crate) use server::pages as server_pages;

/// Why there are no admin pages.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("cannot listen on {address} (TCP) for the admin pages: {error}")]
    Bind { address: SocketAddr, error: io::Error },
    #[error("cannot start the thread of the admin pages: {0}")]
    Thread(io::Error),
}

/// A bound address, before there are pages to show.
pub(crate) struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    pub(crate) fn bind(address: SocketAddr) -> Result<Self, AdminError> {
        let bind = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bind().map_err(|error| AdminError::Bind { address, error })
    }

    /// The address, with the port that the system chose if none was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows `pages` until the process ends.
    pub(crate) fn show(self, pages: axum::Router) -> Result<(), AdminError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(AdminError::Thread)?;
        let serve = move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(self.listener)?;
                axum::serve(listener, pages).await
            })
        };
        let thread = std::thread::Builder::new().name("admin".to_owned());
        let log_end = move || {
            if let Err(error) = serve() {
                tracing::error!(%error, "the admin pages ended");
            }
        };
        thread.spawn(log_end).map_err(AdminError::Thread)?;
        Ok(())
    }
}

/// Shows what the worker answered, or says that it did not.
fn page<T: serde::Serialize>(answer: Option<T>) -> Response {
    match answer {
        Some(answer) => Json(answer).into_response(),
        None => failure(StatusCode::SERVICE_UNAVAILABLE, "the worker did not answer"),
    }
}

fn failure(code: StatusCode, text: &str) -> Response {
    (code, Json(serde_json::json!({ "error": text }))).into_response()
}

async fn nowhere() -> Response {
    failure(
        StatusCode::NOT_FOUND,
        "there is no such page: see /ready, /status, /clients/{id}, /metrics",
    )
}
