//! The threads of a router or server: one worker each, with an event loop of its own.

use super::steering::pin_to_core;
use std::io;
use std::sync::Arc;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

/// The workers' end of the order to stop.
#[derive(Clone)]
pub(crate) struct StopOrder(watch::Receiver<bool>);

impl StopOrder {
    /// Waits for the order.
    pub(crate) async fn given(mut self) {
        // Fails only if whoever could give it has gone.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// Gives the order when a worker ends, in whatever way: nobody else can serve its part of the port.
struct EndsAll(Arc<watch::Sender<bool>>);

impl Drop for EndsAll {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// Runs a worker in each of `seats`, on threads of their own, until `stop` is ready or one of them
/// ends; returns when all have ended.
///
/// # Errors
/// A thread or an event loop could not be made.
pub(crate) fn run<Seat: Send + 'static, Work: Future<Output = ()>>(
    role: &'static str,
    seats: Vec<Seat>,
    stop: impl Future<Output = ()>,
    work: impl Fn(Seat, StopOrder) -> Work + Clone + Send + 'static,
) -> io::Result<()> {
    let (order, ordered) = watch::channel(false);
    let (order, ordered) = (Arc::new(order), StopOrder(ordered));
    let count = seats.len();
    let threads = seats.into_iter().enumerate().map(|(worker, seat)| {
        let (ends_all, ordered) = (EndsAll(Arc::clone(&order)), ordered.clone());
        let work = work.clone();
        let thread = std::thread::Builder::new().name(format!("{role}-{worker}"));
        thread.spawn(move || {
            let _ends_all = ends_all;
            pin_to_core(worker, count);
            let runtime =
                Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
            runtime.block_on(work(seat, ordered));
            // Tasks that still read files or sleep are not waited for.
            runtime.shutdown_background();
            Ok(())
        })
    });
    let threads: io::Result<Vec<_>> = threads.collect();
    let waiting = Builder::new_current_thread().enable_all().build()?;
    if threads.is_ok() {
        waiting.block_on(async {
            tokio::select! {
                () = stop => {}
                () = ordered.given() => {}
            }
        });
    }
    drop(EndsAll(order));
    let ends = threads?
        .into_iter()
        .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked"))));
    ends.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn workers_stop_together() {
        let (sender, receiver) = channel();
        let work = move |seat: usize, stop: StopOrder| {
            let sender = sender.clone();
            async move {
                stop.given().await;
                sender.send(seat).unwrap();
            }
        };
        run("test", vec![0, 1, 2], std::future::ready(()), work).unwrap();
        let mut ended: Vec<_> = receiver.iter().collect();
        ended.sort_unstable();
        assert_eq!(ended, [0, 1, 2]);
    }

    #[test]
    fn a_worker_that_panics_ends_them_all() {
        let work = |seat: usize, stop: StopOrder| async move {
            assert!(seat != 1, "worker 1 panics, as this test wants");
            stop.given().await;
        };
        let ended = run("test", vec![0, 1], std::future::pending(), work);
        assert_eq!(ended.unwrap_err().to_string(), "a worker panicked");
    }
}
