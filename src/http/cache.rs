//! What a shared cache of an origin may keep, and for how long it may use it (RFC 9111).
//!
//! Where the rules leave a choice it is the one that keeps less: what was made for one client must
//! never reach another.

use super::conditions::only;
use super::control::{CacheControl, MAX_DELTA_S};
use super::date::parse_date;
use super::list::{decimal, elements};
use super::method::is_safe;
use super::vary::VaryNames;
use crate::wire::DecodeError;
use crate::wire::http::{Fields, FieldsBuilder};

/// How long a response may be used that does not say so, at the most, in seconds.
pub const MAX_HEURISTIC_S: u64 = 86_400;

/// The statuses whose responses are kept. Other ones may be, but are rarely asked for twice.
const KEPT: [u16; 7] = [200, 203, 204, 301, 308, 404, 410];

/// A request and its response.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The method.
    pub method: &'a str,
    /// The fields of the request, as the client sent them.
    pub request: &'a Fields,
    /// The status.
    pub status: u16,
    /// The fields of the response, as the origin sent them.
    pub response: &'a Fields,
    /// When the origin was asked, in seconds since 1970.
    pub asked_s: u64,
    /// When it answered, in seconds since 1970.
    pub answered_s: u64,
}

/// What may be done with a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// It may be kept, for anybody.
    pub storable: bool,
    /// It is for the client that asked alone; it is not storable then.
    pub private: bool,
    /// Up to what age it is fresh, in seconds.
    pub lifetime_s: u64,
    /// How old it was when it came, in seconds (section 4.2.3).
    pub age_s: u64,
    /// When it came, in seconds since 1970.
    pub answered_s: u64,
    /// How long it may be used, once stale, if the origin fails, in seconds.
    pub stale_if_error_s: u64,
    /// How long it may be used, once stale, while the origin is asked, in seconds.
    pub stale_while_revalidate_s: u64,
    /// It must not be used once it is stale, whatever the client says; the two times above are 0
    /// then.
    pub must_revalidate: bool,
    /// What other requests must have in common with this one.
    pub vary: VaryNames,
}

/// Decides what a shared cache may do with a response (section 3).
///
/// A response that sets a cookie counts as private. `must-understand` is not looked at, so that
/// `no-store` always holds.
pub fn decide(exchange: &Exchange) -> Storage {
    let Exchange { request, response, answered_s, .. } = *exchange;
    let control = CacheControl::of(response);
    let private = control.private || response.has("set-cookie");
    let vary = VaryNames::of(response);
    let must_revalidate = control.no_cache
        || control.must_revalidate
        || control.proxy_revalidate
        // It means the same, but an origin that says how long stale content may be used means that.
        || (control.s_maxage_s.is_some() && !allows_stale(&control));
    // What a client may be given only after a check of who it is must not be given without.
    let unlocked = control.public || control.must_revalidate || control.s_maxage_s.is_some();
    let allowed = exchange.method == "GET"
        && KEPT.contains(&exchange.status)
        && !control.no_store
        && !private
        && !CacheControl::of(request).no_store
        && (unlocked || !request.has("authorization"))
        // A part, or an answer to a condition of the client's own, is not the representation.
        && !response.has("content-range")
        && vary.is_some();
    let stale = |time_s: Option<u64>| if must_revalidate { 0 } else { time_s.unwrap_or(0) };
    let mut storage = Storage {
        storable: false,
        private,
        lifetime_s: if control.no_cache { 0 } else { lifetime_s(response, &control, answered_s) },
        age_s: arrival_age_s(exchange),
        answered_s,
        stale_if_error_s: stale(control.stale_if_error_s),
        stale_while_revalidate_s: stale(control.stale_while_revalidate_s),
        must_revalidate,
        vary: vary.unwrap_or_default(),
    };
    storage.storable = allowed && storage.is_of_use(response);
    storage
}

fn allows_stale(control: &CacheControl) -> bool {
    control.stale_if_error_s.is_some() || control.stale_while_revalidate_s.is_some()
}

/// Up to what age a response is fresh (section 4.2.1).
fn lifetime_s(response: &Fields, control: &CacheControl, answered_s: u64) -> u64 {
    if let Some(lifetime_s) = control.s_maxage_s.or(control.max_age_s) {
        return lifetime_s;
    }
    let date_s = date(response, "date", answered_s).unwrap_or(answered_s);
    if response.has("expires") {
        // What is no date, as the `0` that is often sent, has expired (section 5.3).
        let expires_s = date(response, "expires", answered_s).unwrap_or(0);
        return expires_s.saturating_sub(date_s).min(MAX_DELTA_S);
    }
    match date(response, "last-modified", answered_s) {
        Some(modified_s) => (date_s.saturating_sub(modified_s) / 10).min(MAX_HEURISTIC_S),
        None => 0,
    }
}

