//! Which pool a request is for, by its host and path.
//!
//! Of all rules that match both, the one with the most specific host wins: its exact name, then the
//! longest wildcard, then a rule for all hosts; among those of the same host the longest path.
//! Nothing is matched as it was written: hosts lose their port, the case of letters and a final
//! dot, paths what RFC 3986, section 6.2.2, calls without meaning. So `/%61pi/` and `/x/../api/`
//! are under the rule for `/api/`, as they are for whoever serves them.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Longest name of a host (RFC 1035, section 2.3.4), without a final dot.
const MAX_HOST: usize = 253;

/// A host that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This one.
    Exact(String),
    /// All names that end in this one after a dot: `*.b.example` without `*.`.
    Below(String),
}

/// The beginning of all paths that a rule is for: whole segments, in their normal form and without
/// a final `/`. By default all paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPrefix(String);

/// What one pool serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its hosts; all where there are none.
    pub hosts: Vec<HostPattern>,
    /// Its paths; all where there are none.
    pub paths: Vec<PathPrefix>,
}

/// The rules of all pools, in the order of the pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(Vec<Rule>);

/// How specific a host is: the kind of pattern that matches it, and its length.
type HostRank = (u8, usize);

impl Routes {
    /// Rules, by the places of their pools.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// The pool for a request, by its place. The authority may have a port; the path is without its
    /// query.
    pub fn find(&self, authority: &str, path: &str) -> Option<usize> {
        if let [only] = &self.0[..]
            && only.hosts.is_empty()
            && only.paths.is_empty()
        {
            // The usual case: one pool for all.
            return Some(0);
        }
        let (host, path) = (normal_host(authority), normal_path(path));
        let ranked = self.0.iter().enumerate().filter_map(|(place, rule)| {
            let host = rule.host_rank(&host)?;
            let path = rule.path_rank(&path)?;
            Some(((host, path), place))
        });
        // The first one of equals, if there are any.
        ranked.rev().max_by_key(|(rank, _)| *rank).map(|(_, place)| place)
    }

    /// The pool of a client that has named only a host, or nothing: the one that serves that host's
    /// root, or the shortest path there is; else the first for all hosts; else the first.
    pub fn of_host(&self, host: Option<&str>) -> usize {
        let host = host.map(normal_host).unwrap_or_default();
        let ranked = self.0.iter().enumerate().filter(|(_, rule)| !rule.hosts.is_empty());
        let ranked = ranked.filter_map(|(place, rule)| {
            let path = rule.paths.iter().map(|path| path.0.len()).min().unwrap_or(0);
            Some(((rule.host_rank(&host)?, std::cmp::Reverse(path)), place))
        });
        let named = ranked.rev().max_by_key(|(rank, _)| *rank).map(|(_, place)| place);
        let for_all = || self.0.iter().position(|rule| rule.hosts.is_empty());
        named.or_else(for_all).unwrap_or(0)
    }
}

impl Rule {
    /// How specifically the rule is for a host; `None` if it is not.
    fn host_rank(&self, host: &str) -> Option<HostRank> {
        if self.hosts.is_empty() {
            return Some((0, 0));
        }
        self.hosts.iter().filter_map(|pattern| pattern.rank(host)).max()
    }

    /// The length of the longest path that the rule has for one, which is in its normal form.
    fn path_rank(&self, path: &str) -> Option<usize> {
        if self.paths.is_empty() {
            return Some(0);
        }
        let prefixes = self.paths.iter().filter(|prefix| prefix.matches(path));
        prefixes.map(|prefix| prefix.0.len()).max()
    }
}

impl HostPattern {
    fn rank(&self, host: &str) -> Option<HostRank> {
        match self {
            Self::Exact(name) => (name == host).then_some((2, name.len())),
            Self::Below(name) => {
                let below = host.strip_suffix(name.as_str())?.strip_suffix('.')?;
                (!below.is_empty()).then_some((1, name.len()))
            }
        }
    }
}

impl FromStr for HostPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if !below && let Some(address) = address_of(&name) {
            return Ok(Self::Exact(address));
        }
        let is_label = |label: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=63).contains(&label.len()) && label.bytes().all(known)
        };
        if name.contains(':') {
            return Err("a host has no port here");
        }
        if name.contains('*') {
            return Err("a wildcard stands for all of the first labels, as in \"*.b.example\"");
        }
        if name.len() > MAX_HOST || !name.split('.').all(is_label) {
            return Err("this is neither the name of a host nor an address");
        }
        if below && name.parse::<Ipv4Addr>().is_ok() {
            return Err("nothing is below an address");
        }
        Ok(if below { Self::Below(name) } else { Self::Exact(name) })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

