//! Pages, and the right to write to a part of one: the only unsafe code of mirrors.
//!
//! A [`Space`] is a range of a page, and the right to it. It cannot be copied. It is made with its
//! page, for all of it; it can be split in two, and two neighbours can be joined. So no two spaces
//! ever overlap, whoever uses them in whatever way, and that is all that the unsafe code needs:
//! filling a space moves it into the `Bytes` that is given out, and while anybody holds a clone of
//! that, nobody has the space to fill it again. Dropping the last clone moves it on, into the queue
//! of the arena, or drops it where there is no arena any more.
//!
//! A page is freed with the last space of it, wherever that is.
#![allow(unsafe_code)]

use bytes::Bytes;
use crossbeam::queue::SegQueue;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::{Arc, Weak};
use std::{ptr, slice};

/// Spaces whose bytes nobody reads any more, each with the number that it was filled under.
pub(super) type Returns = SegQueue<(u32, Space)>;

/// Memory that nobody has written to, or somebody who had a space of it.
struct Page {
    bytes: Box<[MaybeUninit<UnsafeCell<u8>>]>,
    returns: Weak<Returns>,
}

// SAFETY: the bytes are the only part that is not shared safely by itself. They are reached through
// a `Space` alone, and no two of those overlap. Who has a space may write to its range. Once it is
// filled, its range is only read, by any number of threads, until the space is moved on: by the
// drop of the last `Bytes`, which happens after all those reads (its count is decremented with
// release and acquire). Whoever writes there next got the space from that drop by the queue, whose
// push happens before the pop, or by other safe means of passing a value between threads.
unsafe impl Sync for Page {}

/// A range of a page, which nobody else has.
pub(super) struct Space {
    page: Arc<Page>,
    start: u32,
    length: u32,
}

impl Space {
    /// All of a new page. Its parts come back to `returns` after use, for as long as that lives.
    pub(super) fn new(length: u32, returns: &Arc<Returns>) -> Self {
        let bytes = Box::new_uninit_slice(length as usize);
        let page = Arc::new(Page { bytes, returns: Arc::downgrade(returns) });
        Self { page, start: 0, length }
    }

    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// Keeps the first `length` bytes and gives the rest.
    pub(super) fn split_off(&mut self, length: u32) -> Self {
        let rest = self.length.checked_sub(length).expect("no more is kept than there is");
        self.length = length;
        Self { page: Arc::clone(&self.page), start: self.start + length, length: rest }
    }

    /// Adds the range right behind this one.
    pub(super) fn join(&mut self, next: Self) {
        assert!(
            Arc::ptr_eq(&self.page, &next.page) && self.start + self.length == next.start,
            "only neighbours make one range"
        );
        self.length += next.length;
    }

    /// Copies `payload` to the start of the range. The range comes back under `number` when the
    /// last clone of the result is dropped.
    pub(super) fn fill(self, payload: &[u8], number: u32) -> Bytes {
        assert!(payload.len() <= self.length as usize, "the payload was to fit");
        let start = self.start();
        // SAFETY: `start` is valid for writes of `self.length` bytes, at least as many as the
        // payload has. This is the one space that covers them, and it has not been given to a
        // `Filled` yet: nobody reads them, and nobody else writes there. The payload can be no part
        // of them, because it can be read.
        unsafe { ptr::copy_nonoverlapping(payload.as_ptr(), start, payload.len()) };
        Bytes::from_owner(Filled { space: Some(self), used: payload.len(), number })
    }

    /// The first byte, of which as many are valid as the range is long.
    fn start(&self) -> *mut u8 {
        let range = self.start as usize..(self.start + self.length) as usize;
        // Cells may be written to through a shared reference.
        self.page.bytes[range].as_ptr().cast::<u8>().cast_mut()
    }
}

/// A space with a payload, owned by the `Bytes` that were given out.
struct Filled {
    /// There until the drop.
    space: Option<Space>,
    used: usize,
    number: u32,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        let space = self.space.as_ref().expect("only the drop takes it");
        // SAFETY: `fill` wrote `used` bytes from the start of the space on, and moved it in here.
        // Nobody writes to a range without its space, which leaves only when `self` is dropped: the
        // bytes do not change while the result is borrowed from it.
        unsafe { slice::from_raw_parts(space.start(), self.used) }
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let Some(space) = self.space.take() else { return };
        if let Some(returns) = space.page.returns.upgrade() {
            returns.push((self.number, space));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_returns_after_the_last_clone_and_can_be_filled_again() {
        let returns = Arc::new(Returns::new());
        let mut space = Space::new(64, &returns);
        let rest = space.split_off(16);
        assert_eq!((space.length(), rest.length()), (16, 48));
        let (first, second) = (space.fill(b"first", 1), rest.fill(&[2; 48], 2));
        let part = first.slice(1..3);
        drop(first);
        assert!(returns.is_empty(), "a part of it is still read");
        assert_eq!((&part[..], &second[..]), (&b"ir"[..], &[2; 48][..]));
        drop((part, second));
        let (number, mut space) = returns.pop().unwrap();
        let (next, rest) = returns.pop().unwrap();
        assert_eq!((number, next), (1, 2));
        space.join(rest);
        assert_eq!(space.fill(&[3; 64], 3), [3; 64][..]);
    }

    #[test]
    fn what_was_given_out_outlives_the_queue() {
        let returns = Arc::new(Returns::new());
        let bytes = Space::new(8, &returns).fill(b"outlives", 0);
        drop(returns);
        assert_eq!(bytes.clone(), &b"outlives"[..]);
    }

    #[test]
    #[should_panic(expected = "only neighbours")]
    fn others_than_neighbours_are_not_joined() {
        let returns = Arc::new(Returns::new());
        let mut first = Space::new(8, &returns);
        let rest = first.split_off(4);
        first.join(rest);
        first.join(Space::new(8, &returns));
    }

    #[test]
    #[should_panic(expected = "was to fit")]
    fn a_payload_that_is_too_long_is_not_written() {
        Space::new(8, &Arc::new(Returns::new())).fill(&[0; 9], 0);
    }
}
