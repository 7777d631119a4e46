//! How the servers are told to keep a directory fresh, as an argument.

use crate::config::{DEFAULT_VERIFY_MS, Freshness, MAX_TTL_MS};
use std::time::Duration;

/// Reads `always`, `watch` or `ttl=MS`.
pub(super) fn parse(text: &str) -> Result<Freshness, String> {
    match (text, text.strip_prefix("ttl=").map(str::parse)) {
        ("always", _) => Ok(Freshness::Always),
        ("watch", _) => Ok(Freshness::Watch { verify: Duration::from_millis(DEFAULT_VERIFY_MS) }),
        (_, Some(Ok(ms))) if (1..=MAX_TTL_MS).contains(&ms) => {
            Ok(Freshness::Ttl { ttl: Duration::from_millis(ms) })
        }
        (_, Some(_)) => Err(format!("expected ttl=1 to ttl={} milliseconds", MAX_TTL_MS)),
        _ => Err("expected 'always', 'watch' or 'ttl=MS', such as ttl=1000".to_owned()),
    }
}
