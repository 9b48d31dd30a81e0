//! Leader election over a Lease: every replica serves, one writes.
//!
//! Every write carries the resource version that was read, so that of two candidates that see a free lease one
//! gets a conflict and knows that it lost. Time is measured on this machine's monotonic clock only: a holder
//! counts from *before* it asked to renew, a candidate from when it *saw* the last change, so that the holder
//! stops (renew deadline) before anybody can start (lease duration), whatever the wall clocks say.
//!
//! Identities must be unique among living processes; the name of the pod is.

mod leadership;
mod record;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::{backoff::jitter, error};

pub use leadership::Leadership;
use leadership::Seat;
use record::{claimed, epoch_of, holder, promised, renewed, vacated};

/// How long giving the lease back may take at shutdown.
const VACATE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which lease, who asks for it, and the timing.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who this is: the name of the pod.
    pub identity: String,
    /// Candidates take over when they saw no renewal for this long.
    pub lease_duration: Duration,
    /// The holder stops when it could not renew for this long; shorter than the lease duration.
    pub renew_deadline: Duration,
    /// How often to renew, or to try; shorter than the renew deadline.
    pub retry_period: Duration,
}

impl LeaseConfig {
    /// 15, 10 and 2 seconds, as everybody has them.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    /// With the timing from the command line.
    #[must_use]
    pub fn timing(mut self, args: &crate::args::LeaseArgs) -> Self {
        self.lease_duration = args.leader_election_lease_duration;
        self.renew_deadline = args.leader_election_renew_deadline;
        self.retry_period = args.leader_election_retry_period;
        self
    }
}

/// Leader election cannot work, or a step of it failed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Two leaders would be possible.
    #[error(
        "leader election needs 0 < retry period < renew deadline < lease duration, and a lease of 1s or more"
    )]
    Timing,
    /// An empty identity would look like a free lease.
    #[error("leader election needs an identity")]
    Identity,
    /// The lease cannot be read.
    #[error("cannot read the lease")]
    Read(#[source] Box<kube::Error>),
    /// The lease cannot be written.
    #[error("cannot write the lease")]
    Write(#[source] Box<kube::Error>),
}

/// Asks for the lease, and keeps it.
pub struct Elector {
    api: Api<Lease>,
    config: LeaseConfig,
    seat: Seat,
    /// The lease as we wrote it; only while we lead.
    held: Option<Lease>,
    /// The version last seen, and when it was first seen.
    observed: Option<(String, Instant)>,
}

impl Elector {
    /// The elector, to be run, and what tells whether it leads.
    pub fn new(client: Client, config: LeaseConfig) -> Result<(Self, Leadership), LeaseError> {
        let LeaseConfig {
            lease_duration,
            renew_deadline,
            retry_period,
            ..
        } = config;
        let ordered = retry_period < renew_deadline && renew_deadline < lease_duration;
        if retry_period.is_zero() || !ordered || lease_duration < Duration::from_secs(1) {
            return Err(LeaseError::Timing);
        }
        if config.identity.is_empty() {
            return Err(LeaseError::Identity);
        }
        let (seat, leadership) = leadership::pair();
        let api = Api::namespaced(client, &config.namespace);
        Ok((
            Self {
                api,
                config,
                seat,
                held: None,
                observed: None,
            },
            leadership,
        ))
    }

    /// Runs until `stop` is cancelled, then gives the lease back. Cancel it only after everything that writes
    /// as the leader has stopped: the next leader may start at once.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let deadline = self
                .seat
                .valid_until()
                .unwrap_or_else(|| Instant::now() + self.config.renew_deadline);
            let tried = tokio::select! {
                () = stop.cancelled() => break,
                tried = timeout_at(deadline, self.attempt()) => tried,
            };
            if let Ok(Err(error)) = tried {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "leader election failed, trying again"
                );
            }
            self.check_deadline();
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(self.next_attempt()) => {}
            }
            self.check_deadline();
        }
        self.seat.lose("asked to stop");
        self.vacate().await;
    }

    fn next_attempt(&self) -> Instant {
        let next = Instant::now() + jitter(self.config.retry_period, 0.1);
        self.seat.valid_until().map_or(next, |until| next.min(until))
    }

    fn check_deadline(&mut self) {
        if self
            .seat
            .valid_until()
            .is_some_and(|until| until <= Instant::now())
        {
            self.held = None;
            self.seat.lose("could not renew in time");
        }
    }

    /// One try to renew, or to get the lease.
    async fn attempt(&mut self) -> Result<(), LeaseError> {
        let started = Instant::now();
        if let Some(lease) = self.held.take()
            && let Some(lease) = self.write(&renewed(&lease, &self.config)).await?
        {
            self.keep(lease, started);
            return Ok(());
        }
        let found = self
            .api
            .get_opt(&self.config.name)
            .await
            .map_err(|e| LeaseError::Read(Box::new(e)))?;
        match found {
            None => self.create(started).await,
            Some(lease) => self.consider(lease, started).await,
        }
    }

    async fn create(&mut self, started: Instant) -> Result<(), LeaseError> {
        let lease = claimed(&record::empty(&self.config), &self.config, self.seat.is_held());
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(lease) => self.keep(lease, started),
            Err(error) if error::is_conflict(&error) => {}
            Err(error) => return Err(LeaseError::Write(Box::new(error))),
        }
        Ok(())
    }

    async fn consider(&mut self, lease: Lease, started: Instant) -> Result<(), LeaseError> {
        let seen_since = self.observe(&lease, Instant::now());
        let is_mine = holder(&lease) == Some(self.config.identity.as_str());
        if !is_mine && holder(&lease).is_some() {
            self.seat.lose("another replica holds the lease");
            if seen_since.elapsed() < promised(&lease, &self.config) {
                return Ok(());
            }
        }
        let claim = claimed(&lease, &self.config, is_mine && self.seat.is_held());
        if let Some(lease) = self.write(&claim).await? {
            self.keep(lease, started);
        }
        Ok(())
    }

    /// Since when the lease is seen unchanged.
    fn observe(&mut self, lease: &Lease, now: Instant) -> Instant {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        match &self.observed {
            Some((seen, since)) if *seen == version => *since,
            _ => {
                self.observed = Some((version, now));
                now
            }
        }
    }

    /// None if somebody else wrote in between.
    async fn write(&self, lease: &Lease) -> Result<Option<Lease>, LeaseError> {
        match self
            .api
            .replace(&self.config.name, &PostParams::default(), lease)
            .await
        {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if error::is_conflict(&error) || error::is_not_found(&error) => Ok(None),
            Err(error) => Err(LeaseError::Write(Box::new(error))),
        }
    }

    fn keep(&mut self, lease: Lease, started: Instant) {
        self.seat
            .hold(epoch_of(&lease), started + self.config.renew_deadline);
        self.held = Some(lease);
    }

    /// Lets the next leader start at once instead of waiting. What was written last may not be known, so the
    /// lease is read first; it is written only if it names us.
    async fn vacate(&self) {
        let give_back = async {
            let lease = self
                .api
                .get(&self.config.name)
                .await
                .map_err(|e| LeaseError::Read(Box::new(e)))?;
            if holder(&lease) == Some(self.config.identity.as_str()) {
                self.write(&vacated(&lease)).await?;
            }
            Ok::<_, LeaseError>(())
        };
        match timeout(VACATE_TIMEOUT, give_back).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "lease not given back");
            }
            Err(_) => tracing::warn!("lease not given back in time"),
        }
    }
}

#[cfg(test)]
mod tests;
