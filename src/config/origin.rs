//! The HTTP origin that a server's items come from.

use super::section::Section;
use super::server::SourceConfig;
use rustls_pki_types::DnsName;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

/// Milliseconds that an origin may take to begin its answer, or to go on with it.
const DEFAULT_TIMEOUT_MS: u64 = 10_000;
/// Ten minutes: nobody waits longer.
const MAX_TIMEOUT_MS: u64 = 600_000;
/// A week: whoever serves older answers than that serves an archive.
const MAX_STALE_IF_ERROR_S: u64 = 7 * 86_400;
/// The port of `http` where a URL has none.
const HTTP_PORT: u16 = 80;
/// Longest prefix of all paths, in bytes: most of a request target is left for the request.
const MAX_PREFIX: usize = 1024;

const _: () = assert!(DEFAULT_TIMEOUT_MS < MAX_TIMEOUT_MS);

/// The URL of an HTTP origin: `http://host`, `http://host:port` or either with a path, below which
/// all requests go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginUrl {
    /// A name in lower case, or an address without brackets.
    host: String,
    port: u16,
    /// Empty, or a path that starts with `/` and does not end with it.
    prefix: String,
}

/// Why a text is no URL of an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginUrlError {
    /// Another scheme, or none.
    #[error("it does not start with http://")]
    Scheme,
    /// TLS to an origin is not available.
    #[error("https to an origin is not available yet, only http://")]
    Https,
    /// A name or password in it.
    #[error("it has a user before its host, which is not sent anywhere")]
    User,
    /// No host, or one that is neither a name nor an address.
    #[error("its host is neither an address nor a name")]
    Host,
    /// Not a port.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// A query or fragment, which belong to single requests.
    #[error("it has a '?' or '#', and a base of all requests has neither")]
    Query,
    /// A path that cannot be put before others.
    #[error("its path has '.' or '..', characters that must be percent-encoded, or is too long")]
    Path,
}

impl OriginUrl {
    /// The host: an IP address without brackets, or a name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What is put before the path of every request: nothing, or a path without `/` at its end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Host and port as they are sent: the usual port is left out.
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        if self.port == HTTP_PORT { host } else { format!("{host}:{}", self.port) }
    }
}

impl FromStr for OriginUrl {
    type Err = OriginUrlError;

    fn from_str(text: &str) -> Result<Self, OriginUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(OriginUrlError::Scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => return Err(OriginUrlError::Https),
            _ => return Err(OriginUrlError::Scheme),
        }
        if rest.contains(['?', '#']) {
            return Err(OriginUrlError::Query);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(OriginUrlError::User);
        }
        let (host, port) = read_authority(authority)?;
        let prefix = path.trim_end_matches('/');
        let is_plain = prefix.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain || prefix.len() > MAX_PREFIX || prefix.split('/').any(is_dots) {
            return Err(OriginUrlError::Path);
        }
        Ok(Self { host, port, prefix: prefix.to_owned() })
    }
}

fn is_dots(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// Host and port of `host`, `host:port`, `[address]` and `[address]:port`.
fn read_authority(text: &str) -> Result<(String, u16), OriginUrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(OriginUrlError::Host)?;
            let address: Ipv6Addr = address.parse().map_err(|_| OriginUrlError::Host)?;
            (address.to_string(), port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            if host.parse::<Ipv4Addr>().is_err() {
                DnsName::try_from(host).map_err(|_| OriginUrlError::Host)?;
            }
            (host.to_ascii_lowercase(), port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => HTTP_PORT,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port != 0).ok_or(OriginUrlError::Port)?
        }
        Some(_) => return Err(OriginUrlError::Port),
        None => return Err(OriginUrlError::Host),
    };
    Ok((host, port))
}

impl fmt::Display for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.prefix)
    }
}

/// What only an origin has in the table of a source.
pub(super) const ORIGIN_KEYS: [&str; 2] = ["timeout_ms", "stale_if_error_s"];

/// Reads what there is of an origin; none where there is no usable one.
pub(super) fn read_origin(section: &Section<'_>) -> Option<SourceConfig> {
    let url = section.parsed(
        "http",
        "write it like \"http://127.0.0.1:8080\" or \"http://app.internal/shop\"",
        |text| text.parse::<OriginUrl>().map_err(|error| error.to_string()),
    );
    let timeout = section.number("timeout_ms", 1..=MAX_TIMEOUT_MS, DEFAULT_TIMEOUT_MS);
    let stale_if_error = section.number("stale_if_error_s", 0..=MAX_STALE_IF_ERROR_S, 0);
    Some(SourceConfig::Http {
        url: url?.value,
        timeout: Duration::from_millis(timeout.value),
        stale_if_error: Duration::from_secs(stale_if_error.value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_url_has_a_host_and_perhaps_a_port_and_a_path() {
        let url = |text: &str| text.parse::<OriginUrl>().unwrap();
        for (text, host, port, authority, prefix) in [
            ("http://127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080", ""),
            ("HTTP://App.Internal/", "app.internal", 80, "app.internal", ""),
            ("http://app:80/shop//", "app", 80, "app", "/shop"),
            ("http://[::1]:81/a/b", "::1", 81, "[::1]:81", "/a/b"),
            ("http://[::1]", "::1", 80, "[::1]", ""),
        ] {
            let url = url(text);
            assert_eq!((url.host(), url.port(), url.prefix()), (host, port, prefix), "{text}");
            assert_eq!(url.authority(), authority);
            assert_eq!(url.to_string().parse(), Ok(url));
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        use OriginUrlError::{Host, Https, Path, Port, Query, Scheme, User};
        for (text, why) in [
            ("", Scheme),
            ("127.0.0.1:8080", Scheme),
            ("ftp://a", Scheme),
            ("https://a", Https),
            ("http://", Host),
            ("http:///a", Host),
            ("http://a b", Host),
            ("http://[::1", Host),
            ("http://[::1]x", Host),
            ("http://::1", Host),
            ("http://a:", Port),
            ("http://a:0", Port),
            ("http://a:65536", Port),
            ("http://a:+1", Port),
            ("http://user:password@a", User),
            ("http://a?b", Query),
            ("http://a/#b", Query),
            ("http://a/../b", Path),
            ("http://a/%2E./b", Path),
            ("http://a/b c", Path),
        ] {
            assert_eq!(text.parse::<OriginUrl>(), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_url_or_is_refused(text in "(http://)?\\PC{0,40}") {
            if let Ok(url) = text.parse::<OriginUrl>() {
                prop_assert_eq!(url.to_string().parse(), Ok(url));
            }
        }
    }
}
