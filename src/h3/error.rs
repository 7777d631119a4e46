//! The error codes of HTTP/3 and QPACK, and what they end: a stream, or the connection.

use std::fmt;

/// Why a stream or a connection is ended: RFC 9114, section 8.1, and RFC 9204, section 6. The
/// numbers are the codes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Code {
    /// There is no error: the connection or stream is simply closed.
    NoError = 0x100,
    /// The peer breaks the protocol in a way that no other code is for.
    GeneralProtocolError = 0x101,
    /// The fault is on our side.
    InternalError = 0x102,
    /// The peer opened a stream that it may not open.
    StreamCreationError = 0x103,
    /// A stream that the connection needs was closed or reset.
    ClosedCriticalStream = 0x104,
    /// A frame came where it is not allowed.
    FrameUnexpected = 0x105,
    /// A frame has the wrong length or layout.
    FrameError = 0x106,
    /// The peer does what makes much work for nothing.
    ExcessiveLoad = 0x107,
    /// An identifier was used wrongly: too large, too small, or never given.
    IdError = 0x108,
    /// SETTINGS has contents that it may not have.
    SettingsError = 0x109,
    /// The control stream did not begin with SETTINGS.
    MissingSettings = 0x10a,
    /// A server refused a request without working on it.
    RequestRejected = 0x10b,
    /// The request or its answer is no longer wanted.
    RequestCancelled = 0x10c,
    /// The stream ended before the request was complete.
    RequestIncomplete = 0x10d,
    /// A message is malformed.
    MessageError = 0x10e,
    /// The connection made for a CONNECT was reset.
    ConnectError = 0x10f,
    /// The request cannot be served over HTTP/3: the client should use HTTP/1.1.
    VersionFallback = 0x110,
    /// A field section could not be decoded.
    QpackDecompressionFailed = 0x200,
    /// The peer's encoder stream says what it may not say.
    QpackEncoderStreamError = 0x201,
    /// The peer's decoder stream says what it may not say.
    QpackDecoderStreamError = 0x202,
}

impl Code {
    /// The number that goes over the wire.
    pub const fn value(self) -> u64 {
        self as u64
    }
}

/// What an error ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The stream on which it happened; all others go on.
    Stream,
    /// The whole connection.
    Connection,
}

/// What the peer did wrong. It is always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What must be ended.
    pub scope: Scope,
    /// The code to end it with.
    pub code: Code,
    /// The rule that was broken.
    pub why: &'static str,
}

impl Error {
    /// An error that ends its stream.
    pub const fn stream(code: Code, why: &'static str) -> Self {
        Self { scope: Scope::Stream, code, why }
    }

    /// An error that ends the connection.
    pub const fn connection(code: Code, why: &'static str) -> Self {
        Self { scope: Scope::Connection, code, why }
    }

    /// The status with which a server may answer the request instead of resetting its stream, as
    /// long as nothing was answered yet. `None` where there is no such answer.
    pub const fn status(&self) -> Option<u16> {
        match (self.scope, self.code) {
            (Scope::Stream, Code::MessageError) => Some(400),
            (Scope::Stream, Code::ExcessiveLoad) => Some(431),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({:#x}): {}", self.code, self.code.value(), self.why)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_documents() {
        assert_eq!(Code::NoError.value(), 0x0100);
        assert_eq!(Code::MessageError.value(), 0x010e);
        assert_eq!(Code::VersionFallback.value(), 0x0110);
        assert_eq!(Code::QpackDecoderStreamError.value(), 0x0202);
    }

    #[test]
    fn only_what_ends_a_stream_can_be_answered() {
        assert_eq!(Error::stream(Code::MessageError, "").status(), Some(400));
        assert_eq!(Error::stream(Code::ExcessiveLoad, "").status(), Some(431));
        assert_eq!(Error::stream(Code::RequestIncomplete, "").status(), None);
        assert_eq!(Error::connection(Code::ExcessiveLoad, "").status(), None);
        let error = Error::connection(Code::FrameError, "it is cut short");
        assert_eq!(error.to_string(), "FrameError (0x106): it is cut short");
    }
}
