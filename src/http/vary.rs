//! Variants: responses to one target that depend on fields of the request (RFC 9110, section
//! 12.5.5; RFC 9111, section 4.1).

use super::encoding::Accepted;
use super::list::{elements, is_token};
use crate::wire::http::{Fields, MAX_FIELD_NAME, Scheme};

/// Fields that variants may depend on, at the most: what depends on more has too many variants for
/// any of them to be asked for again.
pub const MAX_VARY: usize = 16;

/// The fields that a response depends on: names in lower case, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaryNames(Vec<Box<str>>);

impl VaryNames {
    /// Reads the `Vary` of a response. `None` where no request can be known to be like the first:
    /// it has a `*`, something that is no name, or more than [`MAX_VARY`] names.
    pub fn of(response: &Fields) -> Option<Self> {
        let mut names = Vec::new();
        for name in response.all("vary").flat_map(|value| elements(value, b',')) {
            if name == b"*" || !is_token(name) || name.len() > MAX_FIELD_NAME {
                return None;
            }
            let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase().into_boxed_str();
            if let Err(place) = names.binary_search(&name) {
                if names.len() == MAX_VARY {
                    return None;
                }
                names.insert(place, name);
            }
        }
        Some(Self(names))
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }

    /// Whether the response depends on no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Names the variant that a request gets, of the responses to a target that depend on `names`:
/// BLAKE3, first 128 bits, over the scheme, the authority and all fields that are named, each part
/// behind its length.
///
/// The values of a field are taken as they are, but for `Accept-Encoding`, where requests that
/// accept the same codings get the same, in whatever words they say so. A field that is not there
/// differs from one without a value.
pub fn variant(names: &VaryNames, request: &Fields, scheme: Scheme, authority: &str) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[scheme as u8]);
    add(&mut hasher, authority.as_bytes());
    add_count(&mut hasher, names.0.len());
    for name in names.iter() {
        add(&mut hasher, name.as_bytes());
        if name == "accept-encoding"
            && request.has(name)
            && let Some(set) = Accepted::of(request).set()
        {
            hasher.update(&[set]);
            continue;
        }
        hasher.update(&[Accepted::NO_SET]);
        add_count(&mut hasher, request.all(name).count());
        request.all(name).for_each(|value| add(&mut hasher, value));
    }
    let mut variant = [0; 16];
    variant.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    variant
}

fn add(hasher: &mut blake3::Hasher, part: &[u8]) {
    add_count(hasher, part.len());
    hasher.update(part);
}

fn add_count(hasher: &mut blake3::Hasher, count: usize) {
    hasher.update(&(count as u64).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(values: &[&str]) -> Option<VaryNames> {
        VaryNames::of(&Fields::of(values.iter().map(|value| ("vary", *value))))
    }

    fn of(names: &VaryNames, pairs: &[(&str, &str)]) -> [u8; 16] {
        variant(names, &Fields::of(pairs.iter().copied()), Scheme::Https, "a.example")
    }

    #[test]
    fn names_are_sorted_and_bounded() {
        let read = names(&["Origin, accept-encoding ,", "ORIGIN"]).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), ["accept-encoding", "origin"]);
        assert!(names(&[]).unwrap().is_empty());
        for bad in ["*", "origin, *", "a b", "\"a\"", "a;b", "ä"] {
            assert_eq!(names(&[bad]), None, "{bad}");
        }
        let many = |count: usize| (0..count).map(|n| format!("x-{n},")).collect::<String>();
        assert!(names(&[&many(MAX_VARY)]).is_some());
        assert_eq!(names(&[&many(MAX_VARY + 1)]), None);
        assert!(names(&[&"origin,".repeat(1000)]).is_some());
    }

    #[test]
    fn variants_differ_where_the_fields_do() {
        let vary = names(&["origin, accept-language"]).unwrap();
        let different = [
            of(&vary, &[]),
            of(&vary, &[("origin", "")]),
            of(&vary, &[("origin", "a")]),
            of(&vary, &[("origin", "A")]),
            of(&vary, &[("accept-language", "a")]),
            of(&vary, &[("origin", "a"), ("origin", "")]),
            of(&vary, &[("origin", ""), ("origin", "a")]),
            of(&vary, &[("origin", "a"), ("accept-language", "b")]),
            of(&vary, &[("origin", "b"), ("accept-language", "a")]),
            of(&VaryNames::default(), &[]),
            variant(&vary, &Fields::default(), Scheme::Http, "a.example"),
            variant(&vary, &Fields::default(), Scheme::Https, "b.example"),
            variant(&vary, &Fields::default(), Scheme::Https, "a.example:8443"),
        ];
        for (at, left) in different.iter().enumerate() {
            assert!(different[at + 1..].iter().all(|right| left != right), "{at}");
        }
        let others = [("cookie", "x"), ("origin", "a")];
        assert_eq!(of(&vary, &others), of(&vary, &others[1..]));
    }

    #[test]
    fn who_accepts_the_same_codings_gets_the_same() {
        let vary = names(&["accept-encoding"]).unwrap();
        let coded = |value| of(&vary, &[("accept-encoding", value)]);
        assert_eq!(coded("gzip, br"), coded("br;q=0.8 ,GZIP"));
        let split = [("accept-encoding", "gzip"), ("accept-encoding", "br")];
        assert_eq!(coded("gzip, br"), of(&vary, &split));
        // An origin may use any coding that is named, or any at all where the field is not there.
        for (left, right) in [("gzip", "gzip, deflate"), ("gzip", "gzip, new"), ("new", "newer")] {
            assert_ne!(coded(left), coded(right), "{left} {right}");
        }
        for value in ["", "identity", "*"] {
            assert_ne!(coded(value), of(&vary, &[]), "{value}");
        }
    }

    proptest! {
        #[test]
        fn reading_anything_never_panics(
            value in "[a-z*, -]{0,40}|\\PC{0,40}",
            other in "[a-z, *;=q]{0,20}",
        ) {
            let mut builder = Fields::builder();
            if builder.push("vary", value.as_bytes()).is_ok()
                && let Some(names) = VaryNames::of(&builder.finish())
            {
                let mut sorted: Vec<_> = names.iter().collect();
                sorted.sort_unstable();
                sorted.dedup();
                prop_assert!(sorted.into_iter().eq(names.iter()));
                let request = [("accept-encoding", &*other), ("origin", &*other)];
                prop_assert_eq!(of(&names, &request), of(&names, &request));
            }
        }
    }
}