impl PathPrefix {
    /// Whether a path, which is in its normal form, begins with these segments.
    fn matches(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.0.as_str());
        rest.is_some_and(|rest| self.0.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for PathPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("it does not start with '/'".to_owned());
        }
        let is_in_paths = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'*');
        if !text.bytes().all(is_in_paths) {
            return Err("it has a character that is not in paths, or is for all of them".to_owned());
        }
        let normal = normal_path(text);
        if normal != text {
            return Err(format!("no path matches it, for they are normalized: this is {normal:?}"));
        }
        Ok(Self(text.strip_suffix('/').unwrap_or(text).to_owned()))
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

/// The one way to write an address, with the brackets of one of IPv6; `None` for a name.
fn address_of(host: &str) -> Option<String> {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]")),
        None => host.parse::<Ipv4Addr>().ok().map(|address| address.to_string()),
    }
}

/// The host of an authority, as it is matched.
fn normal_host(authority: &str) -> String {
    let host = match authority.rsplit_once(':') {
        // Not a part of an address in brackets.
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    address_of(&host).unwrap_or(host)
}

/// A path as it is matched: what need not be percent-encoded is not, and there are no dot segments
/// (RFC 3986, sections 6.2.2 and 5.2.4). A `%` without two hex digits stands for itself.
pub fn normal_path(path: &str) -> Cow<'_, str> {
    let decoded = decode_unreserved(path);
    if !decoded.contains("/.") {
        return decoded;
    }
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_in_directory = false;
    for segment in decoded.split('/').skip(1) {
        ends_in_directory = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    if ends_in_directory {
        segments.push("");
    }
    Cow::Owned(format!("/{}", segments.join("/")))
}

fn decode_unreserved(path: &str) -> Cow<'_, str> {
    let Some(first) = path.find('%') else {
        return Cow::Borrowed(path);
    };
    let mut decoded = path[..first].to_owned();
    let mut rest = &path[first..];
    while let Some(place) = rest.find('%') {
        decoded.push_str(&rest[..place]);
        let after = &rest[place + 1..];
        let digits = after.get(..2).filter(|two| two.bytes().all(|it| it.is_ascii_hexdigit()));
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        let kept = match byte.map(char::from) {
            Some(it) if it.is_ascii_alphanumeric() || "-._~".contains(it) => {
                decoded.push(it);
                2
            }
            Some(it) => {
                decoded.push_str(&format!("%{:02X}", it as u32));
                2
            }
            None => {
                decoded.push_str("%25");
                0
            }
        };
        rest = &after[kept..];
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(hosts: &[&str], paths: &[&str]) -> Rule {
        Rule {
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            paths: paths.iter().map(|path| path.parse().unwrap()).collect(),
        }
    }

    fn routes() -> Routes {
        Routes::new(vec![
            rule(&[], &[]),
            rule(&["a.example"], &[]),
            rule(&["a.example", "*.b.example"], &["/api/"]),
            rule(&["*.c.b.example"], &[]),
            rule(&["*.b.example"], &["/api/v2", "/x"]),
            rule(&[], &["/api"]),
            rule(&["[::1]", "127.0.0.1"], &["/"]),
        ])
    }

    #[test]
    fn the_most_specific_host_wins_then_the_longest_path() {
        let routes = routes();
        for (authority, path, pool) in [
            ("a.example", "/", 1),
            ("A.Example.:8443", "/apix", 1),
            ("a.example", "/api", 2),
            ("a.example:1", "/api/", 2),
            ("x.b.example", "/api/v1", 2),
            ("x.b.example", "/api/v2/y", 4),
            ("x.b.example", "/api/v22", 2),
            ("x.c.b.example", "/api", 3),
            ("x.b.example", "/", 0),
            ("b.example", "/x", 0),
            (".b.example", "/x", 0),
            ("xb.example", "/x", 0),
            ("other", "/api/z", 5),
            ("[::1]:443", "/api", 6),
            ("[0:0:0::1]", "/", 6),
            ("127.0.0.1:443", "/", 6),
            ("", "*", 0),
        ] {
            assert_eq!(routes.find(authority, path), Some(pool), "{authority} {path}");
        }
    }

    #[test]
    fn no_rule_is_no_pool() {
        let routes = Routes::new(vec![rule(&["a.example"], &["/x"]), rule(&["*.b"], &[])]);
        assert_eq!(routes.find("a.example", "/"), None);
        assert_eq!(routes.find("b", "/x"), None);
        assert_eq!(routes.find("a.b", "/x"), Some(1));
        assert_eq!(Routes::default().find("a", "/"), None);
    }

    #[test]
    fn a_path_is_matched_by_its_normal_form() {
        let routes = Routes::new(vec![rule(&[], &[]), rule(&[], &["/api"])]);
        for path in ["/%61pi/", "/x/../api", "/./api/x", "/%2e%2E/api", "/x/%2e./%41/../../%61%70i"]
        {
            assert_eq!(routes.find("a", path), Some(1), "{path}");
        }
        for path in ["/api/..", "/api/../x", "/api%2Fx", "/%2561pi", "/API", "/api%", "/ap%69%31"] {
            assert_eq!(routes.find("a", path), Some(0), "{path}");
        }
        assert_eq!(normal_path("/a%2fb/%7Ec%zz%"), "/a%2Fb/~c%25zz%25");
        assert_eq!((normal_path("/a/b/.."), normal_path("/..")), ("/a/".into(), "/".into()));
    }

    #[test]
    fn a_client_without_a_path_is_of_the_pool_of_its_host() {
        let routes = routes();
        for (host, pool) in [
            (Some("a.example"), 1),
            (Some("x.b.example"), 4),
            (Some("x.c.b.example"), 3),
            (Some("other"), 0),
            (None, 0),
        ] {
            assert_eq!(routes.of_host(host), pool, "{host:?}");
        }
        let named = Routes::new(vec![rule(&["a"], &[]), rule(&["b"], &[]), rule(&[], &["/x"])]);
        assert_eq!((named.of_host(None), named.of_host(Some("b."))), (2, 1));
        assert_eq!(Routes::new(vec![rule(&["a"], &[]), rule(&["b"], &[])]).of_host(None), 0);
    }

    #[test]
    fn what_can_match_nothing_is_no_rule() {
        for text in ["", "*", "a.*", "*.*.b", "a:1", "[::1]:1", "a b", "ä", "*.127.0.0.1", "a..b"]
        {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
        for text in ["", "api", "/a?b", "/a#b", "/*", "/a/../b", "/%61", "/%2f", "/a b", "/ä"] {
            assert!(text.parse::<PathPrefix>().is_err(), "{text}");
        }
        let shown = |text: &str| text.parse::<PathPrefix>().unwrap().to_string();
        assert_eq!((shown("/"), shown("/a/"), shown("/a")), ("/".into(), "/a".into(), "/a".into()));
        let host: HostPattern = "*.B.Example.".parse().unwrap();
        assert_eq!(host.to_string(), "*.b.example");
    }

    fn segment() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("api".to_owned()),
            Just("%61pi".to_owned()),
            Just("..".to_owned()),
            Just("%2e.".to_owned()),
            Just(".".to_owned()),
            "[a-c%2eE.]{0,4}",
        ]
    }

    proptest! {
        #[test]
        fn normal_forms_are_normal(path in "/[ -~]{0,24}") {
            let once = normal_path(&path).into_owned();
            prop_assert_eq!(normal_path(&once), once.as_str());
            prop_assert!(once.starts_with('/'));
            prop_assert!(!once.split('/').any(|segment| matches!(segment, "." | "..")));
        }

        #[test]
        fn how_a_path_is_written_does_not_change_its_pool(
            segments in proptest::collection::vec(segment(), 0..6),
            encoded in any::<u64>(),
        ) {
            let routes = Routes::new(vec![rule(&[], &[]), rule(&[], &["/api"])]);
            let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
            let path = normal_path(&path).into_owned();
            // Any of the letters may be percent-encoded, and segments that go up again may come in.
            let is_set = |at: usize| encoded >> (at % 64) & 1 == 1;
            let written: String = path
                .char_indices()
                .map(|(at, it)| match it {
                    'a'..='z' | '.' if is_set(at) => format!("%{:02x}", it as u32),
                    '/' if is_set(at) => "/q/../".to_owned(),
                    it => it.to_string(),
                })
                .collect();
            prop_assert_eq!(routes.find("a", &written), routes.find("a", &path), "{}", written);
        }

        #[test]
        fn anything_can_be_asked_for(authority in ".{0,24}", path in ".{0,24}") {
            let found = routes().find(&authority, &path);
            prop_assert!(found.is_some());
            routes().of_host(Some(&authority));
            let _ = authority.parse::<HostPattern>();
            let _ = path.parse::<PathPrefix>();
        }
    }
}
