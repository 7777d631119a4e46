//! HTTP requests for what a source has: the same items, found in the same way as for native
//! clients, and answered in HTTP's words. The client's own validator takes the place of a mirror.
//!
//! What an HTTP origin is asked is in `exchanges`.

use super::answer::Fresh;
use super::codings::Form;
use super::pending::{Finding, Pending};
use super::serve::malformed;
use super::{CallRequest, Link, Output, Server};
use crate::http::date::parse_date;
use crate::http::encoding::Encoding;
use crate::http::respond::{Plan, Representation, error_answer, plan};
use crate::mirror::Known;
use crate::node::Fault;
use crate::wire::backplane::{Forward, How, UseCachedBy};
use crate::wire::http::{Fields, FieldsBuilder, HttpAnswer, HttpBody, HttpRequest, RequestBody};
use crate::wire::lane::{ErrorCode, Outcome, Reply};
use crate::wire::{DecodeError, HeaderName, Key, Time};
use bytes::Bytes;

/// Methods that a source which is no HTTP origin knows.
const METHODS: &str = "GET, HEAD, POST, OPTIONS";

impl Server {
    /// Serves an HTTP request of a client that is served here.
    pub(super) fn serve_http(
        &mut self,
        now: Time,
        link: &Link,
        forward: &Forward,
        (inner_id, asked): (u64, Option<(u64, u64)>),
    ) {
        let refuse = |server: &mut Self, outcome| {
            let asked = (forward.request_id, &forward.client, asked);
            server.send_reply(link, asked, Reply { request_id: inner_id, outcome }, None);
        };
        let request = match HttpRequest::decode(forward.inner.payload()) {
            Ok(request) => request,
            Err(error) => return refuse(self, malformed(error)),
        };
        if forward.how == How::Standby && !crate::http::method::is_safe(&request.method) {
            // A hedge is a second execution, and may come after a later request.
            return self.refuse_ownership(link, forward);
        }
        let key = Key::new(request.target.as_bytes().clone());
        let pending = |key, request| Pending {
            resume: forward.resume,
            http: Some(Box::new(request)),
            ..Pending::new(now, link, forward, (inner_id, asked), (0, key))
        };
        if self.config.passes_http {
            return self.serve_by_origin(now, key.ok(), request, pending);
        }
        match (request.method.as_str(), key) {
            ("GET" | "HEAD", Ok(key)) => self.find_fresh(now, pending(key, request)),
            ("POST", Ok(key)) => match request.body {
                RequestBody::Stream => {
                    let text = "what is called here takes at most 16 KiB";
                    refuse(self, told(413, text));
                }
                RequestBody::None => self.call_by_http(pending(key, request), Bytes::new()),
                RequestBody::Inline(ref body) => {
                    let body = body.clone();
                    self.call_by_http(pending(key, request), body);
                }
            },
            ("OPTIONS", _) => {
                let fields = Fields::of([("allow", METHODS)]);
                refuse(self, Outcome::Http(HttpAnswer::new(204, fields)));
            }
            ("GET" | "HEAD" | "POST", Err(error)) => {
                let status = match error {
                    DecodeError::AboveLimit { .. } => 414,
                    _ => 400,
                };
                refuse(self, told(status, &error.to_string()));
            }
            (method, _) => {
                let text = format!("{method} is not done here: {METHODS}");
                refuse(self, with_field(told(405, &text), "allow", METHODS));
            }
        }
    }

    /// A POST to a source that is no HTTP origin is a call.
    fn call_by_http(&mut self, pending: Pending, body: Bytes) {
        let Some(request) = &pending.http else {
            return;
        };
        let headers = request.fields.only("content-type");
        let headers = headers.map(|value| (HeaderName::ContentType, value));
        let Ok(headers) = crate::wire::HeaderBlock::new(headers) else {
            return self.reply_pending(&pending, told(431, "the content type is too long"), None);
        };
        let key = pending.key.clone();
        let request = CallRequest { key, headers, body, idempotent: false };
        self.begin_call(pending, request);
    }

    /// The fresh version of the item is known: it is sent, in part or whole, or said to be what the
    /// client has. What is to be sent and not at hand is retrieved first, or coded first.
    pub(super) fn finish_http(&mut self, now: Time, pending: Pending, mut fresh: Fresh) {
        let form = self.form_of(&pending, &fresh);
        let Some(request) = pending.http.as_deref() else {
            return;
        };
        let Plan { mut status, fields, mut part } = plan_of(request, &fresh.known, &form, now);
        let is_blind = self.config.planted.is(Fault::BlindCondition);
        if is_blind && request.fields.has("if-none-match") {
            (status, part) = (304, None);
        }
        // Whether there is such a part is known when there is a length.
        let unsure = status == 416 && form.is_unmade();
        if part.is_none() && !unsure {
            let by = (status == 304).then_some(UseCachedBy::Strong);
            let answer = Outcome::Http(HttpAnswer::new(status, fields));
            return self.reply_pending(&pending, answer, by);
        }
        let part = part.map_or(0..0, |part| part.start as usize..part.end as usize);
        if let Some(coded) = &form.coded {
            self.count_coded(&coded.bytes, fresh.known.fingerprint().length);
            let (content, tag) = (coded.bytes.slice(part), pending.key.tag(&coded.digest));
            return self.reply_http_content(&pending, (status, fields), content, Some(tag));
        }
        if fresh.body.is_none() {
            fresh.body = self.items.payload(&fresh.known.fingerprint().digest);
        }
        if form.is_unmade() {
            return self.await_coded(now, pending, fresh, form.encoding);
        }
        let Some(body) = fresh.body else {
            return self.retrieve_whole(now, pending);
        };
        self.reply_http_content(&pending, (status, fields), body.slice(part), Some(fresh.tag));
    }

