//! The fields of a request as a server is to get them.

use super::answer::{Answer, told};
use super::client::Ask;
use super::cookie;
use crate::http::forward::{Arrival, Protocol, arrival_fields, with_arrival};
use crate::wire::http::{Fields, FieldsBuilder, Scheme};
use std::cell::RefCell;
use std::net::SocketAddr;

/// What all requests of a connection to one authority have in common: most have one.
#[derive(Default)]
pub(super) struct Arrivals(RefCell<Option<Arrived>>);

struct Arrived {
    scheme: Scheme,
    authority: String,
    protocol: Protocol,
    ours: Fields,
}

impl Arrivals {
    /// The fields without what is about the connection and what the client claims of proxies before
    /// us, with what we know of it, and without our own cookies.
    pub(super) fn for_server(&self, ask: &Ask, peer: SocketAddr) -> Result<Fields, Answer> {
        let too_large = |_| told(431, "the fields of the request are too many or too long");
        let mut known = self.0.borrow_mut();
        let fits = |arrived: &&Arrived| {
            arrived.authority == ask.authority
                && (arrived.scheme, arrived.protocol) == (ask.scheme, ask.protocol)
        };
        if known.as_ref().filter(fits).is_none() {
            let arrival = Arrival {
                client: peer.ip(),
                scheme: ask.scheme,
                authority: &ask.authority,
                protocol: ask.protocol,
            };
            let ours = arrival_fields(&arrival).map_err(too_large)?;
            *known = Some(Arrived {
                scheme: ask.scheme,
                authority: ask.authority.clone(),
                protocol: ask.protocol,
                ours,
            });
        }
        let ours = known.as_ref().map(|arrived| arrived.ours.clone()).unwrap_or_default();
        let fields = with_arrival(&ask.fields, &ours).map_err(too_large)?;
        if !ask.fields.has("cookie") {
            return Ok(fields);
        }
        let mut builder = FieldsBuilder::with_capacity(fields.as_bytes().len());
        builder.extend(&fields, |name| name != "cookie").map_err(too_large)?;
        for value in fields.all("cookie").filter_map(cookie::without_ours) {
            builder.push("cookie", &value).map_err(too_large)?;
        }
        Ok(builder.finish())
    }
}
