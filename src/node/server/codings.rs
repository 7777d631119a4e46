//! Items that go out compressed to HTTP clients that accept it.
//!
//! A coding of a version is made by the shell, off the event loop, once for all who accept it; who
//! needs it meanwhile waits, and is decided anew then. Where too many are in work, or it would not
//! save enough, the item goes out as it is. A client that has any form of the version that it
//! accepts still has it: nothing is made to tell it so.

use super::answer::Fresh;
use super::{Output, Pending, Server};
use crate::http::encoding::{Accepted, Encoding, is_compressible};
use crate::http::etag::{Comparison, EntityTag, coded_tag, names_current, own_tag};
use crate::mirror::codings::MAX_LENGTH;
use crate::mirror::{Coded, CodedForm, Coding, Known};
use crate::wire::http::HttpRequest;
use crate::wire::{HeaderName, Time};
use bytes::Bytes;

/// The forms that an item can have; of those that a client likes equally, the first is sent.
const FORMS: [Encoding; 3] = [Encoding::Zstd, Encoding::Gzip, Encoding::Identity];

/// Bytes that are being coded, or wait to be, for one worker: a quarter of a second's work at the
/// most. Who needs more gets it as it is, rather than late.
pub(super) const MAX_BYTES_IN_WORK: u64 = 16 << 20;
const _: () = assert!(MAX_LENGTH <= MAX_BYTES_IN_WORK, "each can be coded when nothing else is");

/// The form of a version that a request is answered by.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) encoding: Encoding,
    /// With its quotes; empty if it has none.
    pub(super) etag: String,
    /// Others may get another form.
    pub(super) varies: bool,
    /// Its bytes, if it is coded, and they are at hand.
    pub(super) coded: Option<Coded>,
}

impl Form {
    /// Whether it is coded, and the bytes are to be made first. Its length is not known then.
    pub(super) fn is_unmade(&self) -> bool {
        self.encoding != Encoding::Identity && self.coded.is_none()
    }
}

impl Server {
    /// The form of the fresh version that answers a request.
    pub(super) fn form_of(&mut self, pending: &Pending, fresh: &Fresh) -> Form {
        let etag = match fresh.known.headers().value(HeaderName::Etag) {
            Some(etag) => etag.to_owned(),
            None => own_tag(fresh.known.fingerprint()),
        };
        let request = pending.http.as_deref().filter(|_| self.may_be_coded(&fresh.known));
        let Some(request) = request else {
            let encoding = Encoding::Identity;
            return Form { encoding, etag, varies: false, coded: None };
        };
        let form = |encoding, coded| Form {
            encoding,
            etag: coded_tag(&etag, encoding),
            varies: true,
            coded,
        };
        let forms = ranked(&Accepted::of(&request.fields));
        if let Some(held) = named(request, "if-none-match", &etag, &forms) {
            // What it comes to is that the client has it, or that another condition fails.
            return form(held, None);
        }
        let matched = named(request, "if-match", &etag, &forms);
        // The beginning of this body was sent as it is.
        let goes_on = pending.resume.is_some_and(|resume| resume.tag == fresh.tag);
        let encoding = match matched.or(forms[0]) {
            Some(encoding) if !goes_on => encoding,
            _ => Encoding::Identity,
        };
        if encoding == Encoding::Identity {
            return form(encoding, None);
        }
        let coding = Coding { version: fresh.known.fingerprint().digest, encoding };
        match self.codings.find(&coding) {
            CodedForm::Made(coded) => form(encoding, Some(coded)),
            CodedForm::InWork => form(encoding, None),
            CodedForm::Unknown if self.has_time_for(&fresh.known) => form(encoding, None),
            CodedForm::Unknown | CodedForm::NotWorthIt | CodedForm::Busy => {
                form(Encoding::Identity, None)
            }
        }
    }

    fn has_time_for(&self, known: &Known) -> bool {
        self.bytes_in_coding + known.fingerprint().length <= MAX_BYTES_IN_WORK
    }

    /// Whether there may be coded forms of a version. What was made for one reader has none: its
    /// length would tell of secrets in it, beside what others had put there.
    fn may_be_coded(&self, known: &Known) -> bool {
        let (headers, length) = (known.headers(), known.fingerprint().length);
        let content_type = headers.value(HeaderName::ContentType).unwrap_or_default();
        length <= MAX_LENGTH
            && known.is_shareable()
            && is_compressible(content_type.as_bytes(), length)
            && headers.value(HeaderName::ContentEncoding).is_none()
            && self.codings.fits(length)
    }

    /// A request waits until a coded form of the fresh version is there.
    pub(super) fn await_coded(&mut self, now: Time, pending: Pending, fresh: Fresh, of: Encoding) {
        let coding = Coding { version: fresh.known.fingerprint().digest, encoding: of };
        if self.codings.find(&coding) == CodedForm::Unknown {
            let Some(bytes) = fresh.body.clone() else {
                return self.retrieve_whole(now, pending);
            };
            self.codings.begin(coding);
            self.bytes_in_coding += fresh.known.fingerprint().length;
            self.outputs.push_back(Output::Compress { coding, bytes });
        }
        self.awaiting_coded.entry(coding).or_default().push((pending, fresh));
    }

    /// A version was coded; `None` if that does not save enough.
    pub fn handle_compressed(&mut self, now: Time, coding: Coding, coded: Option<Coded>) {
        self.turn(now);
        // It fits, as it is shorter than the content, which would: what waits finds it there.
        self.codings.finish(coding, coded);
        let waiting = self.awaiting_coded.remove(&coding).unwrap_or_default();
        let length = waiting.first().map_or(0, |(_, fresh)| fresh.known.fingerprint().length);
        self.bytes_in_coding -= length;
        for (pending, fresh) in waiting {
            self.finish_fresh(now, pending, fresh);
        }
    }

    /// Counts an answer by coded content.
    pub(super) fn count_coded(&mut self, coded: &Bytes, length: u64) {
        self.counters.coded += 1;
        self.counters.coded_bytes += coded.len() as u64;
        self.counters.coded_full_bytes += length;
    }
}

/// The forms that a client accepts, the one that it likes most first.
fn ranked(accepted: &Accepted) -> [Option<Encoding>; FORMS.len()] {
    let best = accepted.choose(&FORMS);
    let mut ranked = [best, None, None];
    let others = FORMS.into_iter().filter(|it| accepted.quality(*it) > 0 && Some(*it) != best);
    for (place, other) in ranked.iter_mut().skip(1).zip(others) {
        *place = Some(other);
    }
    ranked
}

/// The first of the forms that a condition of the request names.
fn named(
    request: &HttpRequest,
    condition: &str,
    etag: &str,
    forms: &[Option<Encoding>],
) -> Option<Encoding> {
    if !request.fields.has(condition) {
        return None;
    }
    let comparison = match condition {
        "if-match" => Comparison::Strong,
        _ => Comparison::Weak,
    };
    forms.iter().copied().flatten().find(|form| {
        let tag = coded_tag(etag, *form);
        let current = EntityTag::parse(tag.as_bytes());
        names_current(request.fields.all(condition), current, comparison)
    })
}
