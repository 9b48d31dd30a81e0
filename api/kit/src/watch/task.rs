//! Feeds a store from the API server until it is told to stop.

use std::{collections::BTreeSet, pin::pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use kube::runtime::{
    WatchStreamExt,
    watcher::{self, watcher},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::retry;
use super::{Event, Failures, Guarded, Hook, State, Store, Watch, WatchMetrics, Watchable};
use crate::{backoff::jitter, error, object::ObjectKey, ready::Handle};

/// Why a stream of events came to its end.
enum End {
    Stopped,
    Absent,
    Relist,
}

/// So many times in a row a watch may fail to start before everything is listed anew.
const START_FAILURES: u32 = 5;
const RELIST_DELAY: Duration = Duration::from_secs(2);

struct Feeder<K> {
    kind: String,
    store: Arc<Store<K>>,
    hook: Option<Hook>,
    metrics: Option<WatchMetrics>,
    failures: Failures,
    readiness: Option<Handle>,
    start_failures: u32,
    fresh: Vec<Arc<K>>,
    fresh_undecodable: BTreeSet<ObjectKey>,
}

pub(super) async fn run<K: Watchable>(watch: Watch<K>, store: Arc<Store<K>>, stop: CancellationToken) {
    let Watch {
        api,
        resource,
        config,
        // The store has it.
        modify: _,
        hook,
        metrics,
        failures,
        readiness,
        absent_retry,
    } = watch;
    let kind = resource.kind.clone();
    let mut feeder = Feeder {
        kind,
        store,
        hook,
        metrics,
        failures,
        readiness,
        start_failures: 0,
        fresh: Vec::new(),
        fresh_undecodable: BTreeSet::new(),
    };
    loop {
        let mut stream = pin!(watcher(api.clone(), config.clone()).backoff(retry::pauses()));
        let end = tokio::select! {
            () = stop.cancelled() => End::Stopped,
            end = feeder.feed(&mut stream, absent_retry.is_some()) => end,
        };
        let delay = match end {
            End::Stopped => return,
            End::Relist => RELIST_DELAY,
            End::Absent => {
                feeder.absent();
                absent_retry.unwrap_or(super::ABSENT_RETRY)
            }
        };
        if !sleep(jitter(delay, 0.5), &stop).await {
            return;
        }
    }
}

/// False if told to stop meanwhile.
async fn sleep(period: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(period) => true,
    }
}

impl<K: Watchable> Feeder<K> {
    async fn feed<S>(&mut self, mut events: S, optional: bool) -> End
    where
        S: Stream<Item = watcher::Result<watcher::Event<Guarded<K>>>> + Unpin,
    {
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    self.start_failures = 0;
                    self.on_event(event);
                }
                Err(error) if optional && is_absent(&error) => return End::Absent,
                Err(error) => {
                    self.on_error(&error);
                    if self.must_relist(&error) {
                        return End::Relist;
                    }
                }
            }
        }
        End::Stopped
    }

    /// kube goes on with the version it has when a watch cannot be started, which never ends if the server does
    /// not know that version any more (410), or never knew it (after a restore of etcd).
    fn must_relist(&mut self, error: &watcher::Error) -> bool {
        let (watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error)) = error else {
            return false;
        };
        self.start_failures += 1;
        let is_lost = matches!(error::status_code(error), Some(400 | 404 | 410));
        let relist = is_lost || self.start_failures >= START_FAILURES;
        if relist {
            self.start_failures = 0;
        }
        relist
    }

    fn on_event(&mut self, event: watcher::Event<Guarded<K>>) {
        match event {
            watcher::Event::Init => {
                self.fresh.clear();
                self.fresh_undecodable.clear();
            }
            watcher::Event::InitApply(object) => self.on_listed(object),
            watcher::Event::InitDone => self.on_listed_all(),
            watcher::Event::Apply(object) => self.on_applied(object),
            watcher::Event::Delete(object) => {
                let key = ObjectKey::of(&object);
                if self.store.remove(&key) {
                    self.tell(&Event::Changed(key));
                }
            }
        }
        if let Some(metrics) = &self.metrics {
            let count = i64::try_from(self.store.len()).unwrap_or(i64::MAX);
            metrics.objects.with_label_values(&[&self.kind]).set(count);
        }
    }

    fn on_listed(&mut self, object: Guarded<K>) {
        let key = ObjectKey::of(&object);
        match self.decode(&key, object) {
            Some(object) => self.fresh.push(object),
            None => {
                self.fresh_undecodable.insert(key);
            }
        }
    }

    fn on_listed_all(&mut self) {
        let was = self.store.state();
        let fresh = std::mem::take(&mut self.fresh);
        let undecodable = std::mem::take(&mut self.fresh_undecodable);
        for key in self.store.replace(fresh, undecodable) {
            self.tell(&Event::Changed(key));
        }
        if let Some(handle) = &mut self.readiness {
            handle.ready();
        }
        if was != State::Synced {
            tracing::info!(kind = %self.kind, objects = self.store.len(), "store synced");
            self.tell(&Event::Synced);
        }
    }

    fn on_applied(&mut self, object: Guarded<K>) {
        let key = ObjectKey::of(&object);
        match self.decode(&key, object) {
            Some(object) => {
                if self.store.insert(key.clone(), object) {
                    self.tell(&Event::Changed(key));
                }
            }
            None => {
                self.store.mark_undecodable(key.clone());
                self.tell(&Event::Changed(key));
            }
        }
    }

    fn decode(&self, key: &ObjectKey, object: Guarded<K>) -> Option<Arc<K>> {
        match object.0.0 {
            Ok(object) => Some(self.store.stripped(object)),
            Err(invalid) => {
                tracing::warn!(kind = %self.kind, %key, error = %invalid.error, "object cannot be decoded");
                if let Some(metrics) = &self.metrics {
                    metrics.undecodable.with_label_values(&[&self.kind]).inc();
                }
                None
            }
        }
    }

    fn on_error(&self, error: &watcher::Error) {
        let cause = error as &dyn std::error::Error;
        match self.failures.note(&self.kind, error, Instant::now()) {
            Some(quiet) => tracing::warn!(
                kind = %self.kind,
                error = cause,
                failures_since = quiet,
                "watch failed, trying again; the same is said once a minute"
            ),
            None => tracing::debug!(kind = %self.kind, error = cause, "watch failed, trying again"),
        }
        if let Some(metrics) = &self.metrics {
            metrics.errors.with_label_values(&[&self.kind]).inc();
        }
    }

    fn absent(&mut self) {
        let gone = self.store.clear();
        let is_news = self.store.set_state(State::Absent);
        if let Some(handle) = &mut self.readiness {
            handle.ready();
        }
        for key in gone {
            self.tell(&Event::Changed(key));
        }
        if is_news {
            tracing::info!(kind = %self.kind, "kind is not installed");
            self.tell(&Event::Synced);
        }
    }

    fn tell(&self, event: &Event) {
        if let Some(hook) = &self.hook {
            hook(event);
        }
    }
}

/// kube hands a refusal to start a watch on as if it were the first event of the watch.
fn is_absent(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error::is_not_found(error),
        _ => false,
    }
}
