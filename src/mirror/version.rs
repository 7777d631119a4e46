//! One immutable state of an item.

use crate::wire::types::fingerprint;
use crate::wire::{Fingerprint, HeaderBlock};
use bytes::Bytes;

/// One immutable state of an item: header block and bytes, and what identifies them.
#[derive(Clone, Debug)]
pub struct Version {
    headers: HeaderBlock,
    body: Bytes,
    fingerprint: Fingerprint,
    shareable: bool,
    stamp: Option<Bytes>,
}

impl Version {
    /// Makes a version that any client may be given, and reads its bytes once, for CRC and digest.
    pub fn new(headers: HeaderBlock, body: Bytes) -> Self {
        let fingerprint = fingerprint(headers.as_bytes(), &body);
        Self { headers, body, fingerprint, shareable: true, stamp: None }
    }

    /// The same with a fingerprint that was computed while the bytes were read.
    pub fn with_fingerprint(headers: HeaderBlock, body: Bytes, fingerprint: Fingerprint) -> Self {
        Self { headers, body, fingerprint, shareable: true, stamp: None }
    }

    /// Says that this version was made for one client, and must not be shared with others.
    pub fn private(mut self) -> Self {
        self.shareable = false;
        self
    }

    /// Adds what the source will know this version by when it is asked again: any bytes that mean
    /// something to the source. Without it the source is asked for the whole item each time.
    pub fn with_stamp(mut self, stamp: Bytes) -> Self {
        self.stamp = Some(stamp);
        self
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderBlock {
        &self.headers
    }

    /// The bytes.
    pub fn body(&self) -> &Bytes {
        &self.body
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
}
