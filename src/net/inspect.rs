//! Looking into a worker from another thread: the admin pages do, and wait for the answer.

use std::rc::Rc;
use tokio::sync::{mpsc, oneshot};

type Look<S> = Box<dyn FnOnce(&Rc<S>) + Send>;

/// Questions that may wait for a worker; more are refused.
const MAX_WAITING: usize = 64;

/// Asks one worker.
pub(crate) struct Inspector<S>(mpsc::Sender<Look<S>>);

impl<S> Clone for Inspector<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The worker's end.
pub(crate) struct Inspections<S>(mpsc::Receiver<Look<S>>);

/// A pair that belongs together.
pub(crate) fn channel<S>() -> (Inspector<S>, Inspections<S>) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    (Inspector(sender), Inspections(receiver))
}

impl<S: 'static> Inspector<S> {
    /// Runs `look` in the worker's loop; `None` if the worker is gone or has too many questions.
    pub(crate) async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Rc<S>) -> R + Send + 'static,
    ) -> Option<R> {
        self.ask(move |shell, answer| {
            // Fails only if nobody waits for the answer any more.
            let _ = answer.send(look(shell));
        })
        .await
    }

    /// The same for an answer that comes later.
    pub(crate) async fn ask<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&Rc<S>, oneshot::Sender<R>) + Send + 'static,
    ) -> Option<R> {
        let (sender, receiver) = oneshot::channel();
        self.0.try_send(Box::new(move |shell| ask(shell, sender))).ok()?;
        receiver.await.ok()
    }
}

impl<S> Inspections<S> {
    /// Answers questions about `shell` for ever.
    pub(crate) async fn serve(mut self, shell: Rc<S>) {
        while let Some(look) = self.0.recv().await {
            look(&shell);
        }
    }
}
