//! What the table knows of one client, in one word.

use crate::wire::types::{MAX_CHANGE, MAX_TERM};
use std::fmt;
use std::num::NonZeroU64;

/// Most servers that one process can name.
pub const MAX_SERVERS: usize = 1023;

/// A server's place in the process's list of names, below [`MAX_SERVERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerIndex(u16);

impl ServerIndex {
    /// `None` from [`MAX_SERVERS`] on.
    pub fn new(index: usize) -> Option<Self> {
        (index < MAX_SERVERS).then_some(Self(index as u16))
    }

    /// The place as a number, which counts from 0 without gaps.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// Under what title the primary is asked, until it has confirmed that it lists the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Title {
    /// It has confirmed.
    Known,
    /// The client is fresh, and the primary may hand it on.
    Assign,
    /// The client was handed on, and the primary must serve it.
    HandedOn,
    /// The primary is to take the client over.
    Takeover,
}

/// What the table knows of one client: an assignment whose servers are numbers, and a title.
///
/// From the highest bit down: 4 bits that are zero and belong to the table, 24 bits of term, 14 of
/// change, 10 of primary, 10 of alternate, 2 of title. Never zero, since terms start at 1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry(NonZeroU64);

const TITLE_BITS: u32 = 2;
const SERVER_BITS: u32 = 10;
const CHANGE_BITS: u32 = 14;
const TERM_BITS: u32 = 24;

const ALTERNATE_SHIFT: u32 = TITLE_BITS;
const PRIMARY_SHIFT: u32 = ALTERNATE_SHIFT + SERVER_BITS;
const CHANGE_SHIFT: u32 = PRIMARY_SHIFT + SERVER_BITS;
const TERM_SHIFT: u32 = CHANGE_SHIFT + CHANGE_BITS;
/// Bits of an entry; the table may use the ones above.
pub(super) const ENTRY_BITS: u32 = TERM_SHIFT + TERM_BITS;

/// What stands for no alternate: no server has this place.
const NO_SERVER: u64 = MAX_SERVERS as u64;

const _: () = assert!(MAX_TERM == (1 << TERM_BITS) - 1 && MAX_CHANGE == (1 << CHANGE_BITS) - 1);
const _: () = assert!(NO_SERVER == (1 << SERVER_BITS) - 1);
const _: () = assert!(ENTRY_BITS < u64::BITS, "the table needs a bit to freeze an entry");

impl Entry {
    /// `None` if the term is 0 or above [`MAX_TERM`], or the change above [`MAX_CHANGE`].
    pub fn new(
        term: u64,
        change: u64,
        primary: ServerIndex,
        alternate: Option<ServerIndex>,
        title: Title,
    ) -> Option<Self> {
        if term == 0 || term > MAX_TERM || change > MAX_CHANGE {
            return None;
        }
        let alternate = alternate.map_or(NO_SERVER, |alternate| u64::from(alternate.0));
        let title = match title {
            Title::Known => 0,
            Title::Assign => 1,
            Title::HandedOn => 2,
            Title::Takeover => 3,
        };
        let word = (term << TERM_SHIFT)
            | (change << CHANGE_SHIFT)
            | (u64::from(primary.0) << PRIMARY_SHIFT)
            | (alternate << ALTERNATE_SHIFT)
            | title;
        NonZeroU64::new(word).map(Self)
    }

    /// The term of the epoch, from 1 to [`MAX_TERM`].
    pub fn term(self) -> u64 {
        self.0.get() >> TERM_SHIFT
    }

    /// The change of the epoch, up to [`MAX_CHANGE`].
    pub fn change(self) -> u64 {
        self.bits(CHANGE_SHIFT, CHANGE_BITS)
    }

    /// The server that services the client.
    pub fn primary(self) -> ServerIndex {
        ServerIndex(self.bits(PRIMARY_SHIFT, SERVER_BITS) as u16)
    }

    /// The server that holds the second mirror.
    pub fn alternate(self) -> Option<ServerIndex> {
        ServerIndex::new(self.bits(ALTERNATE_SHIFT, SERVER_BITS) as usize)
    }

    /// Under what title the primary is asked.
    pub fn title(self) -> Title {
        match self.bits(0, TITLE_BITS) {
            0 => Title::Known,
            1 => Title::Assign,
            2 => Title::HandedOn,
            _ => Title::Takeover,
        }
    }

    /// The same assignment under another title.
    pub fn with_title(self, title: Title) -> Self {
        let new = Self::new(self.term(), self.change(), self.primary(), self.alternate(), title);
        new.expect("an entry's own numbers are in range")
    }

    /// The word that the table keeps.
    pub(super) fn word(self) -> u64 {
        self.0.get()
    }

    /// The entry that a word without the table's bits stands for; zero stands for none.
    pub(super) fn from_word(word: u64) -> Option<Self> {
        NonZeroU64::new(word).map(Self)
    }

    fn bits(self, shift: u32, bits: u32) -> u64 {
        (self.0.get() >> shift) & ((1 << bits) - 1)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("term", &self.term())
            .field("change", &self.change())
            .field("primary", &self.primary().get())
            .field("alternate", &self.alternate().map(ServerIndex::get))
            .field("title", &self.title())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn server() -> impl Strategy<Value = ServerIndex> {
        (0..MAX_SERVERS).prop_map(|index| ServerIndex::new(index).unwrap())
    }

    fn title() -> impl Strategy<Value = Title> {
        prop_oneof![
            Just(Title::Known),
            Just(Title::Assign),
            Just(Title::HandedOn),
            Just(Title::Takeover)
        ]
    }

    proptest! {
        #[test]
        fn an_entry_says_what_was_packed(
            term in prop_oneof![1..=MAX_TERM, Just(1), Just(MAX_TERM)],
            change in prop_oneof![0..=MAX_CHANGE, Just(0), Just(MAX_CHANGE)],
            primary in server(),
            alternate in prop::option::of(server()),
            titles in (title(), title()),
        ) {
            let entry = Entry::new(term, change, primary, alternate, titles.0).unwrap();
            prop_assert_eq!(entry.term(), term);
            prop_assert_eq!(entry.change(), change);
            prop_assert_eq!(entry.primary(), primary);
            prop_assert_eq!(entry.alternate(), alternate);
            prop_assert_eq!(entry.title(), titles.0);
            prop_assert_eq!(entry.word() >> ENTRY_BITS, 0);
            prop_assert_eq!(Entry::from_word(entry.word()), Some(entry));
            let other = Entry::new(term, change, primary, alternate, titles.1).unwrap();
            prop_assert_eq!(entry.with_title(titles.1), other);
        }
    }

    #[test]
    fn numbers_out_of_range_are_no_entry() {
        let server = ServerIndex::new(0).unwrap();
        let new = |term, change| Entry::new(term, change, server, None, Title::Known);
        assert!(new(1, 0).is_some() && new(MAX_TERM, MAX_CHANGE).is_some());
        assert!(new(0, 1).is_none(), "it could be an empty word");
        assert!(new(MAX_TERM + 1, 0).is_none() && new(1, MAX_CHANGE + 1).is_none());
        assert_eq!(ServerIndex::new(MAX_SERVERS), None);
    }
}
