//! The cookie that tells a client again by its token: `__Host-understudy`. A token is of one pool:
//! where there are several, each has its own cookie, `__Host-understudy-NAME`.
//!
//! It holds the sealed token as native clients have it, so it says nothing to anybody but routers
//! that share the keys. It is set only on answers that no shared cache stores: there it would make
//! another client of whoever got the stored answer.

use crate::wire::http::Fields;
use crate::wire::session::MAX_TOKEN;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

/// Its name, or how its names begin. The prefix has browsers take it only over TLS, for this host
/// and the path `/`.
pub(in crate::net::router) const NAME: &str = "__Host-understudy";
/// For how long browsers keep it, in seconds; the token may end sooner.
const MAX_AGE_S: u32 = 7 * 24 * 3600;

/// The token that a client shows in the cookie of this name, still sealed.
pub(super) fn token_of(fields: &Fields, name: &str) -> Option<Bytes> {
    let mut cookies = fields.all("cookie").flat_map(|value| value.split(|byte| *byte == b';'));
    let value = |cookie: &[u8]| -> Option<Bytes> {
        decode(cookie.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?)
    };
    cookies.find_map(value)
}

/// The value of a `cookie` field without our cookies, of whichever pools; `None` if nothing is left
/// of it.
pub(super) fn without_ours(value: &[u8]) -> Option<Vec<u8>> {
    let is_ours = |cookie: &[u8]| {
        let rest = cookie.strip_prefix(NAME.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b"=") || rest.starts_with(b"-"))
    };
    let cookies = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let others: Vec<_> = cookies.filter(|cookie| !cookie.is_empty() && !is_ours(cookie)).collect();
    (!others.is_empty()).then(|| others.join(&b"; "[..]))
}

/// Whether an answer with these fields may carry it.
pub(super) fn may_stand_in(fields: &Fields, authorized: bool) -> bool {
    let has = |wanted: &str| {
        fields.all("cache-control").any(|value| {
            let directives = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            let mut names =
                directives.map(|it| it.split(|byte| *byte == b'=').next().unwrap_or(it));
            names.any(|name| name.eq_ignore_ascii_case(wanted.as_bytes()))
        })
    };
    let shared = has("public") || has("s-maxage") || has("must-revalidate");
    has("no-store") || has("private") || (authorized && !shared)
}

/// The value of `set-cookie` for the cookie of this name.
pub(super) fn value_of(name: &str, token: &[u8]) -> String {
    let text = URL_SAFE_NO_PAD.encode(token);
    format!("{name}={text}; Max-Age={MAX_AGE_S}; Path=/; Secure; HttpOnly; SameSite=Lax")
}

fn decode(text: &[u8]) -> Option<Bytes> {
    let fits = text.len() <= MAX_TOKEN.div_ceil(3) * 4;
    URL_SAFE_NO_PAD.decode(text).ok().filter(|_| fits).map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_set_only_where_no_shared_cache_stores_the_answer() {
        let may = |value: &str, authorized| {
            may_stand_in(&Fields::of([("cache-control", value)]), authorized)
        };
        assert!(may("no-store", false) && may("max-age=9, Private", false));
        assert!(may("private=\"x\"", false) && may("max-age=9", true));
        assert!(!may("max-age=9", false) && !may("public, max-age=9", true));
        assert!(!may_stand_in(&Fields::default(), false) && !may("", false));
    }

    #[test]
    fn origins_do_not_see_it() {
        let ours = value_of(NAME, b"token");
        let ours = ours.split(';').next().unwrap();
        let all = format!("a=1; {ours};b=2; __Host-understudy2=c");
        assert_eq!(without_ours(all.as_bytes()).unwrap(), b"a=1; b=2; __Host-understudy2=c");
        assert_eq!(without_ours(ours.as_bytes()), None);
        let fields = Fields::of([("cookie", all.as_str())]);
        assert_eq!(token_of(&fields, NAME), Some(Bytes::from_static(b"token")));
    }

    #[test]
    fn each_pool_has_its_own() {
        let pair =
            |name: &str, token: &[u8]| value_of(name, token).split(';').next().unwrap().to_owned();
        let (shop, blog) = (format!("{NAME}-shop"), format!("{NAME}-blog"));
        let all = format!("{}; a=1; {}", pair(&shop, b"one"), pair(&blog, b"two"));
        let fields = Fields::of([("cookie", all.as_str())]);
        assert_eq!(token_of(&fields, &shop), Some(Bytes::from_static(b"one")));
        assert_eq!(token_of(&fields, &blog), Some(Bytes::from_static(b"two")));
        assert_eq!(token_of(&fields, NAME), None);
        assert_eq!(without_ours(all.as_bytes()).unwrap(), b"a=1");
    }

    proptest! {
        #[test]
        fn tokens_survive(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = URL_SAFE_NO_PAD.encode(&bytes);
            prop_assert_eq!(decode(text.as_bytes()).unwrap(), bytes);
        }

        #[test]
        fn reading_anything_never_panics(value: Vec<u8>) {
            let _ = decode(&value);
            let _ = without_ours(&value);
        }
    }
}
