//! Entries as lines of text.
//!
//! What clients sent is escaped, so that nothing in it can end its line, pass for another field, or
//! tell a terminal what to do.

use super::Entry;
use super::date::Date;
use crate::config::AccessLogFormat;
use std::fmt;
use std::io::Write;

/// Appends the line of an entry, with its newline, the only one in it.
pub(super) fn push_line(format: AccessLogFormat, entry: &Entry, out: &mut Vec<u8>) {
    match format {
        AccessLogFormat::Json => json(entry, out),
        AccessLogFormat::Common => common(entry, out),
    }
    out.push(b'\n');
}

/// One object, its members always the same and in the same order.
fn json(entry: &Entry, out: &mut Vec<u8>) {
    let Date { year, month, day, hour, minute, second, micros } = Date::from_micros(entry.time_us);
    put(out, format_args!("{{\"time\":\"{year:04}-{month:02}-{day:02}T"));
    put(out, format_args!("{hour:02}:{minute:02}:{second:02}.{micros:06}Z\""));
    let host = entry.peer.ip().to_canonical();
    put(out, format_args!(",\"host\":\"{host}\",\"port\":{}", entry.peer.port()));
    json_text(out, "version", Some(entry.version));
    json_text(out, "method", Some(&entry.method));
    json_text(out, "scheme", Some(entry.scheme));
    json_text(out, "authority", Some(&entry.authority));
    json_text(out, "target", Some(&entry.target));
    let Entry { status, sent_bytes, duration_us, .. } = entry;
    put(out, format_args!(",\"status\":{status},\"sent_bytes\":{sent_bytes}"));
    put(out, format_args!(",\"duration_us\":{duration_us}"));
    json_text(out, "client", entry.client.map(|client| client.to_string()).as_deref());
    json_text(out, "referer", entry.referer.as_deref());
    json_text(out, "user_agent", entry.user_agent.as_deref());
    out.push(b'}');
}

fn json_text(out: &mut Vec<u8>, name: &str, text: Option<&str>) {
    put(out, format_args!(",\"{name}\":"));
    let Some(text) = text else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' | '\\' => put(out, format_args!("\\{character}")),
            hidden if is_hidden(hidden) => put(out, format_args!("\\u{:04x}", u32::from(hidden))),
            shown => out.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Whether a character does something other than being seen: the control characters, and those that
/// separate lines, are invisible or change the direction of the text around them. All of them have
/// four hex digits.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

/// The common log format with the two fields that make it the combined one, in UTC.
fn common(entry: &Entry, out: &mut Vec<u8>) {
    let date = Date::from_micros(entry.time_us);
    let Date { year, day, hour, minute, second, .. } = date;
    let month = date.month_name();
    put(out, format_args!("{} - - [{day:02}/{month}/{year:04}", entry.peer.ip().to_canonical()));
    put(out, format_args!(":{hour:02}:{minute:02}:{second:02} +0000] \""));
    common_text(out, &entry.method, Spaces::Escaped);
    out.push(b' ');
    common_text(out, &entry.target, Spaces::Escaped);
    put(out, format_args!(" HTTP/{}\" {} {} \"", entry.version, entry.status, entry.sent_bytes));
    common_text(out, entry.referer.as_deref().unwrap_or("-"), Spaces::Left);
    out.extend_from_slice(b"\" \"");
    common_text(out, entry.user_agent.as_deref().unwrap_or("-"), Spaces::Left);
    out.push(b'"');
}

/// What becomes of spaces; some texts are told from the next one by a space.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spaces {
    Left,
    Escaped,
}

/// A text in printable ASCII without quotes, every other byte as `\xHH`.
fn common_text(out: &mut Vec<u8>, text: &str, spaces: Spaces) {
    for byte in text.bytes() {
        match byte {
            b' ' if spaces == Spaces::Left => out.push(b' '),
            b'"' | b'\\' => put(out, format_args!("\\x{byte:02X}")),
            shown if shown.is_ascii_graphic() => out.push(shown),
            other => put(out, format_args!("\\x{other:02X}")),
        }
    }
}

fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes whatever is written to it");
}

#[cfg(test)]
mod tests {
    use super::super::tests::entry;
    use super::*;
    use crate::wire::ClientId;
    use proptest::prelude::*;
    use serde_json::Value;

    const HOSTILE: &str = "a\"b\\c\nd\re\tf\x1b[2J\0g\x7fh\u{9b}i\u{2028}j\u{202e}k é";

