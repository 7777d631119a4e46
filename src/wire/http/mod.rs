//! HTTP requests and their answers, on their way between a router's HTTP front and a server.
//!
//! They are the inner frames of FORWARD and REPLY, as GET and FULL are for native clients, and
//! never cross a lane: a router makes them, of what came over HTTP/3, HTTP/2 or HTTP/1.1.

mod fields;
mod pieces;
mod reply;
mod request;

pub use fields::{
    Field, Fields, FieldsBuilder, MAX_FIELD_NAME, MAX_FIELDS, MAX_FIELDS_BYTES, is_token_byte,
};
pub use pieces::{Piece, PieceReader, content_end, piece_start};
pub use reply::{HttpAnswer, HttpBody, http_status};
pub use request::{
    HttpRequest, MAX_AUTHORITY, MAX_METHOD, MAX_TARGET, RequestBody, RequestTarget, Scheme,
};

/// The first version of the protocol that has them.
pub const HTTP_VERSION: u64 = 4;
