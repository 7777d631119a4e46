//! Sleeping until a time, to the microsecond where the system can: the event loop's own timers are
//! exact to a millisecond only, which would be most of a latency that is measured from a plan.

use std::io;
use std::time::Instant;

#[cfg(target_os = "linux")]
pub(super) use precise::Timer;

#[cfg(target_os = "linux")]
mod precise {
    use super::*;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use std::os::fd::OwnedFd;
    use std::time::Duration;
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// A timer of the system's.
    pub(in crate::load) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        /// Must be called inside the worker's runtime.
        pub(in crate::load) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            #[expect(
                deprecated,
                reason = "what replaces it is unsafe, for the sake of owners that lend a \
                          descriptor which they close; an OwnedFd does not"
            )]
            AsyncFd::with_interest(timer, Interest::READABLE).map(Self)
        }

        /// Sleeps until then.
        pub(in crate::load) async fn sleep_until(&mut self, time: Instant) -> io::Result<()> {
            // A time of zero would disarm the timer.
            let pause = time.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            let pause = Timespec::try_from(pause).map_err(io::Error::other)?;
            let once = Itimerspec { it_interval: none, it_value: pause };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            loop {
                let mut ready = self.0.readable().await?;
                let read =
                    ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0_u8; 8])?));
                match read {
                    Ok(Ok(_)) => return Ok(()),
                    Ok(Err(error)) => return Err(error),
                    // It had not run out after all.
                    Err(_) => {}
                }
            }
        }
    }
}

/// The event loop's own timer.
#[cfg(not(target_os = "linux"))]
pub(super) struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Sleeps until then.
    pub(super) async fn sleep_until(&mut self, time: Instant) -> io::Result<()> {
        tokio::time::sleep_until(time.into()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_timer_never_ends_too_soon_and_can_be_used_again() {
        let mut timer = Timer::new().unwrap();
        for pause in [Duration::ZERO, Duration::from_micros(300), Duration::from_millis(3)] {
            let until = Instant::now() + pause;
            timer.sleep_until(until).await.unwrap();
            assert!(Instant::now() >= until);
        }
    }
}
