//! Bodies that travel on streams of their own.
//!
//! A body and the FULL that announces it may come in either order; what is short, too long, or
//! breaks off is asked for again.

use super::delta::{Delta, DeltaHead};
use super::replies::MAX_SETBACKS;
use super::request::Stage;
use super::{Client, Error, ReplyKind};
use crate::wire::lane::BodyStart;
use crate::wire::{Tag, Time};
use bytes::Bytes;

/// The tag that follows the bytes of an unmirrored item.
const TRAILING_TAG: usize = 16;

impl Client {
    /// The body of a request came, whole, on its own stream: what followed the BODY frame.
    pub fn handle_body(&mut self, request_id: u64, offset: u64, bytes: Bytes, now: Time) {
        self.heard(now);
        let start = BodyStart { request_id, offset };
        if let Some(ticket) = self.calls.find(request_id) {
            self.call_body(ticket, start, bytes, now);
            self.send();
            return self.end_drain(now);
        }
        if self.requests.batches.contains(request_id) {
            self.batch_body(request_id, offset, bytes, now);
            self.send();
            return self.end_drain(now);
        }
        let Some(index) = self.requests.find(request_id) else {
            return self.count_stray(request_id);
        };
        let start = start.encode();
        let request = &mut self.requests[index];
        request.wire_bytes += (start.bytes().len() + bytes.len()) as u64;
        if offset != 0 {
            self.broken_body(index, now);
        } else if let Stage::Asked { body, .. } = &mut request.stage {
            *body = Some(bytes);
        } else {
            self.complete(index, bytes, now);
        }
        self.send();
        self.end_drain(now);
    }

    /// The body of a request begins. Returns how many bytes may follow the BODY frame; `None` if
    /// the body is not wanted, so that reading it can be refused.
    ///
    /// Nothing else depends on this call; it spares a driver what would come in vain.
    pub fn handle_body_start(&mut self, request_id: u64) -> Option<u64> {
        if let Some(ticket) = self.calls.find(request_id) {
            return Some(self.call_body_limit(ticket));
        }
        if let Some(limit) = self.requests.batches.body_limit(request_id) {
            return Some(limit);
        }
        let Some(index) = self.requests.find(request_id) else {
            self.count_stray(request_id);
            return None;
        };
        let length = match &self.requests[index].stage {
            Stage::Receiving { head, .. } => head.length,
            _ => self.config.max_body,
        };
        Some(length.saturating_add(TRAILING_TAG as u64))
    }

    /// The body of a request broke off after so many bytes. Without a request id, because not even
    /// the BODY frame came, every body that is still to come may be the one.
    pub fn handle_body_failed(&mut self, request_id: Option<u64>, received: u64, now: Time) {
        self.heard(now);
        let indexes = match request_id {
            Some(id) => Vec::from_iter(self.requests.find(id)),
            None => {
                self.requests.indexes(|request| matches!(request.stage, Stage::Receiving { .. }))
            }
        };
        for index in &indexes {
            self.requests[*index].wire_bytes += received;
            self.broken_body(*index, now);
        }
        self.fail_batch_bodies(request_id);
        self.fail_call_bodies(request_id, received, now);
        self.send();
        self.end_drain(now);
    }

    pub(super) fn broken_body(&mut self, index: usize, now: Time) {
        self.statistics.broken_bodies += 1;
        self.requests.abandon_attempt(index);
        self.set_back(index, Error::BodyLost { times: MAX_SETBACKS }, now);
    }

    /// Head and body of a full reply are there.
    pub(super) fn complete(&mut self, index: usize, mut bytes: Bytes, now: Time) {
        let Stage::Receiving { head, .. } = &self.requests[index].stage else {
            unreachable!("a body belongs to a request that was asked or is receiving");
        };
        let head = head.clone();
        let trailing = if head.tag.is_none() { TRAILING_TAG } else { 0 };
        if bytes.len() as u64 != head.length + trailing as u64 {
            return self.broken_body(index, now);
        }
        let tag = head.tag.unwrap_or_else(|| {
            let tail = bytes.split_off(head.length as usize);
            Tag(tail[..].try_into().expect("the length was checked"))
        });
        if let Some(DeltaHead { base, length }) = head.delta {
            return self.apply(index, Delta { tag, base, headers: head.headers, length, bytes });
        }
        let how = (ReplyKind::Full, head.tag.is_some());
        self.accept(index, tag, &head.headers, bytes, how);
    }
}