/// The corrected initial age of section 4.2.3.
fn arrival_age_s(exchange: &Exchange) -> u64 {
    let Exchange { response, asked_s, answered_s, .. } = *exchange;
    let date_s = date(response, "date", answered_s);
    let apparent_s = answered_s.saturating_sub(date_s.unwrap_or(answered_s));
    // Only the first of several counts; what is no number is ignored (section 5.1).
    let said = response.first("age").and_then(|value| elements(value, b',').next());
    let said_s = said.and_then(decimal).unwrap_or(0);
    let corrected_s = said_s.saturating_add(answered_s.saturating_sub(asked_s));
    apparent_s.max(corrected_s).min(MAX_DELTA_S)
}

fn date(fields: &Fields, name: &str, now_s: u64) -> Option<u64> {
    parse_date(only(fields, name)?, now_s)
}

/// What a cache does about a request for something that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Answer with it.
    Fresh,
    /// Answer with it, and ask the origin meanwhile.
    StaleWhileRevalidate,
    /// Ask the origin first.
    Revalidate,
    /// The client wants nothing that the origin must be asked for: 504.
    Unavailable,
}

impl Storage {
    /// Whether it could ever be an answer, or be confirmed by the origin.
    fn is_of_use(&self, response: &Fields) -> bool {
        let usable_s = self.stale_if_error_s.max(self.stale_while_revalidate_s);
        self.lifetime_s.saturating_add(usable_s) > self.age_s
            || response.has("etag")
            || response.has("last-modified")
    }

    /// How old it is now, in seconds (section 4.2.3): the value of `Age`.
    pub fn current_age_s(&self, now_s: u64) -> u64 {
        self.age_s.saturating_add(now_s.saturating_sub(self.answered_s)).min(MAX_DELTA_S)
    }

    /// What to do about a request with these directives (section 4.2.4), by
    /// [`CacheControl::of_request`].
    pub fn reuse(&self, wishes: &CacheControl, now_s: u64) -> Reuse {
        let age_s = self.current_age_s(now_s);
        let ask = if wishes.only_if_cached { Reuse::Unavailable } else { Reuse::Revalidate };
        // Who wants an age of 0 wants the origin asked, even about what came in this second.
        let too_old = |limit_s: u64| limit_s == 0 || age_s > limit_s;
        if wishes.no_cache || wishes.max_age_s.is_some_and(too_old) {
            return ask;
        }
        let wanted_age_s = age_s.saturating_add(wishes.min_fresh_s.unwrap_or(0));
        if wanted_age_s < self.lifetime_s {
            return Reuse::Fresh;
        }
        if self.must_revalidate || wishes.min_fresh_s.is_some() {
            return ask;
        }
        let stale_s = age_s.saturating_sub(self.lifetime_s);
        if wishes.max_stale_s.is_some_and(|limit_s| stale_s <= limit_s) {
            return Reuse::Fresh;
        }
        match stale_s < self.stale_while_revalidate_s && !wishes.only_if_cached {
            true => Reuse::StaleWhileRevalidate,
            false => ask,
        }
    }

    /// Whether it may be the answer although the origin could not be asked, or failed (RFC 5861,
    /// section 4). A client may allow more time than the origin did, but not for what must be
    /// confirmed.
    pub fn may_serve_on_error(&self, wishes: &CacheControl, now_s: u64) -> bool {
        let age_s = self.current_age_s(now_s);
        let allowed_s = self.stale_if_error_s.max(wishes.stale_if_error_s.unwrap_or(0));
        let until_s = self.lifetime_s.saturating_add(allowed_s);
        age_s < self.lifetime_s || (!self.must_revalidate && age_s < until_s)
    }
}

/// The fields of what is kept after the origin has confirmed it with a 304 (section 3.2): those
/// that came with the confirmation take the place of their namesakes, but for those that say how
/// the content is made up, which has not changed. Whether it may be kept with these fields is to be
/// [decided](decide) anew.
///
/// # Errors
/// Together they are too many.
pub fn freshened(kept: &Fields, confirmation: &Fields) -> Result<Fields, DecodeError> {
    let replaced = |name: &str| confirmation.has(name) && !name.starts_with("content-");
    let mut builder = FieldsBuilder::with_capacity(kept.as_bytes().len() + 128);
    // An old age says nothing about what was confirmed just now.
    for (name, value) in kept.iter().filter(|(name, _)| !replaced(name) && *name != "age") {
        builder.push(name, value)?;
    }
    for (name, value) in confirmation.iter().filter(|(name, _)| replaced(name)) {
        builder.push(name, value)?;
    }
    Ok(builder.finish())
}