    /// Replies with content that is at hand, in the frame if it fits.
    pub(super) fn reply_http_content(
        &mut self,
        pending: &Pending,
        (status, fields): (u16, Fields),
        content: Bytes,
        tag: Option<crate::wire::Tag>,
    ) {
        let length = content.len() as u64;
        let inline = content.len() <= HttpAnswer::room_inline(&fields);
        let offset = match pending.resume {
            None if inline => {
                let body = HttpBody::Inline(content);
                let answer = Outcome::Http(HttpAnswer { status, fields, body });
                return self.reply_pending(pending, answer, None);
            }
            None => 0,
            Some(resume) if !inline && tag == Some(resume.tag) && resume.offset <= length => {
                resume.offset
            }
            Some(_) => {
                let text = "the item has changed since its body began";
                let outcome = Outcome::error(ErrorCode::Unavailable, text);
                return self.reply_pending(pending, outcome, None);
            }
        };
        let body = HttpBody::Stream { length, tag };
        self.reply_pending(pending, Outcome::Http(HttpAnswer { status, fields, body }), None);
        self.send_body(pending, content.slice(offset as usize..), offset);
    }

    /// The source has something else than a version.
    pub(super) fn finish_http_otherwise(&mut self, pending: Pending, ticket: u64, found: &Finding) {
        let outcome = match found {
            Finding::Unmirrored { headers, length } => {
                let fields = fields_of(headers);
                let fields = with(fields, "content-length", &length.to_string());
                let is_head = pending.http.as_ref().is_some_and(|asked| asked.method == "HEAD");
                if is_head {
                    Outcome::Http(HttpAnswer::new(200, fields))
                } else {
                    let body = HttpBody::Stream { length: *length, tag: None };
                    let answer = HttpAnswer { status: 200, fields, body };
                    self.reply_pending(&pending, Outcome::Http(answer), None);
                    return self.outputs.push_back(Output::SendUnmirrored {
                        to: pending.link,
                        request_id: pending.request_id,
                        key: pending.key,
                        ticket,
                    });
                }
            }
            Finding::NotFound => told(404, "there is no such item"),
            Finding::Refused(text) => told(403, text),
            Finding::Failed(text) => told(502, text),
            Finding::Fresh(_) => return,
        };
        self.reply_pending(&pending, outcome, None);
    }
}

/// What to answer to a request with a form of a version. The length of a form that is to be made
/// first is not told, and parts are not right yet.
fn plan_of(request: &HttpRequest, known: &Known, form: &Form, now: Time) -> Plan {
    let headers = known.headers();
    let last_modified = headers.value(HeaderName::LastModified);
    let mut fields = builder_of(headers);
    // Each fails only where there is no room left, which a header block leaves.
    if form.encoding != Encoding::Identity {
        let _ = fields.push("content-encoding", form.encoding.as_str().as_bytes());
    }
    if form.varies {
        let _ = fields.push("vary", b"accept-encoding");
    }
    let length = form.coded.as_ref().map(|coded| coded.bytes.len() as u64);
    let representation = Representation {
        fields: &fields.finish(),
        etag: &form.etag,
        last_modified_s: last_modified.and_then(|text| parse_date(text.as_bytes(), now.as_secs())),
        length: length.unwrap_or(known.fingerprint().length),
    };
    let mut plan = plan(request, &representation, now.as_secs());
    if plan.status == 200 && form.is_unmade() {
        plan.fields = without(&plan.fields, "content-length");
    }
    plan
}

/// A header block as fields, but for the validators, which stand apart.
pub(super) fn fields_of(headers: &crate::wire::HeaderBlock) -> Fields {
    builder_of(headers).finish()
}

fn builder_of(headers: &crate::wire::HeaderBlock) -> FieldsBuilder {
    let mut fields = Fields::builder();
    for (name, value) in headers.iter() {
        if !matches!(name, HeaderName::Etag | HeaderName::LastModified) {
            fields
                .push(name.as_str(), value.as_bytes())
                .expect("a header block is small and clean");
        }
    }
    fields
}

/// An answer that says in words what is wrong.
pub(super) fn told(status: u16, text: &str) -> Outcome {
    let (fields, text) = error_answer(status, text);
    Outcome::Http(HttpAnswer { status, fields, body: HttpBody::Inline(text) })
}

fn with(fields: Fields, name: &str, value: &str) -> Fields {
    let mut builder = FieldsBuilder::from_fields(&fields);
    // Fails only where there is no room left: then it is left out.
    let _ = builder.push(name, value.as_bytes());
    builder.finish()
}

fn without(fields: &Fields, name: &str) -> Fields {
    let mut builder = FieldsBuilder::with_capacity(fields.as_bytes().len());
    for (other, value) in fields.iter().filter(|(other, _)| *other != name) {
        builder.push(other, value).expect("there was room for it");
    }
    builder.finish()
}

fn with_field(outcome: Outcome, name: &str, value: &str) -> Outcome {
    match outcome {
        Outcome::Http(answer) => {
            Outcome::Http(HttpAnswer { fields: with(answer.fields, name, value), ..answer })
        }
        other => other,
    }
}
