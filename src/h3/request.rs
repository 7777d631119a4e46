//! The head of a request (RFC 9114, section 4.3.1).
//!
//! Everything that two parties could read in different ways is refused: what stands twice, what
//! contradicts something else, what HTTP/1 would take for the end of a message.

use super::message::{
    Collector, MessageError, is_connection_specific, name_of, put_headers_frame, section_bound,
};
use super::qpack::{self, Limits, Strings};
use crate::wire::codec::DecodeError;
use crate::wire::http::{Fields, MAX_AUTHORITY, MAX_METHOD, RequestTarget, Scheme, is_token_byte};
use bytes::{Bytes, BytesMut};

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, a token; case matters. Never CONNECT.
    pub method: String,
    /// By which scheme the client says it came.
    pub scheme: Scheme,
    /// Whom the client asked: host and perhaps port, in lower case, never empty. It stands for the
    /// field `host`.
    pub authority: String,
    /// What for. `*` for OPTIONS only.
    pub target: RequestTarget,
    /// Its fields, without `host` and those that are about the connection. There is one `cookie`,
    /// and one `content-length` in plain digits.
    pub fields: Fields,
    /// How long its content is, if the fields say so.
    pub content_length: Option<u64>,
}

impl RequestHead {
    /// Reads a field section.
    ///
    /// # Errors
    /// See [`MessageError`]. Nothing is kept.
    pub fn decode(section: &[u8], limits: Limits) -> Result<Self, MessageError> {
        let mut pseudo = Pseudo::default();
        let mut collector = Collector::new(section.len());
        qpack::decode(section, limits, |name, value| {
            let name = name_of(name)?;
            if name.starts_with(':') {
                if collector.has_fields {
                    return Err(MessageError::Malformed("a pseudo-header stands behind a field"));
                }
                return pseudo.push(name, value);
            }
            if name == "host" {
                collector.has_fields = true;
                return set_once(&mut pseudo.host, || read_authority(value.trim_ascii()));
            }
            collector.push(name, value)
        })?;
        let (method, scheme, authority, target) = pseudo.finish()?;
        let (fields, content_length) = collector.finish()?;
        Ok(Self { method, scheme, authority, target, fields, content_length })
    }

    /// Writes the HEADERS frame. The fields must say how long the content is, if anything does.
    pub fn encode(&self, strings: Strings, out: &mut BytesMut) {
        let bound = section_bound(&self.fields)
            + self.method.len()
            + self.authority.len()
            + self.target.as_bytes().len()
            + 32;
        put_headers_frame(out, bound, |out| {
            let scheme = self.scheme.as_str().as_bytes();
            qpack::put_pseudo(out, ":method", self.method.as_bytes(), strings);
            qpack::put_pseudo(out, ":scheme", scheme, strings);
            qpack::put_pseudo(out, ":authority", self.authority.as_bytes(), strings);
            qpack::put_pseudo(out, ":path", self.target.as_bytes(), strings);
            for (name, value) in self.fields.iter() {
                if name != "host" && !is_connection_specific(name) {
                    qpack::put_field(out, name, value, strings);
                }
            }
        });
    }
}

/// What the pseudo-headers say, and the field `host`.
#[derive(Default)]
struct Pseudo {
    method: Option<String>,
    scheme: Option<Scheme>,
    authority: Option<String>,
    path: Option<Bytes>,
    host: Option<String>,
    has_protocol: bool,
}

impl Pseudo {
    fn push(&mut self, name: &str, value: &[u8]) -> Result<(), MessageError> {
        match name {
            ":method" => set_once(&mut self.method, || read_method(value)),
            ":scheme" => set_once(&mut self.scheme, || match value {
                b"https" => Ok(Scheme::Https),
                b"http" => Ok(Scheme::Http),
                _ => Err(MessageError::Malformed("the scheme is not one of HTTP")),
            }),
            ":authority" => set_once(&mut self.authority, || read_authority(value)),
            ":path" => set_once(&mut self.path, || Ok(Bytes::copy_from_slice(value))),
            ":protocol" if !self.has_protocol => {
                self.has_protocol = true;
                Ok(())
            }
            _ => Err(MessageError::Malformed("a pseudo-header is unknown or stands twice")),
        }
    }

    fn finish(self) -> Result<(String, Scheme, String, RequestTarget), MessageError> {
        let method = self.method.ok_or(MessageError::Malformed("there is no method"))?;
        if method == "CONNECT" {
            return Err(match (self.has_protocol, self.scheme, &self.path) {
                (true, Some(_), Some(_)) => MessageError::ExtendedConnect,
                (false, None, None) if self.authority.is_some() => MessageError::Connect,
                _ => MessageError::Malformed("CONNECT has the wrong pseudo-headers"),
            });
        }
        if self.has_protocol {
            return Err(MessageError::Malformed("only CONNECT has a protocol"));
        }
        let scheme = self.scheme.ok_or(MessageError::Malformed("there is no scheme"))?;
        let authority = match (self.authority, self.host) {
            (Some(authority), Some(host)) if authority != host => {
                return Err(MessageError::Malformed("the authority is not the host"));
            }
            (Some(authority), _) | (None, Some(authority)) => authority,
            (None, None) => return Err(MessageError::Malformed("there is no authority")),
        };
        let path = self.path.ok_or(MessageError::Malformed("there is no path"))?;
        let target = RequestTarget::new(path).map_err(|error| match error {
            DecodeError::AboveLimit { .. } => MessageError::TargetTooLong,
            error => error.into(),
        })?;
        if target.as_str() == "*" && method != "OPTIONS" {
            return Err(MessageError::Malformed("only OPTIONS is for no target"));
        }
        Ok((method, scheme, authority, target))
    }
}

/// Sets what may be set once.
fn set_once<T>(
    place: &mut Option<T>,
    read: impl FnOnce() -> Result<T, MessageError>,
) -> Result<(), MessageError> {
    if place.is_some() {
        return Err(MessageError::Malformed("a pseudo-header or the host stands twice"));
    }
    *place = Some(read()?);
    Ok(())
}

fn read_method(value: &[u8]) -> Result<String, MessageError> {
    if value.is_empty() || !value.iter().all(|byte| is_token_byte(*byte)) {
        return Err(MessageError::Malformed("the method is no token"));
    }
    if value.len() > MAX_METHOD {
        return Err(MessageError::MethodTooLong);
    }
    Ok(name_of(value)?.to_owned())
}

/// Reads an authority without user information (RFC 3986, section 3.2), in lower case.
fn read_authority(value: &[u8]) -> Result<String, MessageError> {
    let is_good = |text: &&str| text.len() <= MAX_AUTHORITY && is_authority(text);
    let text = std::str::from_utf8(value).ok().filter(is_good);
    let text = text.ok_or(MessageError::Malformed("the authority is not host and port"))?;
    Ok(text.to_ascii_lowercase())
}

fn is_authority(text: &str) -> bool {
    let is_port =
        |port: &str| matches!(port.len(), 1..=5) && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(bracketed) = text.strip_prefix('[') {
        let Some((address, rest)) = bracketed.split_once(']') else {
            return false;
        };
        let is_address = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        return !address.is_empty()
            && address.bytes().all(is_address)
            && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    // What may stand in a registered name: neither '@' nor anything that ends an authority.
    let is_common = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_host = |byte: u8| is_common(byte) || b"_~!$&'()*+,;=%".contains(&byte);
    !host.is_empty() && host.bytes().all(is_host) && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests;
