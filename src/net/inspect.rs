//! Looking into workers from another thread: the admin pages do, and wait for the answer; workers
//! tell each other the little that they must know.

use std::rc::Rc;
use tokio::sync::{mpsc, oneshot};

type Look<S> = Box<dyn FnOnce(&Rc<S>) + Send>;

/// Questions that may wait for a worker; more are refused.
const MAX_WAITING: usize = 1024;

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
fn channel<S>() -> (Inspector<S>, Inspections<S>) {
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

impl<S: 'static> Inspector<S> {
    /// Runs `look` in the worker's loop, and does not wait for it; `false` if the worker is gone or
    /// has too much to do.
    pub(crate) fn tell(&self, look: impl FnOnce(&Rc<S>) + Send + 'static) -> bool {
        self.0.try_send(Box::new(look)).is_ok()
    }
}

/// Asks the workers of one process.
pub(crate) struct Inspectors<S>(Vec<Inspector<S>>);

impl<S> Clone for Inspectors<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// One pair for each worker.
pub(crate) fn channels<S>(workers: usize) -> (Inspectors<S>, Vec<Inspections<S>>) {
    let (inspectors, inspections) = (0..workers).map(|_| channel()).unzip();
    (Inspectors(inspectors), inspections)
}

impl<S: 'static> Inspectors<S> {
    /// The workers, by their numbers.
    pub(crate) fn each(&self) -> &[Inspector<S>] {
        &self.0
    }

    /// The worker that owns a client.
    pub(crate) fn owner(&self, client: &crate::wire::ClientId) -> &Inspector<S> {
        &self.0[client.owner(self.0.len() as u64) as usize]
    }

    /// Runs `look` in every worker's loop; `None` unless all of them answer.
    pub(crate) async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Rc<S>) -> R + Send + Clone + 'static,
    ) -> Option<Vec<R>> {
        let mut answers = Vec::with_capacity(self.0.len());
        for worker in &self.0 {
            answers.push(worker.look(look.clone()).await?);
        }
        Some(answers)
    }

    /// The same, with the answers added up.
    pub(crate) async fn sum<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Rc<S>) -> R + Send + Clone + 'static,
        mut add: impl FnMut(&mut R, &R),
    ) -> Option<R> {
        let mut answers = self.look(look).await?.into_iter();
        let mut sum = answers.next()?;
        answers.for_each(|answer| add(&mut sum, &answer));
        Some(sum)
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
