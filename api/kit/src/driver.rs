//! Runs a reconcile function per key: debounced, one run at a time per key, retried with backoff.
//!
//! Any number of hints about a key within the debounce time make one run. Keys run beside each other, so a slow
//! one holds up nobody else. A failed run is tried again after a jittered, growing delay; a fresh hint runs it
//! at once, since the change may be the cure. A run that panics is contained: it counts as a failure of that
//! key alone, because what one tenant writes must never stop the work for the others. Runs read a snapshot and
//! keep no state of their own, so that nothing half-done is left behind.
//!
//! What a run does is none of this module's business.

mod queue;

use std::{
    fmt::Debug,
    future::Future,
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    backoff::Backoff,
    error::ReconcileError,
    metrics::{ReconcileMetrics, RunResult},
};
use queue::Queue;

/// What a key can be. A controller with one snapshot uses `()`.
pub trait Key: Clone + Debug + Eq + Hash + Ord + Send + Sync + 'static {}
impl<K: Clone + Debug + Eq + Hash + Ord + Send + Sync + 'static> Key for K {}

/// The end of a run that did not fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Run again after this time even if nothing happens.
    pub requeue_after: Option<Duration>,
}

impl Outcome {
    /// Nothing to do before the next event.
    pub const fn done() -> Self {
        Self { requeue_after: None }
    }

    /// Run again after this time.
    pub const fn requeue(after: Duration) -> Self {
        Self {
            requeue_after: Some(after),
        }
    }
}

/// How a driver behaves.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// A run starts when no hint came for this long …
    pub debounce: Duration,
    /// … or when the first hint is this old.
    pub debounce_max: Duration,
    /// After a run its key rests half as long as it ran, but not longer than this: what comes meanwhile is taken
    /// together.
    pub rest_max: Duration,
    /// How many keys run at the same time.
    pub concurrency: usize,
    /// Delays after failures.
    pub backoff: Backoff,
    /// How long runs may go on after the driver was told to stop.
    pub grace: Duration,
}

impl Settings {
    /// For work that somebody waits for: a change alone is acted upon in 1 ms, and of many changes those are taken
    /// together that come during a run and 10 ms after it.
    #[must_use]
    pub fn prompt() -> Self {
        Self {
            debounce: Duration::from_millis(1),
            debounce_max: Duration::from_millis(30),
            rest_max: Duration::from_millis(10),
            ..Self::default()
        }
    }
}

impl Default for Settings {
    /// Debounce 20 to 200 ms, no rest, 4 keys at a time, backoff 100 ms to 30 s, 10 s of grace.
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(20),
            debounce_max: Duration::from_millis(200),
            rest_max: Duration::ZERO,
            concurrency: 4,
            backoff: Backoff::default(),
            grace: Duration::from_secs(10),
        }
    }
}

struct Shared<K> {
    queue: Mutex<Queue<K>>,
    wake: Notify,
}

impl<K: Key> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, Queue<K>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a driver hints. Cheap to clone, and may be given to the hooks of watches.
pub struct Trigger<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Trigger<K> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<K: Key> Trigger<K> {
    /// Something about this key may have changed. Never blocks.
    pub fn trigger(&self, key: K) {
        self.shared.lock().trigger(key, Instant::now());
        self.shared.wake.notify_one();
    }
}

/// A work queue with its workers. Make it, hand out triggers, then run it.
pub struct Driver<K> {
    name: &'static str,
    settings: Settings,
    metrics: ReconcileMetrics,
    shared: Arc<Shared<K>>,
}

impl<K: Key> Driver<K> {
    /// `name` is the value of the label `controller`.
    pub fn new(name: &'static str, settings: Settings, metrics: &ReconcileMetrics) -> Self {
        let queue = Mutex::new(Queue::new(
            settings.debounce,
            settings.debounce_max,
            settings.rest_max,
        ));
        let shared = Arc::new(Shared {
            queue,
            wake: Notify::new(),
        });
        Self {
            name,
            settings,
            metrics: metrics.clone(),
            shared,
        }
    }

    /// A handle that gives hints.
    pub fn handle(&self) -> Trigger<K> {
        Trigger {
            shared: self.shared.clone(),
        }
    }

