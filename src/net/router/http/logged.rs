//! A request as it is counted and logged, from its head to the last byte of its answer.

use super::client::HttpClient;
use crate::http::forward::Protocol;
use crate::net::access_log::Entry;
use crate::net::router::Shell;
use crate::wire::Time;
use crate::wire::http::{Fields, RequestTarget, Scheme};
use std::rc::Rc;

/// The status of a request that its client took back, as it is usual in logs.
const TAKEN_BACK: u16 = 499;

/// Counts and logs its request when it is dropped.
pub(super) struct Logged {
    shell: Rc<Shell>,
    version: &'static str,
    begun: Time,
    status: u16,
    sent_bytes: u64,
    /// What is known of the request, if there is a log.
    entry: Option<Box<Entry>>,
}

/// What a request is for.
pub(super) struct Head<'a> {
    pub(super) method: &'a str,
    pub(super) scheme: Scheme,
    pub(super) authority: &'a str,
    pub(super) target: &'a RequestTarget,
    pub(super) fields: &'a Fields,
}

impl Logged {
    /// A request whose head has come; none is given of one that could not be read.
    pub(super) fn begin(client: &HttpClient, protocol: Protocol, head: Option<&Head>) -> Self {
        let shell = Rc::clone(client.shell());
        let version = match protocol {
            Protocol::Http3 => "3",
            Protocol::Http2 => "2",
            Protocol::Http11 | Protocol::Http10 => "1.1",
        };
        let is_logged = shell.access_log.is_some();
        let begun = if is_logged { shell.clock.now() } else { Time::default() };
        let entry = is_logged.then(|| {
            let text = |name: &str| {
                let value = head.and_then(|head| head.fields.first(name));
                value.map(|value| String::from_utf8_lossy(value).into_owned())
            };
            let owned = |of: fn(&Head) -> String| head.map(of).unwrap_or_default();
            Box::new(Entry {
                time_us: begun.as_micros(),
                peer: client.peer(),
                version,
                method: owned(|head| head.method.to_owned()),
                scheme: head.map_or("https", |head| head.scheme.as_str()),
                authority: owned(|head| head.authority.to_owned()),
                target: owned(|head| head.target.as_str().to_owned()),
                status: 0,
                sent_bytes: 0,
                duration_us: 0,
                client: None,
                referer: text("referer"),
                user_agent: text("user-agent"),
            })
        });
        Self { shell, version, begun, status: TAKEN_BACK, sent_bytes: 0, entry }
    }

    /// The answer begins.
    pub(super) fn answered(&mut self, client: &HttpClient, status: u16) {
        self.status = status;
        if let Some(entry) = &mut self.entry {
            entry.client = client.id();
        }
    }

    /// So many more bytes of its content were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes as u64;
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.shell.http_answers.count(self.version, self.status);
        if let (Some(log), Some(mut entry)) = (&self.shell.access_log, self.entry.take()) {
            let duration_us = self.shell.clock.now().since(self.begun).as_micros() as u64;
            (entry.status, entry.sent_bytes) = (self.status, self.sent_bytes);
            entry.duration_us = duration_us;
            log.record(*entry);
        }
    }
}
