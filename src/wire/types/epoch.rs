//! How new an assignment is, and what it says.

use super::names::Name;
use crate::wire::codec::{DecodeError, Reader, put};
use bytes::BufMut;
use std::cmp::Ordering;

/// Largest term: 24 bits, so that a router's assignment table packs an epoch into one word. At one
/// takeover a minute a client gets there in 31 years.
pub const MAX_TERM: u64 = (1 << 24) - 1;
/// Largest change within a term: 14 bits, for the same reason.
pub const MAX_CHANGE: u64 = (1 << 14) - 1;

/// How new an assignment is. The higher one wins everywhere.
///
/// `term` grows when the primary changes, `change` when only the alternate does. The primary's name
/// is compared last, so that two routers that decide at once never tie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Grows when the primary changes; starts at 1. What output calls "epoch".
    pub term: u64,
    /// Grows when only the alternate changes; starts at 0 in each term.
    pub change: u64,
    /// The server that this epoch makes primary.
    pub primary: Name,
}

impl Epoch {
    /// The first epoch of a term.
    pub fn new(term: u64, primary: Name) -> Self {
        Self { term, change: 0, primary }
    }

    /// The epoch in which the same primary has another alternate: the next change, or the next
    /// term where a change can count no further. `None` at the highest epoch that there is.
    pub fn next_change(&self) -> Option<Self> {
        if self.change >= MAX_CHANGE {
            return self.next_term(self.primary.clone());
        }
        Some(Self { change: self.change + 1, ..self.clone() })
    }

    /// The epoch in which `primary` takes over. `None` at the highest term that there is: a counter
    /// that stood still there would let two epochs tie.
    pub fn next_term(&self, primary: Name) -> Option<Self> {
        (self.term < MAX_TERM).then(|| Self::new(self.term + 1, primary))
    }

    /// Reads two counters and a name.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let (term, change) = decode_counters(reader)?;
        Ok(Self { term, change, primary: Name::decode(reader)? })
    }

    /// Writes two counters and a name.
    ///
    /// # Panics
    /// If term or change is not one that [`Epoch::decode`] takes.
    pub fn encode(&self, out: &mut impl BufMut) {
        encode_counters((self.term, self.change), out);
        self.primary.encode(out);
    }
}

/// Reads the term and the change of an epoch.
pub(in crate::wire) fn decode_counters(reader: &mut Reader) -> Result<(u64, u64), DecodeError> {
    let term = reader.varint("term", MAX_TERM)?;
    if term == 0 {
        return Err(DecodeError::Invalid { what: "term", why: "terms start at 1" });
    }
    Ok((term, reader.varint("change", MAX_CHANGE)?))
}

/// Writes the term and the change of an epoch.
///
/// # Panics
/// If they are not what [`decode_counters`] takes.
pub(in crate::wire) fn encode_counters((term, change): (u64, u64), out: &mut impl BufMut) {
    assert!(term > 0, "terms start at 1");
    put::limited(out, term, MAX_TERM);
    put::limited(out, change, MAX_CHANGE);
}

impl Ord for Epoch {
    fn cmp(&self, other: &Self) -> Ordering {
        let ours = (self.term, self.change, &self.primary);
        ours.cmp(&(other.term, other.change, &other.primary))
    }
}

impl PartialOrd for Epoch {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Who services a client, who would take over, and how new this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The epoch, which names the primary.
    pub epoch: Epoch,
    /// The server that holds the second mirror; none while there is no other server.
    pub alternate: Option<Name>,
}

impl Assignment {
    /// The server that services the client.
    pub fn primary(&self) -> &Name {
        &self.epoch.primary
    }

    /// Reads an epoch and a name that may be missing.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let epoch = Epoch::decode(reader)?;
        Ok(Self { epoch, alternate: Name::decode_option(reader)? })
    }

    /// Writes an epoch and a name that may be missing.
    pub fn encode(&self, out: &mut impl BufMut) {
        self.epoch.encode(out);
        Name::encode_option(self.alternate.as_ref(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    #[test]
    fn epochs_never_tie() {
        let name = |text| Name::new(text).unwrap();
        let epoch = |term, change, primary| Epoch { term, change, primary: name(primary) };
        assert!(epoch(2, 0, "a") > epoch(1, 9, "z"));
        assert!(epoch(1, 1, "a") > epoch(1, 0, "z"));
        assert!(epoch(1, 0, "b") > epoch(1, 0, "a"));
    }

    #[test]
    fn each_step_is_higher_and_the_last_is_refused() {
        let name = |text| Name::new(text).unwrap();
        let epoch = |term, change, primary| Epoch { term, change, primary: name(primary) };
        assert_eq!(epoch(7, 3, "z").next_change(), Some(epoch(7, 4, "z")));
        assert_eq!(epoch(7, MAX_CHANGE, "z").next_change(), Some(epoch(8, 0, "z")));
        assert_eq!(epoch(MAX_TERM, MAX_CHANGE, "z").next_change(), None);
        assert_eq!(epoch(7, 3, "z").next_term(name("a")), Some(epoch(8, 0, "a")));
        assert_eq!(epoch(MAX_TERM, 0, "z").next_term(name("a")), None);
        assert!(epoch(7, 3, "z").next_term(name("a")) > Some(epoch(7, 3, "z")));
    }

    #[test]
    fn only_terms_and_changes_that_fit_the_table_are_read() {
        let read = |term, change| {
            let mut out = BytesMut::new();
            put::varint(&mut out, term);
            put::varint(&mut out, change);
            Name::new("a").unwrap().encode(&mut out);
            Epoch::decode(&mut Reader::new(&out.freeze()))
        };
        assert!(read(1, 0).is_ok() && read(MAX_TERM, MAX_CHANGE).is_ok());
        assert!(read(0, 0).is_err(), "it would pack to an empty word");
        assert!(read(MAX_TERM + 1, 0).is_err() && read(1, MAX_CHANGE + 1).is_err());
    }
}
