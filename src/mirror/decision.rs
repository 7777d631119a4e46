//! The decision that the product exists for: may the client use what it has?
//!
//! Whatever is decided here, the client checks the tag of what it hands out (design, section 4): a
//! mistake costs one round trip, never wrong bytes. So the cheapest sound evidence is enough.

use crate::wire::backplane::UseCachedBy;
use crate::wire::lane::Validator;
use crate::wire::{Digest, Fingerprint};

/// What a server decided for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What makes the client's copy good; `None` when the fresh version must go out.
    pub use_cached: Option<UseCachedBy>,
    /// The client holds something else than the mirror says: the mirror was wrong.
    pub drifted: bool,
    /// The version that the client holds, as far as it or the mirror says.
    pub holds: Option<Digest>,
}

/// Decides for a client of which the mirror knows `held`, and which says `validator` of its copy,
/// against the `fresh` version of the slot's key.
pub fn decide(held: Option<&Fingerprint>, validator: &Validator, fresh: &Fingerprint) -> Verdict {
    match validator {
        Validator::None => {
            let same = held.is_some_and(|held| held.digest == fresh.digest);
            let holds = held.map(|held| held.digest);
            Verdict { use_cached: same.then_some(UseCachedBy::Mirror), drifted: false, holds }
        }
        Validator::Crc { crc, length } => {
            let same = (*crc, *length) == (fresh.crc, fresh.length);
            let drifted = held.is_some_and(|held| (held.crc, held.length) != (*crc, *length));
            let holds = held.filter(|_| !drifted).map(|held| held.digest);
            Verdict { use_cached: same.then_some(UseCachedBy::Crc), drifted, holds }
        }
        Validator::Strong { digest, .. } => {
            let same = *digest == fresh.digest;
            let drifted = held.is_some_and(|held| held.digest != *digest);
            let holds = Some(*digest);
            Verdict { use_cached: same.then_some(UseCachedBy::Strong), drifted, holds }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::types::fingerprint;

    #[test]
    fn each_validator_decides_by_its_own_evidence() {
        let (fresh, old) = (fingerprint(b"", b"fresh"), fingerprint(b"", b"stale"));
        let crc = |of: &Fingerprint| Validator::Crc { crc: of.crc, length: of.length };
        let strong = |of: &Fingerprint| Validator::Strong { crc: of.crc, digest: of.digest };
        let by = |held: Option<&Fingerprint>, validator| {
            let verdict = decide(held, &validator, &fresh);
            (verdict.use_cached, verdict.drifted)
        };
        assert_eq!(by(Some(&fresh), Validator::None), (Some(UseCachedBy::Mirror), false));
        assert_eq!(by(Some(&old), Validator::None), (None, false));
        assert_eq!(by(None, Validator::None), (None, false));
        assert_eq!(by(None, crc(&fresh)), (Some(UseCachedBy::Crc), false));
        assert_eq!(by(Some(&old), crc(&fresh)), (Some(UseCachedBy::Crc), true));
        assert_eq!(by(Some(&fresh), crc(&old)), (None, true));
        assert_eq!(by(None, strong(&fresh)), (Some(UseCachedBy::Strong), false));
        assert_eq!(by(Some(&fresh), strong(&old)), (None, true));
    }

    #[test]
    fn what_the_client_holds_is_known_from_its_digest_or_an_undisputed_mirror() {
        let (fresh, old) = (fingerprint(b"", b"fresh"), fingerprint(b"", b"stale"));
        let crc = |of: &Fingerprint| Validator::Crc { crc: of.crc, length: of.length };
        let strong = Validator::Strong { crc: old.crc, digest: old.digest };
        let holds = |held, validator| decide(held, &validator, &fresh).holds;
        assert_eq!(holds(Some(&old), Validator::None), Some(old.digest));
        assert_eq!(holds(Some(&old), crc(&old)), Some(old.digest));
        assert_eq!(holds(Some(&fresh), crc(&old)), None, "a CRC alone does not tell which");
        assert_eq!(holds(None, crc(&old)), None);
        assert_eq!(holds(Some(&fresh), strong), Some(old.digest));
    }

    #[test]
    fn a_crc_of_another_length_is_not_equal() {
        let fresh = fingerprint(b"", b"fresh");
        let validator = Validator::Crc { crc: fresh.crc, length: fresh.length + 1 };
        assert_eq!(decide(None, &validator, &fresh).use_cached, None);
    }
}
