//! Values that a configuration writes as text: sizes, and the addresses of peers.

use rustls_pki_types::DnsName;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Units of a size, largest first. Only powers of 1,024, so that nobody has to guess.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a number of bytes: `"1048576"`, `"1024KiB"`, `"1 MiB"`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (digits, factor) = unit.unwrap_or((text, 1));
    let digits = digits.trim_end();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Writes a number of bytes with the largest unit that leaves a whole number.
pub(super) fn size_text(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*factor);
    let (unit, factor) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// What stands before a name that is that of several members.
const SEVERAL: &str = "dns:";

/// Where other members of the backplane listen: an address or a host name, and a port. It is one
/// member; or, with `dns:` before a name, one at each address that the name has.
///
/// Names are looked up while the program runs, again and again, not when the configuration is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddress {
    host: String,
    port: u16,
    several: bool,
}

impl PeerAddress {
    /// The host: an IP address without brackets, or a name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether there is a member at each address of the host.
    pub fn is_several(&self) -> bool {
        self.several
    }

    /// The one address, if it is not a name that has to be looked up.
    pub fn literal(&self) -> Option<SocketAddr> {
        Some((self.host.parse::<IpAddr>().ok()?, self.port).into())
    }

    /// Whether it is surely on this machine: a loopback address, or `localhost`.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port(), several: false }
    }
}

impl FromStr for PeerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix(SEVERAL) {
            let one: Self = name.parse()?;
            return match one.literal() {
                _ if one.several => Err("it has dns: twice".to_owned()),
                Some(_) => Err("dns: is for a name, and this is an address".to_owned()),
                None => Ok(Self { several: true, ..one }),
            };
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err("it has no port".to_owned());
        }
        let address = match text.parse::<SocketAddr>() {
            Ok(address) => Self::from(address),
            Err(_) => {
                let (host, port) = text.rsplit_once(':').ok_or("it has no port")?;
                let port = port.parse().map_err(|_| "its port is not a number up to 65535")?;
                DnsName::try_from(host).map_err(|_| "its host is neither an address nor a name")?;
                Self { host: host.to_owned(), port, several: false }
            }
        };
        if address.port == 0 {
            return Err("nothing can be reached at port 0".to_owned());
        }
        Ok(address)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.several {
            f.write_str(SEVERAL)?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, bytes) in [("0", 0), ("17", 17), ("17B", 17), ("1KiB", 1024), ("2 MiB", 2 << 20)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "1MB", "1.5MiB", "-1", "+1", "1 024", "99999999999TiB", "1KiBKiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
        assert_eq!(size_text(64 << 20), "64MiB");
        assert_eq!(size_text(1025), "1025B");
        assert_eq!(size_text(0), "0B");
    }

    #[test]
    fn peers_have_a_host_and_a_port() {
        let good = ["10.0.0.11:4443", "[::1]:4443", "localhost:1", "server-1.internal:65535"];
        for text in good.into_iter().chain(["dns:servers.internal:4443", "dns:a:1"]) {
            let peer = text.parse::<PeerAddress>().unwrap();
            assert_eq!(peer.to_string(), text);
            assert_eq!(peer.is_several(), text.starts_with("dns:"));
        }
        let literal = |text: &str| text.parse::<PeerAddress>().unwrap().literal();
        assert_eq!(literal("[::1]:1"), "[::1]:1".parse().ok());
        assert_eq!((literal("localhost:1"), literal("dns:localhost:1")), (None, None));
        let bad = ["", "a", "a:", "a:x", "a:65536", "a:0", "10.0.0.1", "::1", "[::1]", ":4443"];
        let dns = ["dns:", "dns:a", "dns:10.0.0.1:1", "dns:[::1]:1", "dns:dns:a:1", "dns:a:0"];
        for text in bad.into_iter().chain(dns).chain(["a b:1", "http://a:1", "[a]:1"]) {
            assert!(text.parse::<PeerAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_known_without_a_lookup() {
        let loopback = |text: &str| text.parse::<PeerAddress>().unwrap().is_loopback();
        assert!(loopback("127.0.0.2:1") && loopback("[::1]:1") && loopback("localhost:1"));
        assert!(loopback("[::ffff:127.0.0.1]:1"));
        assert!(!loopback("10.0.0.1:1") && !loopback("0.0.0.0:1") && !loopback("a.localhost.b:1"));
    }

    proptest! {
        #[test]
        fn sizes_survive_writing(bytes in any::<u64>()) {
            prop_assert_eq!(parse_size(&size_text(bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_a_peer_or_is_refused(text in any::<String>()) {
            if let Ok(peer) = text.parse::<PeerAddress>() {
                prop_assert_eq!(peer.to_string().parse(), Ok(peer));
            }
            let _ = parse_size(&text);
        }
    }
}
