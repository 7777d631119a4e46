//! `Cache-Control` (RFC 9111, section 5.2) of requests and of responses.

use super::list::{MAX_ELEMENTS, decimal, elements, pair};
use crate::wire::http::{Fields, is_token_byte};

/// The longest time that is told from a longer one, in seconds: what RFC 9111 (section 1.2.2) has
/// caches use for numbers that they cannot hold.
pub const MAX_DELTA_S: u64 = 1 << 31;

/// The directives of a message that mean something to a shared cache. Of two that say different
/// things the stricter one counts; unknown ones say nothing. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// Nothing of this exchange may be kept.
    pub no_store: bool,
    /// Nothing kept may be used without asking the origin. With names of fields behind it, it would
    /// be about these alone; the whole response is treated in this way then, which is allowed.
    pub no_cache: bool,
    /// It is for one client, or some of its fields are.
    pub private: bool,
    /// It is for everybody, even if asked for with credentials.
    pub public: bool,
    /// What is stale may not be used.
    pub must_revalidate: bool,
    /// The same for shared caches alone.
    pub proxy_revalidate: bool,
    /// Only what a cache has may be the answer.
    pub only_if_cached: bool,
    /// How old a response may become; of a request, how old one may be. What is no number is 0.
    pub max_age_s: Option<u64>,
    /// The same for shared caches alone.
    pub s_maxage_s: Option<u64>,
    /// How long it may be used, once stale, if the origin fails (RFC 5861).
    pub stale_if_error_s: Option<u64>,
    /// How long it may be used, once stale, while the origin is asked (RFC 5861).
    pub stale_while_revalidate_s: Option<u64>,
    /// For how long a response must still be fresh to be wanted.
    pub min_fresh_s: Option<u64>,
    /// For how long a response may have been stale to be wanted.
    pub max_stale_s: Option<u64>,
}

impl CacheControl {
    /// Reads the directives of a message.
    ///
    /// What follows the first 64 is not read. As it might be `private`, such a
    /// message counts as one that says `no-store`.
    pub fn of(fields: &Fields) -> Self {
        let mut control = Self::default();
        let values = fields.all("cache-control");
        let directives = values.flat_map(|value| elements(value, b','));
        for (index, directive) in directives.enumerate() {
            if index == MAX_ELEMENTS {
                control.no_store = true;
                break;
            }
            control.take(directive);
        }
        control
    }

    /// Reads those of a request, where `Pragma: no-cache` stands for the directive if there is no
    /// `Cache-Control` (section 5.4).
    pub fn of_request(fields: &Fields) -> Self {
        let mut control = Self::of(fields);
        if fields.has("pragma") && !fields.has("cache-control") {
            let mut pragmas = fields.all("pragma").flat_map(|value| elements(value, b','));
            control.no_cache = pragmas
                .by_ref()
                .take(MAX_ELEMENTS)
                .any(|one| one.eq_ignore_ascii_case(b"no-cache"));
        }
        control
    }

    fn take(&mut self, directive: &[u8]) {
        let (name, argument) = pair(directive);
        // What a quoted string that does not end has swallowed might have been `private`.
        let opens = argument.starts_with(b"\"");
        if opens && (argument.len() < 2 || !argument.ends_with(b"\"")) {
            self.no_store = true;
        }
        // `private; x` is no directive, but whoever wrote it meant what it begins with.
        let end = name.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(name.len());
        let name = &name[..end];
        let mut lower = [0; 24];
        let Some(place) = lower.get_mut(..name.len()) else {
            return;
        };
        place.copy_from_slice(name);
        place.make_ascii_lowercase();
        match &*place {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => at_most(&mut self.max_age_s, delta(argument)),
            b"s-maxage" => at_most(&mut self.s_maxage_s, delta(argument)),
            b"stale-if-error" => at_most(&mut self.stale_if_error_s, delta(argument)),
            b"stale-while-revalidate" => {
                at_most(&mut self.stale_while_revalidate_s, delta(argument));
            }
            b"max-stale" if argument.is_empty() => at_most(&mut self.max_stale_s, MAX_DELTA_S),
            b"max-stale" => at_most(&mut self.max_stale_s, delta(argument)),
            b"min-fresh" => {
                self.min_fresh_s = self.min_fresh_s.max(Some(min_fresh(argument)));
            }
            _ => {}
        }
    }
}

