//! From a key to a path inside the served directory.
//!
//! This is the first of two guards: it refuses in plain words what can only be a mistake or an
//! attack. The second one is the kernel's, which resolves what is left beneath the root only.

use crate::source::SourceError;
use std::borrow::Cow;

/// The item of a key that ends in `/`.
const INDEX: &str = "index.html";

/// The path, relative to the root, of the file that `key` names.
///
/// The query is ignored. Each segment between two `/` is percent-decoded once, after the split, so
/// that no escape can add a segment.
pub(super) fn path_of(key: &str) -> Result<String, SourceError> {
    let path = key.split_once('?').map_or(key, |(path, _query)| path);
    let Some(path) = path.strip_prefix('/') else {
        return Err(SourceError::Refused("the key does not start with '/'".into()));
    };
    let (folders, last) = match path.rsplit_once('/') {
        Some((folders, last)) => (Some(folders), last),
        None => (None, path),
    };
    let mut out = String::with_capacity(path.len() + INDEX.len());
    for folder in folders.into_iter().flat_map(|folders| folders.split('/')) {
        out.push_str(&segment(folder)?);
        out.push('/');
    }
    match last {
        "" => out.push_str(INDEX),
        last => out.push_str(&segment(last)?),
    }
    Ok(out)
}

/// One decoded segment: the plain name of a visible file or folder.
fn segment(raw: &str) -> Result<Cow<'_, str>, SourceError> {
    let refused = |why: &str| SourceError::Refused(format!("the path segment '{raw}' {why}"));
    let decoded = decode(raw).map_err(refused)?;
    match &*decoded {
        "" => Err(refused("is empty")),
        "." | ".." => Err(refused("stands for a folder, not for a name in it")),
        name if name.starts_with('.') => Err(refused("is hidden: its name starts with '.'")),
        name if name.contains('/') => Err(refused("has an escaped '/'")),
        name if name.contains('\0') => Err(refused("has an escaped NUL")),
        _ => Ok(decoded),
    }
}

/// Resolves percent-encodings.
fn decode(raw: &str) -> Result<Cow<'_, str>, &'static str> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        (out, rest) = match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                let digits = hex(*high).zip(hex(*low));
                let (high, low) = digits.ok_or("has a '%' without two hex digits after it")?;
                out.push(high << 4 | low);
                (out, after)
            }
            (b'%', _) => return Err("has a '%' without two hex digits after it"),
            _ => {
                out.push(byte);
                (out, after)
            }
        };
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| "does not decode to UTF-8")
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_become_relative_paths() {
        for (key, path) in [
            ("/", "index.html"),
            ("/?x=/../y", "index.html"),
            ("/a", "a"),
            ("/a/", "a/index.html"),
            ("/a/b%20c.txt?q=1", "a/b c.txt"),
            ("/%C3%A4%25", "ä%"),
            ("/a%3fb", "a?b"),
            ("/a..b/c.", "a..b/c."),
            // Decoded once only: this is a file whose name has a percent sign.
            ("/%252e%252e/a", "%2e%2e/a"),
        ] {
            assert_eq!(path_of(key).as_deref(), Ok(path), "{key}");
        }
    }

    #[test]
    fn every_encoding_of_a_way_out_is_refused() {
        for key in [
            "",
            "a",
            "?/a",
            "//a",
            "/a//b",
            "/.",
            "/..",
            "/../a",
            "/a/../../b",
            "/a/..",
            "/a/./b",
            "/%2e",
            "/%2e%2e",
            "/%2E%2e/a",
            "/.%2e/a",
            "/%2e./a",
            "/%2e%2e%2fa",
            "/..%2fa",
            "/a%2fb",
            "/a%2F..%2Fb",
            "/%2fetc/passwd",
            "/%2f",
            "/a%00",
            "/a%00.txt",
            "/%zz",
            "/%2",
            "/%",
            "/a%",
            "/%%32e",
            "/%+2",
            "/%ff",
            "/%c0%ae%c0%ae/a",
            "/%c0%af",
            "/%ed%a0%80",
            "/.hidden",
            "/a/.git/config",
            "/%2ehidden",
            "/.../a",
        ] {
            let found = path_of(key);
            assert!(matches!(found, Err(SourceError::Refused(_))), "{key}: {found:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_wrong() {
        assert_eq!(
            path_of("/a/%2e%2e/b").unwrap_err().to_string(),
            "refused: the path segment '%2e%2e' stands for a folder, not for a name in it"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_let_through_stays_beneath_the_root(key in "[/.%?a-f0-9\\PC]{0,24}") {
            if let Ok(path) = path_of(&key) {
                let plain = |part| matches!(part, std::path::Component::Normal(_));
                prop_assert!(std::path::Path::new(&path).components().all(plain), "{path}");
                let plain = |name: &str| !name.is_empty() && !name.starts_with('.');
                prop_assert!(path.split('/').all(plain));
                prop_assert!(!path.contains('\0'));
            }
        }
    }
}
