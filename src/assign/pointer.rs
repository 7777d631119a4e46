//! A pointer that readers follow while writers replace what it points to.
//!
//! The one file with unsafe code. What was replaced is freed when every thread that may still read
//! it has let go of its guard: epochs, by `crossbeam`.
#![allow(unsafe_code)]

#[cfg(not(all(test, understudy_loom)))]
mod real {
    use crossbeam::epoch::{self, Atomic, Owned, Shared};
    use std::mem;
    use std::ptr;
    use std::sync::atomic::Ordering::{AcqRel, Acquire};

    /// While it lives, nothing that its thread can reach is freed.
    pub(in crate::assign) struct Guard(epoch::Guard);

    /// Cheap where the thread has a guard already.
    pub(in crate::assign) fn pin() -> Guard {
        Guard(epoch::pin())
    }

    pub(in crate::assign) struct Pointer<T>(Atomic<T>);

    impl<T: Send + Sync + 'static> Pointer<T> {
        pub(in crate::assign) fn null() -> Self {
            Self(Atomic::null())
        }

        pub(in crate::assign) fn load<'a>(&'a self, guard: &'a Guard) -> Option<&'a T> {
            let current = self.0.load(Acquire, &guard.0);
            // SAFETY: it is null, or a value that `replace` put here, released before our acquiring
            // load, and never changed through a mutable reference. `replace` frees it only after
            // all guards of the time are gone, `drop` only with `self`, and the result outlives
            // neither.
            unsafe { current.as_ref() }
        }

        /// Puts `new` in the place of `old`, which `load` gave; `false` if something else is there
        /// by now.
        pub(in crate::assign) fn replace(
            &self,
            old: Option<&T>,
            new: Option<T>,
            guard: &Guard,
        ) -> bool {
            // Loaded again rather than made from `old`, from which nothing could be freed: a shared
            // reference gives no right to. An equal address means the same value, since `old` is
            // borrowed under a guard and cannot have been freed.
            let current = self.0.load(Acquire, &guard.0);
            if current.as_raw() != old.map_or(ptr::null(), ptr::from_ref) {
                return false;
            }
            let new = new.map(Owned::new);
            let exchanged = match new {
                Some(new) => {
                    self.0.compare_exchange(current, new, AcqRel, Acquire, &guard.0).is_ok()
                }
                None => {
                    let null = Shared::null();
                    self.0.compare_exchange(current, null, AcqRel, Acquire, &guard.0).is_ok()
                }
            };
            if exchanged && !current.is_null() {
                // SAFETY: the exchange took the only pointer to it away, so that whoever reads it
                // holds a guard from before, and nobody else frees it: the exchange of one pointer
                // succeeds once.
                unsafe { guard.0.defer_destroy(current) };
                // Not kept until there are enough to be worth the while: they are large.
                guard.0.flush();
            }
            exchanged
        }
    }

    impl<T> Drop for Pointer<T> {
        fn drop(&mut self) {
            // SAFETY: nobody else has the pointer any more, what `load` gave has ended with the
            // borrows of `self`, and what it points to was never given to `defer_destroy`.
            drop(unsafe { mem::take(&mut self.0).try_into_owned() });
        }
    }
}

/// For loom, which cannot follow the epochs: what is replaced stays, and so the models show nothing
/// about when it is freed. That rests on the arguments above, on Miri and on the test with threads.
#[cfg(all(test, understudy_loom))]
mod model {
    use loom::sync::atomic::AtomicPtr;
    use std::ptr;
    use std::sync::atomic::Ordering::{AcqRel, Acquire};

    pub(in crate::assign) struct Guard;

    pub(in crate::assign) fn pin() -> Guard {
        Guard
    }

    pub(in crate::assign) struct Pointer<T>(AtomicPtr<T>);

    impl<T: Send + Sync + 'static> Pointer<T> {
        pub(in crate::assign) fn null() -> Self {
            Self(AtomicPtr::new(ptr::null_mut()))
        }

        pub(in crate::assign) fn load<'a>(&'a self, _: &'a Guard) -> Option<&'a T> {
            // SAFETY: null, or leaked by `replace`.
            unsafe { self.0.load(Acquire).as_ref() }
        }

        pub(in crate::assign) fn replace(
            &self,
            old: Option<&T>,
            new: Option<T>,
            _: &Guard,
        ) -> bool {
            let old = old.map_or(ptr::null_mut(), |old| ptr::from_ref(old).cast_mut());
            let new = new.map_or(ptr::null_mut(), |new| ptr::from_mut(Box::leak(Box::new(new))));
            self.0.compare_exchange(old, new, AcqRel, Acquire).is_ok()
        }
    }
}

#[cfg(all(test, understudy_loom))]
pub(super) use model::{Guard, Pointer, pin};
#[cfg(not(all(test, understudy_loom)))]
pub(super) use real::{Guard, Pointer, pin};
