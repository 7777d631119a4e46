//! Why a get brought no item, or a call no answer.

use crate::wire::DecodeError;
use crate::wire::lane::ErrorCode;
use std::time::Duration;

/// Why a get brought no item, or a call no answer. The cache is as it was, but that an item which
/// does not exist any more is dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source has no such item.
    #[error("there is no such item")]
    NotFound,
    /// The pool is at its capacity.
    #[error("the pool is at its capacity; try again in {} ms", retry_after.as_millis())]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The server could not answer, and says why.
    #[error("{}", failed_words(*code, text))]
    Failed {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        text: String,
    },
    /// No answer came in time.
    #[error("no answer in {} ms{}", after.as_millis(), trouble_words(trouble.as_deref()))]
    TimedOut {
        /// How long it was waited for.
        after: Duration,
        /// Why there is no session, if there is none.
        trouble: Option<String>,
    },
    /// Answer after answer meant other bytes than it brought: the server's or the router's fault.
    #[error(
        "{rounds} answers in a row did not match the tag of their bytes; nothing is handed out"
    )]
    Unverified {
        /// How many.
        rounds: u32,
    },
    /// The body broke off again and again.
    #[error("the body broke off {times} times")]
    BodyLost {
        /// How often.
        times: u32,
    },
    /// The item has more bytes than the client wants to hold.
    #[error("the item has {length} bytes, above this client's limit of {limit}")]
    TooLarge {
        /// What it has.
        length: u64,
        /// What is allowed.
        limit: u64,
    },
    /// More gets are waiting than the client allows. The caller's doing: wait for some first.
    #[error("{limit} gets are waiting already")]
    TooManyWaiting {
        /// How many may.
        limit: usize,
    },
    /// A call that is not idempotent was sent, and no answer came: its server or router was lost,
    /// or its time was up. It was executed once, or not at all, and is not sent again.
    #[error("the call was sent and its answer was lost: it was executed once, or not at all")]
    FateUnknown,
    /// What goes along with a call has too many bytes. Nothing was sent.
    #[error(
        "the body of the call has {length} bytes, and a call carries at most {limit}: put more \
         where the source can get it, and name it in the call"
    )]
    CallTooLarge {
        /// What it has.
        length: u64,
        /// What a call carries.
        limit: u64,
    },
    /// The router is older than calls. Nothing was sent.
    #[error("the router speaks version {version} of the protocol, which has no calls")]
    NoCalls {
        /// What it speaks.
        version: u64,
    },
    /// A newer session took this client's token: two processes use one cache.
    #[error("a newer session with the same token took over: another process uses this cache")]
    Superseded,
    /// No router takes this client: no common version of the protocol, or no such pool. The
    /// configuration's fault.
    #[error("not welcome: {reason}")]
    NotWelcome {
        /// What the router says.
        reason: String,
    },
    /// What was asked for is not a key.
    #[error("{key:?} is not a key: {}", key_words(why))]
    InvalidKey {
        /// What was asked for.
        key: String,
        /// What is wrong with it.
        why: DecodeError,
    },
    /// The client was closed before the answer came.
    #[error("the client was closed")]
    Closed,
}

fn failed_words(code: ErrorCode, text: &str) -> String {
    let words = match code {
        ErrorCode::Malformed => "the request was not understood",
        ErrorCode::NotSupported => "not supported",
        ErrorCode::Refused => "refused",
        ErrorCode::Source => "the source failed",
        ErrorCode::Unavailable => "no server could answer",
    };
    match text {
        "" => words.to_owned(),
        text if text.starts_with(words) => text.to_owned(),
        text => format!("{words}: {text}"),
    }
}

fn key_words(why: &DecodeError) -> String {
    match why {
        DecodeError::Invalid { why, .. } => (*why).to_owned(),
        other => other.to_string(),
    }
}

fn trouble_words(trouble: Option<&str>) -> String {
    trouble.map_or_else(String::new, |trouble| format!("; {trouble}"))
}
