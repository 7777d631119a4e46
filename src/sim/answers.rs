//! What clients that speak HTTP may be told.

use super::browser::{Asked, Held, Wanted};
use super::calls::{Told, is_answer};
use super::checks::Check;
use super::client::Expected;
use super::cluster::World;
use super::pages::joined;
use super::plan::Mood;
use super::source::State;
use crate::http::etag::own_tag;
use crate::mirror::Version;
use crate::wire::http::{Fields, HttpAnswer, HttpBody};
use crate::wire::lane::{ErrorCode, Outcome};
use crate::wire::{HeaderBlock, HeaderName, Key};
use bytes::Bytes;

/// Bytes that end the body of an item which servers do not keep: its tag.
const TRAILER: usize = 16;

/// Whether the content of an answer comes on a stream of its own.
pub(super) fn is_streamed(answer: &HttpAnswer) -> bool {
    matches!(answer.body, HttpBody::Stream { .. } | HttpBody::Open)
}

/// The headers of a version that are fields of its answers.
fn headers_of(fields: &Fields) -> HeaderBlock {
    let kind = fields.only("content-type").map(|value| (HeaderName::ContentType, value));
    HeaderBlock::new(kind).unwrap_or_default()
}

fn length_of(fields: &Fields) -> Option<u64> {
    fields.only("content-length").and_then(|text| text.parse().ok())
}

fn is_tagged(version: &Version, fields: &Fields) -> bool {
    fields.only("etag") == Some(&own_tag(version.fingerprint()))
}

impl World {
    /// A request has its answer, and the content of that if it has some on a stream.
    pub(super) fn check_outcome(
        &mut self,
        place: usize,
        asked: &Asked,
        outcome: Outcome,
        content: Option<Bytes>,
    ) {
        let answer = match outcome {
            Outcome::Http(answer) => answer,
            other => return self.check_no_answer(place, asked, &other),
        };
        self.counts.http_answers += 1;
        self.counts.not_modified += u64::from(answer.status == 304);
        let content = match &answer.body {
            HttpBody::None => None,
            HttpBody::Inline(bytes) => Some(bytes.clone()),
            HttpBody::Stream { length, .. } => {
                let bytes = content.unwrap_or_default();
                let length = *length as usize;
                if ![length, length + TRAILER].contains(&bytes.len()) {
                    let what = format!("{} bytes came of {length}: {asked:?}", bytes.len());
                    return self.fail(Check::WrongBytes, what);
                }
                Some(bytes.slice(..length))
            }
            HttpBody::Open => content.and_then(joined),
        };
        let fine = match &asked.wanted {
            Wanted::Call(number) => self.check_posted(*number, answer.status, content.as_ref()),
            Wanted::Item { .. } => self.check_item(place, asked, &answer, content.as_ref()),
            Wanted::Page(number) => {
                self.check_page(place, *number, asked, &answer, content.as_ref())
            }
        };
        let cached = asked.expected != Expected::UseCached || answer.status == 304;
        if !fine || !cached {
            let check = if fine { Check::Rest } else { Check::WrongBytes };
            let (status, fields) = (answer.status, &answer.fields);
            let length = content.as_ref().map(Bytes::len);
            let what = format!("browser {place}: {status}, {fields:?}, {length:?} for {asked:?}");
            self.fail(check, what);
        }
    }

    /// A request got no answer of a server's.
    fn check_no_answer(&mut self, place: usize, asked: &Asked, outcome: &Outcome) {
        let may_fail = self.plan.mood != Mood::Calm && !self.stage.is_rest();
        let told = match outcome {
            Outcome::Error { code: ErrorCode::Unavailable, .. } if may_fail => Told::NotSent,
            Outcome::Busy { .. } if may_fail || self.plan.is_tight() => Told::NotSent,
            Outcome::Error { code: ErrorCode::NotSupported, .. } if self.plan.mixed_versions => {
                Told::NotSent
            }
            Outcome::FateUnknown if may_fail && matches!(asked.wanted, Wanted::Call(_)) => {
                Told::Nothing
            }
            other => {
                let rest = self.stage.is_rest();
                let check = if rest { Check::Rest } else { Check::WrongError };
                return self.fail(check, format!("browser {place}: {other:?} for {asked:?}"));
            }
        };
        if let Wanted::Call(number) = asked.wanted {
            self.note_told(number, told);
        }
    }