    fn line(format: AccessLogFormat, entry: &Entry) -> String {
        let mut out = Vec::new();
        push_line(format, entry, &mut out);
        let text = String::from_utf8(out).expect("lines are text");
        let line = text.strip_suffix('\n').expect("a line ends");
        assert!(!line.contains(is_hidden), "{line:?}");
        line.to_owned()
    }

    fn hostile(text: &str) -> Entry {
        Entry {
            method: text.to_owned(),
            authority: text.to_owned(),
            target: text.to_owned(),
            referer: Some(text.to_owned()),
            user_agent: Some(text.to_owned()),
            ..entry("/")
        }
    }

    #[test]
    fn an_entry_is_an_object() {
        let expected = "{\"time\":\"2000-10-10T13:55:36.000042Z\",\"host\":\"192.0.2.7\",\
                        \"port\":5000,\"version\":\"3\",\"method\":\"GET\",\"scheme\":\"https\",\
                        \"authority\":\"edge.example\",\"target\":\"/a?b=c\",\"status\":200,\
                        \"sent_bytes\":2326,\"duration_us\":815,\"client\":null,\
                        \"referer\":null,\"user_agent\":null}";
        assert_eq!(line(AccessLogFormat::Json, &entry("/a?b=c")), expected);
        let full = Entry {
            peer: "[::ffff:192.0.2.8]:1".parse().unwrap(),
            client: Some(ClientId([0xab; 16])),
            referer: Some("https://a/".to_owned()),
            user_agent: Some("b/1 (c)".to_owned()),
            ..entry("/")
        };
        let full = line(AccessLogFormat::Json, &full);
        let end = "\"client\":\"abababababababababababababababab\",\"referer\":\"https://a/\",\
                   \"user_agent\":\"b/1 (c)\"}";
        assert!(full.ends_with(end), "{full}");
        assert!(full.contains("\"host\":\"192.0.2.8\",\"port\":1,"), "{full}");
    }

    #[test]
    fn an_entry_is_a_common_line() {
        let agent = Entry {
            referer: Some("https://a/".to_owned()),
            user_agent: Some("b/1 (c)".to_owned()),
            version: "1.1",
            ..entry("/a")
        };
        let start = "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000]";
        assert_eq!(
            line(AccessLogFormat::Common, &entry("/a?b=c")),
            format!("{start} \"GET /a?b=c HTTP/3\" 200 2326 \"-\" \"-\"")
        );
        assert_eq!(
            line(AccessLogFormat::Common, &agent),
            format!("{start} \"GET /a HTTP/1.1\" 200 2326 \"https://a/\" \"b/1 (c)\"")
        );
    }

    #[test]
    fn hostile_texts_stay_texts() {
        let json = line(AccessLogFormat::Json, &hostile(HOSTILE));
        let escaped = "\"a\\\"b\\\\c\\u000ad\\u000de\\u0009f\\u001b[2J\\u0000g\\u007fh\\u009bi\
                       \\u2028j\\u202ek é\"";
        assert_eq!(json.matches(escaped).count(), 5, "{json}");
        let common = line(AccessLogFormat::Common, &hostile(HOSTILE));
        let escaped = "a\\x22b\\x5Cc\\x0Ad\\x0De\\x09f\\x1B[2J\\x00g\\x7Fh\\xC2\\x9Bi\
                       \\xE2\\x80\\xA8j\\xE2\\x80\\xAEk";
        assert!(common.contains(&format!("\"{escaped}\\x20\\xC3\\xA9 {escaped}\\x20")), "{common}");
        let last = format!("\"{escaped} \\xC3\\xA9\" \"{escaped} \\xC3\\xA9\"");
        assert!(common.ends_with(&last), "{common}");
    }

    proptest! {
        #[test]
        fn any_text_comes_back_and_changes_nothing_else(text in any::<String>()) {
            let entry = hostile(&text);
            let json: Value = serde_json::from_str(&line(AccessLogFormat::Json, &entry)).unwrap();
            for name in ["method", "authority", "target", "referer", "user_agent"] {
                prop_assert_eq!(&json[name], &Value::from(text.as_str()));
            }
            prop_assert_eq!(&json["status"], &Value::from(200));
            let common = line(AccessLogFormat::Common, &entry);
            prop_assert!(common.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let parts: Vec<_> = common.split('"').collect();
            prop_assert_eq!(parts.len(), 7);
            prop_assert_eq!(parts[1].split(' ').count(), 3);
            prop_assert_eq!(parts[2], " 200 2326 ");
        }
    }
}