/// Seconds, with or without quotes; what is no number is 0, so that nothing is kept on its account.
fn delta(argument: &[u8]) -> u64 {
    number(argument).unwrap_or(0)
}

/// The stricter reading of what is no number is the other one here: nothing is fresh enough.
fn min_fresh(argument: &[u8]) -> u64 {
    number(argument).unwrap_or(MAX_DELTA_S)
}

fn number(argument: &[u8]) -> Option<u64> {
    let unquoted = argument.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
    decimal(unquoted.unwrap_or(argument)).map(|number| number.min(MAX_DELTA_S))
}

fn at_most(place: &mut Option<u64>, limit: u64) {
    *place = Some(place.map_or(limit, |before| before.min(limit)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn control(values: &[&str]) -> CacheControl {
        CacheControl::of(&Fields::of(values.iter().map(|value| ("cache-control", *value))))
    }

    #[test]
    fn directives_are_read_in_all_their_forms() {
        let read = control(&["Max-Age=\"60\", PRIVATE=\"set-cookie, x\" ,no-cache", "s-maxage=5"]);
        let expected = CacheControl {
            max_age_s: Some(60),
            s_maxage_s: Some(5),
            private: true,
            no_cache: true,
            ..CacheControl::default()
        };
        assert_eq!(read, expected);
        assert_eq!(control(&["foo=\"no-store, private\", xprivate, max-agee=1"]), control(&[]));
        assert_eq!(control(&["max-age=99999999999999999999"]).max_age_s, Some(MAX_DELTA_S));
        assert_eq!(control(&["max-stale"]).max_stale_s, Some(MAX_DELTA_S));
    }

    #[test]
    fn the_stricter_of_two_counts() {
        assert_eq!(control(&["max-age=60", "max-age=5, max-age=30"]).max_age_s, Some(5));
        for bad in ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=\"", "max-age=1 2"]
        {
            assert_eq!(control(&["max-age=60", bad]).max_age_s, Some(0), "{bad}");
        }
        assert_eq!(control(&["min-fresh=1, min-fresh=x"]).min_fresh_s, Some(MAX_DELTA_S));
        assert!(control(&["public, private"]).private);
    }

    #[test]
    fn what_is_not_read_might_be_strict() {
        assert!(control(&["max-age=60, x=\"a, private"]).no_store);
        assert!(control(&["max-age=60, x=\""]).no_store);
        assert!(control(&["max-age=60, private; x"]).private);
        let many = "a,".repeat(MAX_ELEMENTS);
        assert!(!control(&[&many]).no_store);
        assert!(control(&[&many, "max-age=5"]).no_store);
    }

    #[test]
    fn pragma_counts_where_there_is_nothing_better() {
        let request = |pairs: &[(&str, &str)]| {
            CacheControl::of_request(&Fields::of(pairs.iter().copied())).no_cache
        };
        assert!(request(&[("pragma", "x=1, No-Cache")]));
        assert!(!request(&[("pragma", "no-cache"), ("cache-control", "max-age=5")]));
        assert!(!request(&[("pragma", "cache")]));
    }

    proptest! {
        #[test]
        fn times_are_bounded(
            value in "((max-age|s-maxage|min-fresh|private)=?\"?[0-9]{0,22}\"?,?){0,4}|\\PC{0,40}",
        ) {
            let value = value.trim_ascii();
            let mut builder = Fields::builder();
            if builder.push("cache-control", value.as_bytes()).is_ok() {
                let control = CacheControl::of(&builder.finish());
                for time_s in [control.max_age_s, control.s_maxage_s, control.min_fresh_s] {
                    prop_assert!(time_s.is_none_or(|time_s| time_s <= MAX_DELTA_S));
                }
            }
        }
    }
}