/// Whether what is kept for a target must go, because of a request that changed it (section 4.4).
pub fn invalidates(method: &str, status: u16) -> bool {
    !is_safe(method) && (200..400).contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_S: u64 = 784_111_777;
    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AN_HOUR_AGO: &str = "Sun, 06 Nov 1994 07:49:37 GMT";
    const IN_AN_HOUR: &str = "Sun, 06 Nov 1994 09:49:37 GMT";

    fn decided(request: &[(&str, &str)], status: u16, response: &[(&str, &str)]) -> Storage {
        let request = &Fields::of(request.iter().copied());
        let response = &Fields::of(response.iter().copied());
        let (asked_s, answered_s) = (NOW_S - 2, NOW_S);
        decide(&Exchange { method: "GET", request, status, response, asked_s, answered_s })
    }

    fn response(pairs: &[(&str, &str)]) -> Storage {
        decided(&[], 200, pairs)
    }

    fn wishes(text: &str) -> CacheControl {
        CacheControl::of_request(&Fields::of([("cache-control", text)]))
    }

    #[test]
    fn what_may_not_be_kept() {
        let fresh = ("cache-control", "max-age=60");
        assert!(response(&[fresh]).storable);
        for (private, others) in [
            (false, [("cache-control", "no-store"), ("x", "")]),
            (false, [("cache-control", "must-understand, no-store"), ("x", "")]),
            (true, [("cache-control", "private"), ("x", "")]),
            (true, [("cache-control", "Public, PRIVATE=\"x\""), ("x", "")]),
            (true, [("set-cookie", "a=b"), ("cache-control", "public")]),
            (false, [("vary", "*"), ("x", "")]),
            (false, [("vary", "accept, *"), ("x", "")]),
            (false, [("content-range", "bytes 0-1/2"), ("x", "")]),
        ] {
            let storage = response(&[fresh, others[0], others[1]]);
            assert_eq!((storage.storable, storage.private), (false, private), "{others:?}");
        }
        assert!(!decided(&[("cache-control", "no-store")], 200, &[fresh]).storable);
        for (status, storable) in
            [(200, true), (404, true), (301, true), (302, false), (500, false)]
        {
            assert_eq!(decided(&[], status, &[fresh]).storable, storable, "{status}");
        }
        assert!(!decided(&[], 206, &[fresh]).storable && !decided(&[], 304, &[fresh]).storable);
        let (request, response) = (&Fields::default(), &Fields::of([fresh]));
        for method in ["HEAD", "POST", "get"] {
            let (asked_s, answered_s) = (NOW_S, NOW_S);
            let exchange = Exchange { method, request, status: 200, response, asked_s, answered_s };
            assert!(!decide(&exchange).storable, "{method}");
        }
    }

    #[test]
    fn what_was_asked_for_with_credentials() {
        for (control, storable) in [
            ("max-age=60", false),
            ("max-age=60, proxy-revalidate", false),
            ("max-age=60, must-revalidate", true),
            ("max-age=60, public", true),
            ("s-maxage=60", true),
            ("public, private, max-age=60", false),
        ] {
            let request = [("authorization", "Basic YTpi")];
            let storage = decided(&request, 200, &[("cache-control", control)]);
            assert_eq!(storage.storable, storable, "{control}");
        }
    }

    #[test]
    fn how_long_it_is_fresh() {
        let (old, expires) = (("last-modified", AN_HOUR_AGO), ("expires", IN_AN_HOUR));
        let (date, control) = (("date", NOW), "cache-control");
        for (pairs, lifetime_s) in [
            (&[(control, "max-age=5, s-maxage=60"), expires][..], 60),
            (&[(control, "max-age=5"), expires, date], 5),
            (&[(control, "public"), expires, date, old], 3600),
            (&[expires, ("date", AN_HOUR_AGO)], 7200),
            (&[expires, expires, old], 0),
            (&[("expires", "0"), old], 0),
            (&[("expires", "-1"), old, (control, "max-age=7")], 7),
            (&[("expires", AN_HOUR_AGO), date], 0),
            (&[old, date], 360),
            (&[("last-modified", "Sun, 06 Nov 1983 07:49:37 GMT"), date], MAX_HEURISTIC_S),
            (&[("last-modified", IN_AN_HOUR), date], 0),
            (&[date], 0),
            (&[(control, "max-age=x"), expires], 0),
            (&[(control, "no-cache, max-age=60")], 0),
        ] {
            assert_eq!(response(pairs).lifetime_s, lifetime_s, "{pairs:?}");
        }
        assert!(!response(&[date]).storable, "it could never be used");
        assert!(response(&[date, ("etag", "\"a\"")]).storable, "it could be confirmed");
        assert!(!response(&[(control, "max-age=60"), ("age", "60")]).storable);
    }

    #[test]
    fn how_old_it_is() {
        assert_eq!(response(&[("date", AN_HOUR_AGO)]).age_s, 3600);
        assert_eq!(response(&[("date", AN_HOUR_AGO), ("age", "5000")]).age_s, 5002);
        assert_eq!(response(&[("date", IN_AN_HOUR), ("age", "10, 20")]).age_s, 12);
        assert_eq!(response(&[("age", "-1")]).age_s, 2);
        let oldest = response(&[("age", "99999999999999999999999")]);
        assert_eq!(oldest.age_s, MAX_DELTA_S);
        assert_eq!(oldest.current_age_s(u64::MAX), MAX_DELTA_S);
        let storage = response(&[]);
        assert_eq!((storage.current_age_s(NOW_S + 5), storage.current_age_s(0)), (7, 2));
    }

    #[test]
    fn what_the_client_wishes() {
        let storage = response(&[("cache-control", "max-age=60, stale-while-revalidate=30")]);
        // It came with an age of 2 seconds.
        for (wish, later_s, reuse) in [
            ("", 57, Reuse::Fresh),
            ("", 58, Reuse::StaleWhileRevalidate),
            ("", 87, Reuse::StaleWhileRevalidate),
            ("", 88, Reuse::Revalidate),
            ("no-cache", 0, Reuse::Revalidate),
            ("max-age=0", 0, Reuse::Revalidate),
            ("max-age=10", 8, Reuse::Fresh),
            ("max-age=10", 9, Reuse::Revalidate),
            ("max-age=100", 60, Reuse::StaleWhileRevalidate),
            ("min-fresh=10", 47, Reuse::Fresh),
            ("min-fresh=10", 48, Reuse::Revalidate),
            ("max-stale=5", 63, Reuse::Fresh),
            ("max-stale", 10_000, Reuse::Fresh),
            ("only-if-cached", 57, Reuse::Fresh),
            ("only-if-cached", 58, Reuse::Unavailable),
            ("only-if-cached, no-cache", 0, Reuse::Unavailable),
        ] {
            assert_eq!(storage.reuse(&wishes(wish), NOW_S + later_s), reuse, "{wish} {later_s}");
        }
    }

    #[test]
    fn what_is_stale_and_must_be_confirmed() {
        let control = |text| response(&[("cache-control", text), ("etag", "\"a\"")]);
        for (text, must, stale_s) in [
            ("max-age=5, stale-if-error=60", false, 60),
            ("max-age=5, stale-if-error=60, must-revalidate", true, 0),
            ("max-age=5, stale-if-error=60, proxy-revalidate", true, 0),
            ("no-cache, stale-if-error=60", true, 0),
            ("s-maxage=5", true, 0),
            ("s-maxage=5, stale-if-error=60", false, 60),
        ] {
            let storage = control(text);
            assert_eq!((storage.must_revalidate, storage.stale_if_error_s), (must, stale_s));
            let serves = storage.may_serve_on_error(&wishes("stale-if-error=30"), NOW_S + 20);
            assert_eq!(serves, !must, "{text}");
            let max_stale = storage.reuse(&wishes("max-stale"), NOW_S + 20);
            assert_eq!(max_stale == Reuse::Fresh, !must, "{text}");
        }
        assert!(
            !control("max-age=5, stale-if-error=60").may_serve_on_error(&wishes(""), NOW_S + 63)
        );
    }

    #[test]
    fn what_was_confirmed_is_as_good_as_new() {
        let kept = Fields::of([("etag", "\"a\""), ("age", "9"), ("content-type", "x"), ("b", "1")]);
        let confirmation = Fields::of([("b", "2"), ("content-type", "y"), ("b", "3"), ("c", "4")]);
        let expected =
            [("etag", "\"a\""), ("content-type", "x"), ("b", "2"), ("b", "3"), ("c", "4")];
        assert_eq!(freshened(&kept, &confirmation), Ok(Fields::of(expected)));
    }

    #[test]
    fn what_changes_a_target_empties_the_cache() {
        assert!(invalidates("POST", 201) && invalidates("DELETE", 204) && invalidates("X", 303));
        assert!(!invalidates("GET", 200) && !invalidates("PUT", 412) && !invalidates("PUT", 500));
    }

    proptest! {
        #[test]
        fn nothing_private_is_kept(
            pairs in proptest::collection::vec(
                ("cache-control|vary|age|date|expires|set-cookie|etag",
                 "private|no-store|public|s-maxage=[0-9]{1,22}|\\*|[!-~]{0,12}"), 0..6),
            status in 200..600u16,
            now_s: u64,
        ) {
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let storage = decided(&[], status, &pairs);
            prop_assert!(!(storage.storable && storage.private));
            prop_assert!(storage.lifetime_s <= MAX_DELTA_S);
            prop_assert!(storage.current_age_s(now_s) <= MAX_DELTA_S);
            let _ = storage.reuse(&CacheControl::default(), now_s);
        }
    }
}
