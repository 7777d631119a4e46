//! How a version is brought: whole or as a difference, in its frame or on a stream; and all that
//! can be wrong with a difference.

use super::*;
use crate::mirror::delta;
use crate::wire::Digest;
use crate::wire::frame::MAX_INLINE_BODY;

/// A DELTA that leads nowhere.
pub(super) fn empty_delta() -> Outcome {
    let (headers, body) = (HeaderBlock::default(), Body::Inline(Bytes::new()));
    Outcome::Delta { tag: Tag([1; 16]), base: Digest([2; 16]), headers, length: 100, body }
}

fn whole(tag: Tag, version: &Version) -> Outcome {
    let (headers, body) = (version.headers().clone(), Body::Inline(version.body().clone()));
    Outcome::Full { tag, headers, body }
}

impl World {
    /// The version with this digest that any key has, or had.
    pub(super) fn ever_was(&self, digest: &Digest) -> Option<Version> {
        let versions = self.source.values().flatten().filter_map(|(_, version)| version.as_ref());
        versions.into_iter().find(|version| version.fingerprint().digest == *digest).cloned()
    }

    /// The fresh version for a client of which it is believed that it holds `base`.
    pub(super) fn bring(&mut self, tag: Tag, base: Option<Version>, fresh: &Version) -> Outcome {
        let Some(base) = base.filter(|_| self.version >= BATCH_VERSION) else {
            return whole(tag, fresh);
        };
        if self.chance(25) {
            return self.wrong_delta(tag, &base, fresh);
        }
        let Some(difference) = delta::encode(base.body(), fresh.body()) else {
            return whole(tag, fresh);
        };
        self.note("delta");
        let (base, headers) = (base.fingerprint().digest, fresh.headers().clone());
        let length = fresh.body().len() as u64;
        Outcome::Delta { tag, base, headers, length, body: Body::Inline(difference) }
    }

    /// A difference that a broken server may send. It does not forge tags.
    fn wrong_delta(&mut self, tag: Tag, base: &Version, fresh: &Version) -> Outcome {
        let other_key = self.any_key();
        let other = self.fresh(&other_key).unwrap_or(base).clone();
        let place = fresh.body().len() / 2;
        let twin = Bytes::from(crc_twin(fresh.body(), place));
        let between = |old: &Bytes, new: &Bytes| delta::encode(old, new).unwrap_or_default();
        let right = between(base.body(), fresh.body());
        let (digest, length) = (base.fingerprint().digest, fresh.body().len() as u64);
        let headers = fresh.headers().clone();
        let mut noise = vec![0; self.random.random_range(0..200)];
        self.random.fill_bytes(&mut noise);
        let (what, tag, base, length, bytes) = match self.random.random_range(0..8) {
            0 => ("delta: another base", tag, other.fingerprint().digest, length, right),
            1 => {
                let length = *[0, length - 1, length + 1, 1 << 29, 1 << 40]
                    .choose(&mut self.random)
                    .unwrap();
                ("delta: another length", tag, digest, length, right)
            }
            2 => ("delta: noise", tag, digest, length, noise.into()),
            3 => {
                let length = other.body().len() as u64;
                let bytes = between(base.body(), other.body());
                ("delta: to another item", tag, digest, length, bytes)
            }
            4 => {
                let length = other.body().len() as u64;
                let tag = other_key.tag(&other.fingerprint().digest);
                let bytes = between(base.body(), other.body());
                ("delta: to another item, and says so", tag, digest, length, bytes)
            }
            5 => ("delta: from another item", tag, digest, length, {
                between(other.body(), fresh.body())
            }),
            _ => ("delta: to a CRC twin", tag, digest, length, between(base.body(), &twin)),
        };
        self.note(what);
        Outcome::Delta { tag, base, headers, length, body: Body::Inline(bytes) }
    }

    /// Puts a body on a stream of its own where it is too large for the frame, or by chance.
    pub(super) fn ship(&mut self, id: u64, outcome: Outcome) -> Outcome {
        let large = |bytes: &Bytes| bytes.len() > MAX_INLINE_BODY;
        match outcome {
            Outcome::Full { tag, headers, body: Body::Inline(bytes) }
                if large(&bytes) || self.chance(10) =>
            {
                let length = bytes.len() as u64;
                if self.chance(30) {
                    let whole = Bytes::from([&bytes[..], &tag.0].concat());
                    self.bodies.push((id, 0, whole));
                    let (tag, body) = (Tag([0; 16]), Body::Unmirrored { length });
                    return Outcome::Full { tag, headers, body };
                }
                Outcome::Full { tag, headers, body: self.stream(id, bytes) }
            }
            Outcome::Delta { tag, base, headers, length, body: Body::Inline(bytes) }
                if large(&bytes) || self.chance(25) =>
            {
                self.note("delta: streamed");
                Outcome::Delta { tag, base, headers, length, body: self.stream(id, bytes) }
            }
            other => other,
        }
    }

    /// Sends a body on a stream: now and then from another place on, cut short, too long or twice.
    pub(super) fn stream(&mut self, id: u64, bytes: Bytes) -> Body {
        let length = bytes.len() as u64;
        let offset = if self.chance(5) { 7 } else { 0 };
        let sent = match self.random.random_range(0..40) {
            0 if self.faulty => bytes.slice(..bytes.len() / 2),
            1 if self.faulty => Bytes::from([&bytes[..], &[7]].concat()),
            2 if self.faulty => {
                self.bodies.push((id, offset, bytes.clone()));
                bytes
            }
            _ => bytes,
        };
        self.bodies.push((id, offset, sent));
        Body::Stream { length }
    }
}
