//! The names of things: clients, servers, keys, versions, epochs.

macro_rules! sixteen_bytes {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Reads 16 bytes.
            pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
                reader.array($what).map(Self)
            }

            /// Writes 16 bytes.
            pub fn encode(&self, out: &mut impl BufMut) {
                out.put_slice(&self.0);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl std::str::FromStr for $name {
            type Err = DecodeError;

            fn from_str(text: &str) -> Result<Self, DecodeError> {
                let wrong = DecodeError::Invalid { what: $what, why: "it is not 32 hex digits" };
                if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(wrong);
                }
                let number = u128::from_str_radix(text, 16).map_err(|_| wrong)?;
                Ok(Self(number.to_be_bytes()))
            }
        }
    };
}

mod epoch;
mod names;
mod version;

pub use epoch::{Assignment, Epoch, MAX_CHANGE, MAX_TERM};
pub(super) use epoch::{decode_counters, encode_counters};
pub use names::{ClientId, Key, MAX_KEY, MAX_NAME, Name};
pub use version::{Digest, Fingerprint, Fingerprinter, Tag, fingerprint};
