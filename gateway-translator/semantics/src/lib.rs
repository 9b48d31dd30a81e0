//! What a tenant's Gateway API objects mean.
//!
//! One pure function over a snapshot of the tenant cluster and the facts that the hub reported:
//!
//! ```text
//! Snapshot ─► index ─► classes ─► Gateways and listeners ─► attachment ─► backends ─► Outcome
//!                                                                            ├─ statuses to write
//!                                                                            ├─ Route CRs, shadow Services, Secrets
//!                                                                            └─ Events
//! ```
//!
//! [`evaluate`] is total and deterministic and does not depend on the order of its input. It knows no client,
//! no clock and no randomness, and it never panics: an object that cannot be understood is a problem of that
//! object alone. What the hub alone can know (addresses, programmed or not, refusals) comes in as
//! [`HubFacts`] and is believed only for the generation that it is about.

mod attach;
mod backends;
mod class;
mod delegate;
mod engine;
mod events;
mod facts;
mod gateway;
mod grants;
mod hostname;
mod index;
mod kind;
mod listener;
mod model;
mod outcome;
mod parent;
mod reason;
mod route;
mod secret;
mod selector;
mod shadow;
mod snapshot;
mod status;

pub use class::SUPPORTED_FEATURES;
pub use engine::evaluate;
pub use events::{Event, EventType};
pub use kind::{GATEWAY_GROUP, ObjectKind, ObjectRef, RouteKind};
pub use outcome::{
    Address, ClassStatus, DesiredRoute, GatewayStatus, ListenerStatus, Outcome, ParentStatus, SecretRef,
    Statuses,
};
pub use shadow::{SHADOW_COMPONENT, shadow_name};
pub use snapshot::{HubFacts, NamespaceFacts, RouteFacts, SecretFacts, Settings, Snapshot};
pub use status::{merge_class_status, merge_gateway_status, merge_route_parents};
