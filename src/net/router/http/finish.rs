//! What every answer has, whoever made it.

use super::answer::{Answer, AnswerBody, told};
use crate::http::date::format_date;
use crate::wire::http::FieldsBuilder;
use std::time::{SystemTime, UNIX_EPOCH};

/// Adds what is missing: when the answer was made, and how long its content is.
pub(super) fn finish(answer: Answer, is_head: bool) -> Answer {
    let Answer { status, fields, body } = match answer.status {
        200..=599 => answer,
        // No version of HTTP has it (RFC 9110, section 15).
        other => told(502, &format!("the origin answered with the status {other}")),
    };
    let body = if is_head { AnswerBody::None } else { body };
    let length = match &body {
        AnswerBody::Whole(bytes) if !fields.has("content-length") => Some(bytes.len()),
        AnswerBody::None if !is_head && !matches!(status, 204 | 304) => {
            (!fields.has("content-length")).then_some(0)
        }
        _ => None,
    };
    let has_date = fields.has("date");
    if has_date && length.is_none() {
        return Answer { status, fields, body };
    }
    let mut builder = FieldsBuilder::from_fields(&fields);
    // Each fails only where there is no room left: then it is left out.
    if !has_date {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let _ = builder.push("date", &format_date(now_s));
    }
    if let Some(length) = length {
        let _ = builder.push("content-length", length.to_string().as_bytes());
    }
    Answer { status, fields: builder.finish(), body }
}
