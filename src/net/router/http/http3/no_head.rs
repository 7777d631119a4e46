//! Requests whose heads cannot be read.

use crate::h3::{Error, MessageError};

/// Why no head of a request is there that could be answered.
pub(super) enum NoHead {
    /// The client is told, by this status.
    Refused { status: u16, why: String },
    /// The stream, or more, has ended.
    Broken(Error),
}

impl From<Error> for NoHead {
    fn from(error: Error) -> Self {
        match error.status() {
            Some(status) => Self::Refused { status, why: error.why.to_owned() },
            None => Self::Broken(error),
        }
    }
}

impl From<MessageError> for NoHead {
    fn from(error: MessageError) -> Self {
        match error.status() {
            Some(status) => Self::Refused { status, why: error.to_string() },
            None => Self::Broken(error.into()),
        }
    }
}
