//! Who holds which host name on the hub's shared Gateways, over all tenants.
//!
//! One table for the whole hub, made from all Routes at once; each tenant's translation reads it.

use std::sync::{Arc, Mutex, PoisonError};

use gateway_translator::ClaimTable;

/// The table in force. Starts empty, which gives no host name to anybody.
#[derive(Debug, Default)]
pub struct ClaimsCell(Mutex<Arc<ClaimTable>>);

impl ClaimsCell {
    /// The table in force.
    #[must_use]
    pub fn get(&self) -> Arc<ClaimTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another table in force and gives back the old one.
    pub fn replace(&self, table: ClaimTable) -> Arc<ClaimTable> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, Arc::new(table))
    }
}