    /// The content of an answer broke off.
    pub(super) fn check_broken(&mut self, place: usize, asked: &Asked) {
        if self.plan.mood == Mood::Calm || self.stage.is_rest() {
            let what = format!("browser {place}: the content of {asked:?} broke off");
            self.fail(Check::WrongError, what);
        }
    }

    fn check_posted(&mut self, number: u64, status: u16, content: Option<&Bytes>) -> bool {
        let told = match status {
            200 => Told::Answered,
            405 => Told::Refused,
            502 => Told::Failed,
            _ => return false,
        };
        self.note_told(number, told);
        let is_own = |bytes: &Bytes| is_answer(bytes) && bytes.starts_with(&number.to_be_bytes());
        told != Told::Answered || content.is_some_and(is_own)
    }

    fn check_item(
        &mut self,
        place: usize,
        asked: &Asked,
        answer: &HttpAnswer,
        content: Option<&Bytes>,
    ) -> bool {
        let Wanted::Item { key, is_head, known, range, if_range } = &asked.wanted else {
            return false;
        };
        let (span, fields) = ((asked.at, self.now), &answer.fields);
        let was = |matches: fn(&State) -> bool| self.source.was(key, span, matches);
        let had = |matches: &dyn Fn(&Version) -> bool| self.source.had_version(key, span, matches);
        match (answer.status, content) {
            (404, _) => was(|state| matches!(state, State::Absent)),
            (403, _) => was(|state| matches!(state, State::Refused)),
            (502, _) => was(|state| matches!(state, State::Failing)),
            (304, None) => known.as_ref().is_some_and(|held| {
                fields.only("etag") == Some(&held.etag)
                    && self.source.had(key, span, (&held.headers, &held.bytes))
            }),
            (416, _) => range.is_some_and(|(first, _)| had(&|it| it.body().len() as u64 <= first)),
            (200, None) if *is_head => had(&|version| {
                let tagged = !self.source.kind(key).is_kept() || is_tagged(version, fields);
                tagged && length_of(fields) == Some(version.body().len() as u64)
            }),
            (206, Some(part)) => {
                let Some((first, last)) = range.filter(|_| !is_head) else {
                    return false;
                };
                had(&|version| {
                    let length = version.body().len() as u64;
                    let end = last.map_or(length, |last| length.min(last + 1));
                    let said = format!("bytes {first}-{}/{length}", end.saturating_sub(1));
                    first < end
                        && version.body()[first as usize..end as usize] == part[..]
                        && fields.only("content-range") == Some(&said)
                        && is_tagged(version, fields)
                        && if_range.as_ref().is_none_or(|tag| fields.only("etag") == Some(tag))
                })
            }
            (200, Some(bytes)) if !is_head => self.check_whole(place, (key, asked), fields, bytes),
            _ => false,
        }
    }

    /// A client got a version whole, and holds it from now on.
    fn check_whole(
        &mut self,
        place: usize,
        (key, asked): (&Key, &Asked),
        fields: &Fields,
        bytes: &Bytes,
    ) -> bool {
        let (span, headers) = ((asked.at, self.now), headers_of(fields));
        let held = fields.only("etag").map(|etag| Held {
            etag: etag.to_owned(),
            headers: headers.clone(),
            bytes: bytes.clone(),
        });
        let fine = length_of(fields) == Some(bytes.len() as u64)
            && held.is_some() == self.source.kind(key).is_kept()
            && self.source.had(key, span, (&headers, bytes));
        if let Some(held) = held {
            let version = Version::new(headers, bytes.clone());
            let tagged = held.etag == own_tag(version.fingerprint());
            self.browsers[place].held.insert(key.clone(), held);
            return fine && tagged;
        }
        fine
    }
}
