//! Wakes a machine at the moment it asked for, which every input may bring forward.

use super::clock::Clock;
use crate::wire::Time;
use std::cell::Cell;
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct Alarm {
    armed: Cell<Time>,
    earlier: Notify,
}

impl Alarm {
    /// The machine wants to be woken at `due`: after each input.
    pub(crate) fn set(&self, due: Time) {
        if due < self.armed.get() {
            self.earlier.notify_one();
        }
    }

    /// Wakes the machine for ever: `due` asks it when, `wake` does it.
    pub(crate) async fn run(&self, clock: Clock, due: impl Fn() -> Time, wake: impl Fn()) {
        loop {
            let moment = due();
            self.armed.set(moment);
            let moment = tokio::time::Instant::from_std(clock.instant(moment));
            tokio::select! {
                () = tokio::time::sleep_until(moment) => wake(),
                () = self.earlier.notified() => {}
            }
        }
    }
}
