//! Where items come from: a directory, an HTTP origin, the built-in sample, or your own [`Source`].
#![forbid(unsafe_code)]
// A shell: the clock, files and locks that the pure core must not touch are what it is for.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[cfg(unix)]
mod directory;
mod exchange;
mod origin;
mod sample;

use crate::wire::{HeaderBlock, Key};
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use crate::config::{OriginUrl, OriginUrlError};
pub use crate::mirror::{Freshness, Known, Lease, Version};
pub use crate::node::server::{CallRequest, CallResponse};
#[cfg(unix)]
pub use directory::{Directory, DirectoryOptions, OpenError};
pub use exchange::{
    BodyPieces, ExchangeAnswer, ExchangeError, ExchangeRequest, OutgoingBody, Piece, WholeBody,
};
pub use origin::{Origin, OriginOptions};
pub use sample::Sample;

/// Items by key. Asked for every request (freshness `always`), unless it says with an answer that
/// this holds for longer, so that what a client is told is what the source holds now.
///
/// A server owns its source and asks it from its workers: neither `retrieve` nor `call` may block
/// the thread.
pub trait Source: Send + Sync + 'static {
    /// Retrieves the item that `key` names.
    ///
    /// `known` is the version that the server knows already, with or without its bytes: a source
    /// that can tell that it is still the current one, by its [`Known::stamp`] or otherwise,
    /// answers [`Retrieved::Unchanged`] and reads nothing.
    ///
    /// `Ok(retrieved.into())` is an answer for this moment: the next request asks again. A source
    /// that knows for how long it holds says so with [`Retrieved::lasting`].
    fn retrieve(
        &self,
        key: &Key,
        known: Option<&Known>,
    ) -> impl Future<Output = Result<Answer, SourceError>> + Send;

    /// Does what a client wants done, and answers.
    ///
    /// A call that is not idempotent comes at most once, whatever breaks: to one source of the
    /// pool, and never again. An idempotent one may come again, also while it is being executed,
    /// and also to another server's source. Answers are neither mirrored nor cached. A client that
    /// gave up meanwhile is no reason to stop: this future is run to its end.
    ///
    /// Unless you say otherwise, calls are refused.
    fn call(
        &self,
        request: CallRequest,
    ) -> impl Future<Output = Result<CallResponse, SourceError>> + Send {
        let _ = request;
        async { Err(SourceError::Refused("this source takes no calls".to_owned())) }
    }

    /// Whether HTTP requests are passed on to it by [`exchange`](Self::exchange): all those that
    /// cannot be answered from what is known.
    fn is_http(&self) -> bool {
        false
    }

    /// Does what an HTTP request asks for, of whatever method. The answer is ready with its head;
    /// its content follows while that of the request may still be coming.
    ///
    /// A request that is not idempotent comes at most once. Dropping the future, or the content of
    /// the answer before its end, gives the request up.
    ///
    /// Unless you say otherwise, requests are refused.
    fn exchange(
        &self,
        request: ExchangeRequest,
    ) -> impl Future<Output = Result<ExchangeAnswer, ExchangeError>> + Send {
        let _ = request;
        async { Err(ExchangeError::Refused("this source takes no HTTP requests".to_owned())) }
    }
}

/// What a source answers: what it has, and for how long that holds.
pub struct Answer {
    /// What it has.
    pub retrieved: Retrieved,
    /// For how long a version, or that it is unchanged, may be said again without asking. What is
    /// not kept, unmirrored and missing items, is asked for every time, whatever stands here.
    pub freshness: Freshness,
}

impl From<Retrieved> for Answer {
    /// An answer for this moment.
    fn from(retrieved: Retrieved) -> Self {
        retrieved.lasting(Freshness::default())
    }
}

/// What a source says of a key.
pub enum Retrieved {
    /// The known version is still the current one. Only when one was given.
    Unchanged,
    /// The current version.
    Version(Version),
    /// The current version, too large to be kept: it is passed on piece by piece, not mirrored.
    Unmirrored(Unmirrored),
    /// There is no such item.
    NotFound,
}

impl Retrieved {
    /// The answer that this holds for so long.
    pub fn lasting(self, freshness: Freshness) -> Answer {
        Answer { retrieved: self, freshness }
    }
}

/// An item that is passed on as it is read.
pub struct Unmirrored {
    /// Its headers.
    pub headers: HeaderBlock,
    /// How many bytes it has.
    pub length: u64,
    /// Its bytes.
    pub body: Box<dyn BodyReader>,
}

/// Reads the bytes of an item from first to last.
pub trait BodyReader: Send + 'static {
    /// The next piece, of at most 256 KiB; empty at the end. Fails where the item changed while it
    /// was read, so that no mixture of two versions is taken for one.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Bytes, SourceError>> + Send + '_>>;
}

/// Why a source could not answer. It reaches the client as an ERROR frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The key, or what it names, may not be read or called. The client's fault.
    #[error("refused: {0}")]
    Refused(String),
    /// The source failed. Not the client's fault; asking again may help. A call may have been
    /// executed in part: say so where it matters.
    #[error("the source failed: {0}")]
    Failed(String),
}

/// A [`Source`] of any type, as servers hold it.
pub type SharedSource = Arc<dyn ErasedSource>;

/// What a [`Source`] looks like without its type. Implemented for every source.
pub trait ErasedSource: Send + Sync + 'static {
    /// As [`Source::retrieve`].
    fn retrieve<'a>(
        &'a self,
        key: &'a Key,
        known: Option<&'a Known>,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, SourceError>> + Send + 'a>>;

    /// As [`Source::call`].
    fn call(
        &self,
        request: CallRequest,
    ) -> Pin<Box<dyn Future<Output = Result<CallResponse, SourceError>> + Send + '_>>;

    /// As [`Source::is_http`].
    fn is_http(&self) -> bool;

    /// As [`Source::exchange`].
    fn exchange(
        &self,
        request: ExchangeRequest,
    ) -> Pin<Box<dyn Future<Output = Result<ExchangeAnswer, ExchangeError>> + Send + '_>>;
}

impl<S: Source> ErasedSource for S {
    fn retrieve<'a>(
        &'a self,
        key: &'a Key,
        known: Option<&'a Known>,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, SourceError>> + Send + 'a>> {
        Box::pin(Source::retrieve(self, key, known))
    }

    fn call(
        &self,
        request: CallRequest,
    ) -> Pin<Box<dyn Future<Output = Result<CallResponse, SourceError>> + Send + '_>> {
        Box::pin(Source::call(self, request))
    }

    fn is_http(&self) -> bool {
        Source::is_http(self)
    }

    fn exchange(
        &self,
        request: ExchangeRequest,
    ) -> Pin<Box<dyn Future<Output = Result<ExchangeAnswer, ExchangeError>> + Send + '_>> {
        Box::pin(Source::exchange(self, request))
    }
}
