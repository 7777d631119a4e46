//! The front for clients that speak HTTP: HTTP/3 on the port of the native protocol, HTTP/2 and
//! HTTP/1.1 on the same port of TCP.
//!
//! Each connection is a session of the router's machine (`client`, `io`), each request one frame
//! (`fields`, `content`) and each answer another (`answer`, `finish`), so that assignment, takeover
//! and drain are those of native clients. `http3` is all that is about HTTP/3; `cookie` is how a
//! client is known again.

mod answer;
mod client;
mod content;
mod cookie;
mod fields;
mod finish;
mod http3;
mod io;
mod logged;
mod tcp;
mod within;

pub(super) use cookie::NAME as COOKIE;
pub(super) use http3::{H3, is_http3, serve};
pub(super) use io::{Feed, HttpIo, Taken};
pub(super) use tcp::{ALPNS, accept as accept_tcp};
