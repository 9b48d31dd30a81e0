//! Who leads, as the rest of the process sees it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Tells whether this process leads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leadership {
    term: watch::Receiver<Option<u64>>,
    until: Arc<Mutex<Option<Instant>>>,
    /// Keeps the channel open where there is no election.
    _always: Option<Arc<watch::Sender<Option<u64>>>>,
}

/// The side that decides.
pub(super) struct Seat {
    term: watch::Sender<Option<u64>>,
    until: Arc<Mutex<Option<Instant>>>,
}

pub(super) fn pair() -> (Seat, Leadership) {
    let (sender, receiver) = watch::channel(None);
    let until = Arc::new(Mutex::new(None));
    let leadership = Leadership {
        term: receiver,
        until: until.clone(),
        _always: None,
    };
    (Seat { term: sender, until }, leadership)
}

impl Leadership {
    /// For a process that is the only one.
    pub fn always() -> Self {
        let (sender, receiver) = watch::channel(Some(0));
        Self {
            term: receiver,
            until: Arc::default(),
            _always: Some(Arc::new(sender)),
        }
    }

    /// Whether this process leads right now. Says no as soon as the lease could not be renewed in time, even if
    /// the process was frozen and the election did not run since.
    pub fn is_leader(&self) -> bool {
        self.epoch().is_some()
    }

    /// The term in which this process leads; grows with every change of leader.
    pub fn epoch(&self) -> Option<u64> {
        let term = *self.term.borrow();
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        term.filter(|_| until.is_none_or(|until| Instant::now() < until))
    }

    /// Waits until this process leads, and returns the term. Waits for ever once the election has ended.
    pub async fn until_leader(&self) -> u64 {
        let mut terms = self.term.clone();
        loop {
            if let Some(epoch) = self.epoch() {
                return epoch;
            }
            if terms.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until this process does not lead, or no longer in the term `epoch`.
    pub async fn until_lost(&self, epoch: u64) {
        let mut terms = self.term.clone();
        while self.epoch() == Some(epoch) {
            let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
            tokio::select! {
                changed = terms.changed() => if changed.is_err() { return },
                () = deadline(until) => {}
            }
        }
    }
}

async fn deadline(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

impl Seat {
    pub(super) fn valid_until(&self) -> Option<Instant> {
        self.until.lock().ok().and_then(|until| *until)
    }

    pub(super) fn is_held(&self) -> bool {
        self.valid_until().is_some_and(|until| Instant::now() < until)
    }

    /// Leads, in this term, for this long. Those who wait are woken only when the term is another one.
    pub(super) fn hold(&self, epoch: u64, until: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        if self
            .term
            .send_if_modified(|term| term.replace(epoch) != Some(epoch))
        {
            tracing::info!(epoch, "leading");
        }
    }

    pub(super) fn lose(&self, why: &str) {
        if self.term.send_if_modified(|term| term.take().is_some()) {
            tracing::warn!(why, "not leading any more");
        }
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
