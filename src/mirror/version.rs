//! One immutable state of an item.

use crate::http::cache::Storage;
use crate::wire::http::Fields;
use crate::wire::types::fingerprint;
use crate::wire::{Fingerprint, HeaderBlock};
use bytes::Bytes;
use std::sync::Arc;

/// What is known of a version without its bytes. It outlives them: an item that is unchanged need
/// not be at hand.
#[derive(Clone, Debug)]
pub struct Known {
    headers: HeaderBlock,
    fingerprint: Fingerprint,
    shareable: bool,
    stamp: Option<Bytes>,
    response: Option<Arc<Response>>,
}

/// What an HTTP origin said with a version, beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The final status.
    pub status: u16,
    /// Its fields as HTTP clients are to get them, but for `age` and `date`.
    pub fields: Fields,
    /// For how long it may be given to whom, and how old it is.
    pub storage: Storage,
}

impl Known {
    /// The headers.
    pub fn headers(&self) -> &HeaderBlock {
        &self.headers
    }

    /// CRC, digest and length.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Whether any client may be given it.
    pub fn is_shareable(&self) -> bool {
        self.shareable
    }

    /// What the source knows it by.
    pub fn stamp(&self) -> Option<&Bytes> {
        self.stamp.as_ref()
    }

    /// What an HTTP origin said with it, if it came from one by HTTP.
    pub fn response(&self) -> Option<&Arc<Response>> {
        self.response.as_ref()
    }

    /// The same version, with what its origin says of it now.
    pub fn with_response(&self, response: Arc<Response>) -> Self {
        Self { response: Some(response), ..self.clone() }
    }
}

/// One immutable state of an item: header block and bytes, and what identifies them.
#[derive(Clone, Debug)]
pub struct Version {
    known: Arc<Known>,
    body: Bytes,
}

impl Version {
    /// Makes a version that any client may be given, and reads its bytes once, for CRC and digest.
    pub fn new(headers: HeaderBlock, body: Bytes) -> Self {
        let fingerprint = fingerprint(headers.as_bytes(), &body);
        Self::with_fingerprint(headers, body, fingerprint)
    }

    /// The same with a fingerprint that was computed while the bytes were read.
    pub fn with_fingerprint(headers: HeaderBlock, body: Bytes, fingerprint: Fingerprint) -> Self {
        let known = Known { headers, fingerprint, shareable: true, stamp: None, response: None };
        Self { known: Arc::new(known), body }
    }

    /// Says that this version was made for one client, and must not be shared with others.
    pub fn private(mut self) -> Self {
        Arc::make_mut(&mut self.known).shareable = false;
        self
    }

    /// Adds what the source will know this version by when it is asked again: any bytes that mean
    /// something to the source. Without it the source is asked for the whole item each time.
    pub fn with_stamp(mut self, stamp: Bytes) -> Self {
        Arc::make_mut(&mut self.known).stamp = Some(stamp);
        self
    }

    /// Adds what an HTTP origin said with it.
    pub fn with_response(mut self, response: Arc<Response>) -> Self {
        Arc::make_mut(&mut self.known).response = Some(response);
        self
    }

    /// The bytes.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// All but the bytes.
    pub fn known(&self) -> &Arc<Known> {
        &self.known
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderBlock {
        self.known.headers()
    }

    /// CRC, digest and length.
    pub fn fingerprint(&self) -> &Fingerprint {
        self.known.fingerprint()
    }

    /// Whether any client may be given it.
    pub fn is_shareable(&self) -> bool {
        self.known.is_shareable()
    }

    /// What the source knows it by.
    pub fn stamp(&self) -> Option<&Bytes> {
        self.known.stamp()
    }
}
