//! What is kept of an HTTP origin's answer, as an answer to others.

use super::answer::Fresh;
use super::{Pending, Server};
use crate::http::date::parse_date;
use crate::http::respond::{Plan, Representation, plan};
use crate::mirror::{Known, Response};
use crate::wire::Time;
use crate::wire::http::{Fields, FieldsBuilder, HttpAnswer, HttpRequest};
use crate::wire::lane::Outcome;

impl Server {
    /// What is kept is current: it is sent, in part or whole, or said to be what the client has.
    pub(super) fn finish_exchange(&mut self, now: Time, pending: Pending, fresh: Fresh) {
        if !self.still_serves(&pending) {
            return;
        }
        let (Some(request), Some(response)) = (pending.http.as_deref(), fresh.known.response())
        else {
            return;
        };
        let Plan { status, fields, part } = plan_of(request, &fresh.known, response, now);
        let Some(part) = part else {
            let outcome = Outcome::Http(HttpAnswer::new(status, fields));
            return self.reply_pending(&pending, outcome, None);
        };
        let digest = fresh.known.fingerprint().digest;
        let body = fresh.body.or_else(|| self.items.payload(&digest));
        let Some(body) = body else {
            // Its bytes have made room for others.
            self.items.remove(&pending.key);
            return self.exchange_alone(now, pending);
        };
        let content = body.slice(part.start as usize..part.end as usize);
        self.reply_http_content(&pending, (status, fields), content, Some(fresh.tag));
    }
}

/// What to answer to a request with what is kept, and which part of its bytes.
fn plan_of(request: &HttpRequest, known: &Known, response: &Response, now: Time) -> Plan {
    let age_s = response.storage.current_age_s(now.as_secs());
    let is_made = |name: &str| matches!(name, "age" | "content-length");
    let mut fields = Fields::builder();
    // Each fails only where there is no room left: then it is left out.
    for (name, value) in response.fields.iter().filter(|(name, _)| !is_made(name)) {
        let _ = fields.push(name, value);
    }
    let _ = fields.push("age", age_s.to_string().as_bytes());
    let length = known.fingerprint().length;
    if !matches!(response.status, 200 | 203) {
        return plan_as_it_is(request, response.status, fields, length);
    }
    let last_modified = response.fields.first("last-modified");
    let representation = Representation {
        etag: response.fields.only("etag").unwrap_or_default(),
        last_modified_s: last_modified.and_then(|it| parse_date(it, now.as_secs())),
        length,
        fields: &fields.finish(),
    };
    let planned = plan(request, &representation, now.as_secs());
    let status = if planned.status == 200 { response.status } else { planned.status };
    Plan { status, ..planned }
}

/// What is no representation of the item is sent as it came: neither conditions nor ranges are
/// about it (RFC 9110, sections 13.2.1 and 14.2).
fn plan_as_it_is(
    request: &HttpRequest,
    status: u16,
    mut fields: FieldsBuilder,
    length: u64,
) -> Plan {
    if status != 204 {
        // Fails only where there is no room left: then it is left out.
        let _ = fields.push("content-length", length.to_string().as_bytes());
    }
    let part = (request.method != "HEAD" && length > 0).then_some(0..length);
    Plan { status, fields: fields.finish(), part }
}
