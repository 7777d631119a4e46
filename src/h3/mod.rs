//! HTTP/3 as bytes: frames, field sections, and the rules of its streams (RFC 9114, RFC 9204).
//!
//! Nothing here knows of sockets, clocks or tasks: bytes of a stream go in as they come, and events
//! or bytes to be sent come out. Field sections refer to the static table of QPACK only, because a
//! dynamic one would make requests wait for other streams, and remember something for each client.
//!
//! - [`frames`] cuts a request's stream into field sections and content, [`message`],
//!   [`request`] and [`response`] make heads of the sections, and bytes of heads.
//! - [`control`] reads the streams that go one way, and writes ours; [`settings`] is what stands
//!   first on them.
//! - [`qpack`], [`static_table`], [`huffman`] and [`integer`] are the compression of field
//!   sections.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod control;
pub mod error;
pub mod frames;
#[doc(hidden)]
pub mod fuzzing;
pub mod huffman;
pub mod integer;
pub mod message;
mod partial;
mod peer;
pub mod qpack;
pub mod request;
pub mod response;
pub mod settings;
pub mod static_table;

pub use control::{ControlEvent, Peer, Role, UniReader, encode_control_stream, encode_goaway};
pub use error::{Code, Error, Scope};
pub use frames::{ContentLength, Event, RequestReader};
pub use message::{MessageError, decode_trailers, encode_data_header, encode_trailers};
pub use qpack::{Limits, MAX_FIELD_LINES, MAX_FIELD_SECTION_SIZE, Strings};
pub use request::RequestHead;
pub use response::{ResponseHead, encode_response_head};
pub use settings::Settings;
