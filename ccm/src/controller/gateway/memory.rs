//! What the last run made and compared, so that a run costs what has changed.
//!
//! It can be thrown away at any time: the next run then costs more, and comes to the same.

use std::sync::{Mutex, MutexGuard, PoisonError};

use controller_kit::ObjectKey;
use controller_kit::diff::{Rendered, Settled};
use gateway_semantics::DesiredRoute;
use k8s_openapi::api::core::v1::Service;

/// Kept from run to run.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Remembered>);

#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// Routes for the hub, by name.
    pub routes: Rendered<String, DesiredRoute>,
    /// Routes that are as they should be.
    pub settled_routes: Settled,
    /// Services of the own cluster.
    pub services: Rendered<ObjectKey, Service>,
    /// Services that are as they should be.
    pub settled_services: Settled,
    /// EndpointSlices that are as they should be.
    pub settled_slices: Settled,
}

impl Memory {
    pub(super) fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
