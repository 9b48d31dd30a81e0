//! Turns the Routes of one tenant into Gateway API objects on the hub.
//!
//! ```text
//!  Route CRs ──► origin ──► source (typed, an allow-list) ──► target ──► arrange ──► Gateway, ListenerSet, routes,
//!                 is it       refuses what it does not         rewrites   which        policies for listeners
//!                 what it     know                             references listener
//!                 says?                                          │        and route
//!                                                                ▼        goes first
//!                                                              backend ──► Service, EndpointSlice, BackendTLSPolicy
//!  SyncSecrets ─────────────────────────────────────────────► secret ──► Secret
//!  live hub objects ──► facts ──► content of RouteStatus
//! ```
//!
//! The tenant is taken to be hostile. No spec is ever copied: each hub object is built anew from fields that
//! [`source`] knows, and a field that it does not know makes the Route refused, never dropped without a word.
//! What Envoy would refuse or take for a command is refused or made literal, because one Envoy configuration
//! holds the routes of many.
//!
//! All functions are total functions of plain data. There is no client, no clock and no runtime here. What a
//! tenant's resource may look like beyond fields and types (counts, lengths, patterns) is checked by the hub's
//! own API server when an object is applied.

mod arrange;
mod backend;
pub mod domain;
mod endpoints;
pub mod facts;
pub mod input;
pub mod metadata;
pub mod names;
mod origin;
pub mod output;
mod secret;
mod source;
mod target;
mod translate;
pub mod verdict;

pub use domain::claims::{ClaimTable, Claimant, Wanted, claims, grant, wanted};
pub use facts::{HubObservations, Observed, RouteStatusFacts, facts};
pub use input::{Input, Settings};
pub use output::{HubObject, Kind, ObjectKey, Objects, Output, Resource};
pub use secret::translate_secret;
pub use translate::translate;
pub use verdict::{Problem, Verdict};
