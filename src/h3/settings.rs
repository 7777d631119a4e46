//! SETTINGS (RFC 9114, section 7.2.4): what each side tells the other first.

use super::error::{Code, Error};
use super::frames::SETTINGS;
use crate::wire::codec::{peek_varint, put};
use bytes::BufMut;

/// Largest payload of SETTINGS, in bytes.
pub const MAX_SETTINGS_BYTES: usize = 512;
/// Settings in one frame, at the most: some ten exist.
pub const MAX_SETTINGS: usize = 32;

const QPACK_MAX_TABLE_CAPACITY: u64 = 0x01;
const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
const QPACK_BLOCKED_STREAMS: u64 = 0x07;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;
const H3_DATAGRAM: u64 = 0x33;

/// What a peer says of itself. Settings that we have no use for are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Largest field section that it takes, counted as RFC 9114, section 4.2.2, does, in bytes.
    /// There is no limit unless it says so.
    pub max_field_section_size: Option<u64>,
    /// Capacity of the dynamic table that it would keep for us, in bytes. We use none.
    pub qpack_max_table_capacity: u64,
    /// Streams that may wait for that table.
    pub qpack_blocked_streams: u64,
}

impl Settings {
    /// Reads the payload of the frame.
    ///
    /// # Errors
    /// Settings that stand twice, belong to HTTP/2, have a value that they cannot have, or are cut
    /// short or too many.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let wrong = |why| Err(Error::connection(Code::SettingsError, why));
        let mut settings = Self::default();
        let mut known = [0; MAX_SETTINGS];
        let mut count = 0;
        let mut rest = payload;
        while !rest.is_empty() {
            let (identifier, value) = read_pair(&mut rest)?;
            if known[..count].contains(&identifier) {
                return wrong("a setting stands twice");
            }
            let Some(place) = known.get_mut(count) else {
                return Err(Error::connection(Code::ExcessiveLoad, "there are many settings"));
            };
            *place = identifier;
            count += 1;
            match identifier {
                QPACK_MAX_TABLE_CAPACITY => settings.qpack_max_table_capacity = value,
                MAX_FIELD_SECTION_SIZE => settings.max_field_section_size = Some(value),
                QPACK_BLOCKED_STREAMS => settings.qpack_blocked_streams = value,
                ENABLE_CONNECT_PROTOCOL | H3_DATAGRAM if value > 1 => {
                    return wrong("a setting is neither 0 nor 1");
                }
                // Section 11.2.2: HTTP/2 uses them for what HTTP/3 does not need.
                0x00 | 0x02..=0x05 => return wrong("a setting is one of HTTP/2"),
                _ => {}
            }
        }
        Ok(settings)
    }

    /// Writes the frame. A capacity or count of 0 is what everybody assumes, and is said all the
    /// same: a reader of a trace should not have to know.
    pub fn encode(&self, out: &mut impl BufMut) {
        let pairs = [
            (MAX_FIELD_SECTION_SIZE, self.max_field_section_size),
            (QPACK_MAX_TABLE_CAPACITY, Some(self.qpack_max_table_capacity)),
            (QPACK_BLOCKED_STREAMS, Some(self.qpack_blocked_streams)),
        ];
        let pairs = pairs.into_iter().filter_map(|(identifier, value)| Some((identifier, value?)));
        let size = |(identifier, value)| put::varint_size(identifier) + put::varint_size(value);
        put::varint(out, SETTINGS);
        put::varint(out, pairs.clone().map(size).sum::<usize>() as u64);
        for (identifier, value) in pairs {
            put::varint(out, identifier);
            put::varint(out, value);
        }
    }
}

fn read_pair(rest: &mut &[u8]) -> Result<(u64, u64), Error> {
    let mut read = || {
        let (number, length) = peek_varint(rest)?;
        *rest = &rest[length..];
        Some(number)
    };
    match (read(), read()) {
        (Some(identifier), Some(value)) => Ok((identifier, value)),
        _ => Err(Error::connection(Code::FrameError, "a setting is cut short")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::MAX_VARINT;
    use proptest::prelude::*;

    fn payload(pairs: &[(u64, u64)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (identifier, value) in pairs {
            put::varint(&mut out, *identifier);
            put::varint(&mut out, *value);
        }
        out
    }

    fn code(pairs: &[(u64, u64)]) -> Code {
        Settings::decode(&payload(pairs)).unwrap_err().code
    }

    #[test]
    fn settings_survive() {
        let settings = Settings {
            max_field_section_size: Some(MAX_VARINT),
            qpack_max_table_capacity: 4096,
            qpack_blocked_streams: 100,
        };
        let mut out = Vec::new();
        settings.encode(&mut out);
        assert_eq!(out[..2], [SETTINGS as u8, out.len() as u8 - 2]);
        assert_eq!(Settings::decode(&out[2..]), Ok(settings));
        assert_eq!(Settings::decode(&[]), Ok(Settings::default()));
        let unknown = payload(&[(0x21, MAX_VARINT), (0x08, 1), (0x33, 0), (MAX_VARINT, 0)]);
        assert_eq!(Settings::decode(&unknown), Ok(Settings::default()));
    }

    #[test]
    fn bad_settings_are_refused() {
        assert_eq!(code(&[(0x06, 1), (0x06, 1)]), Code::SettingsError);
        assert_eq!(code(&[(0x21, 1), (0x06, 1), (0x21, 1)]), Code::SettingsError);
        for identifier in [0x00, 0x02, 0x03, 0x04, 0x05] {
            assert_eq!(code(&[(identifier, 0)]), Code::SettingsError, "{identifier}");
        }
        assert_eq!(code(&[(0x08, 2)]), Code::SettingsError);
        assert_eq!(code(&[(0x33, 2)]), Code::SettingsError);
        let many: Vec<_> = (0..=MAX_SETTINGS as u64).map(|at| (0x1000 + at, 0)).collect();
        assert_eq!(code(&many), Code::ExcessiveLoad);
        assert!(Settings::decode(&payload(&many[1..])).is_ok());
        for cut in [&b"\x06"[..], b"\x06\x40", b"\x40"] {
            assert_eq!(Settings::decode(cut).unwrap_err().code, Code::FrameError);
        }
    }

    proptest! {
        #[test]
        fn decoding_anything_never_panics(payload: Vec<u8>) {
            let _ = Settings::decode(&payload);
        }
    }
}
