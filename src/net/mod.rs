//! The shells that carry the machines of [`crate::node`] over QUIC: all sockets, clocks and tasks.

#[cfg(feature = "server")]
pub(crate) mod access_log;
#[cfg(feature = "server")]
pub(crate) mod alarm;
#[cfg(feature = "server")]
pub(crate) mod backplane;
#[cfg(feature = "server")]
mod beside;
#[cfg(feature = "client")]
pub(crate) mod client;
pub(crate) mod clock;
#[cfg(feature = "server")]
pub(crate) mod endpoint;
pub(crate) mod frames;
#[cfg(feature = "server")]
pub(crate) mod inspect;
#[cfg(feature = "server")]
pub(crate) mod membership;
#[cfg(feature = "server")]
pub(crate) mod outbox;
#[cfg(feature = "server")]
pub(crate) mod router;
#[cfg(feature = "server")]
pub(crate) mod server;
#[cfg(feature = "server")]
pub(crate) mod steering;
#[cfg(all(test, feature = "cli"))]
mod tests;
pub(crate) mod tls;
#[cfg(feature = "server")]
pub(crate) mod traffic;
#[cfg(feature = "server")]
mod workers;