    /// Something about this key may have changed. Never blocks.
    pub fn trigger(&self, key: K) {
        self.handle().trigger(key);
    }

    /// Runs until `stop` is cancelled, then lets running work end within the grace time.
    ///
    /// `reconcile` is called with a key and must not assume anything about what happened to it.
    pub async fn run<F, R, E>(self, stop: CancellationToken, reconcile: F)
    where
        F: Fn(K) -> R,
        R: Future<Output = Result<Outcome, E>> + Send + 'static,
        E: ReconcileError,
    {
        let mut runs = JoinSet::new();
        loop {
            self.start_due(&mut runs, &reconcile);
            let next = self
                .shared
                .lock()
                .next_due()
                .filter(|_| runs.len() < self.settings.concurrency);
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.shared.wake.notified() => {}
                Some(_) = runs.join_next() => {}
                () = sleep_until(next) => {}
            }
        }
        self.drain(runs).await;
    }

    fn start_due<F, R, E>(&self, runs: &mut JoinSet<()>, reconcile: &F)
    where
        F: Fn(K) -> R,
        R: Future<Output = Result<Outcome, E>> + Send + 'static,
        E: ReconcileError,
    {
        while runs.len() < self.settings.concurrency {
            let Some(key) = self.shared.lock().pop(Instant::now()) else {
                break;
            };
            let span = tracing::info_span!("reconcile", controller = self.name, ?key);
            let run = Run {
                name: self.name,
                backoff: self.settings.backoff,
                metrics: self.metrics.clone(),
            };
            let work = run.execute(key.clone(), self.shared.clone(), reconcile(key));
            runs.spawn(work.instrument(span));
        }
        self.metrics.queued(self.name, self.shared.lock().len());
    }

    async fn drain(&self, mut runs: JoinSet<()>) {
        let all = async { while runs.join_next().await.is_some() {} };
        if tokio::time::timeout(self.settings.grace, all).await.is_err() {
            tracing::warn!(controller = self.name, "runs did not end in time and are dropped");
            runs.shutdown().await;
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// One run of one key.
struct Run {
    name: &'static str,
    backoff: Backoff,
    metrics: ReconcileMetrics,
}

/// What a run asks of the queue.
enum Next {
    Nothing,
    After(Duration),
    Retry,
}

impl Run {
    async fn execute<K, E>(
        self,
        key: K,
        shared: Arc<Shared<K>>,
        work: impl Future<Output = Result<Outcome, E>> + Send,
    ) where
        K: Key,
        E: ReconcileError,
    {
        let mut measure = self.metrics.start(self.name);
        let (result, next) = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(Ok(outcome)) => (
                RunResult::Success,
                outcome.requeue_after.map_or(Next::Nothing, Next::After),
            ),
            Ok(Err(error)) => self.failed(&error),
            Err(panic) => self.panicked(panic.as_ref()),
        };
        measure.result(result);
        drop(measure);
        let mut queue = shared.lock();
        let now = Instant::now();
        match next {
            Next::Nothing => queue.finish(&key, now, None),
            Next::After(delay) => queue.finish(&key, now, Some(now + delay)),
            Next::Retry => queue.retry(&key, now, |attempt| now + self.backoff.delay(attempt)),
        }
        drop(queue);
        shared.wake.notify_one();
    }

    fn failed(&self, error: &impl ReconcileError) -> (RunResult, Next) {
        self.metrics.failure(self.name, error.reason());
        let (reason, retry) = (error.reason(), error.is_retryable());
        let error = error as &dyn std::error::Error;
        tracing::warn!(reason, retry, error, "reconcile failed");
        match retry {
            true => (RunResult::Error, Next::Retry),
            false => (RunResult::Permanent, Next::Nothing),
        }
    }

    fn panicked(&self, panic: &(dyn std::any::Any + Send)) -> (RunResult, Next) {
        self.metrics.failure(self.name, "Panic");
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!(panic = text.unwrap_or("unknown"), "reconcile panicked");
        (RunResult::Panic, Next::Retry)
    }
}

#[cfg(test)]
mod tests;
