//! The shells that carry the machines of [`crate::node`] over QUIC: all sockets, clocks and tasks.

pub(crate) mod frames;
pub(crate) mod tls;
