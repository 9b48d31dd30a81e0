//! What a tenant's Gateway API objects mean.
//!
//! One pure function over a snapshot of the tenant cluster and the facts that the hub reported:
//!
//! ```text
//! Snapshot ─► index ─► classes ─► Gateways, ListenerSets ─► policies ─► attachment, backends ─► winners ─► Outcome
//!                                                                            ├─ statuses to write
//!                                                                            ├─ Route CRs, shadow Services, Secrets
//!                                                                            └─ Events
//! ```
//!
//! [`evaluate`] is total and deterministic and does not depend on the order of its input. It knows no client,
//! no clock and no randomness, and it never panics: an object that cannot be understood is a problem of that
//! object alone. What the hub alone can know (addresses, programmed or not, refusals) comes in as
//! [`HubFacts`] and is believed only for the generation that it is about.

mod address;
mod attach;
mod authority;
mod backends;
mod class;
mod conflict;
mod delegate;
mod engine;
mod events;
mod facts;
mod former;
mod frontend;
mod gateway;
mod grants;
mod held;
mod hostname;
mod index;
mod infrastructure;
mod key_pair;
mod kind;
mod listener;
mod listener_set;
mod mirror;
mod model;
mod outcome;
mod parent;
mod plan;
mod policy;
mod provisional;
mod reason;
mod route;
mod secret;
mod selector;
mod shadow;
mod snapshot;
mod status;
mod unknown;
mod winner;

pub use authority::referenced_authorities;
pub use class::SUPPORTED_FEATURES;
pub use engine::evaluate;
pub use events::{Event, EventType};
pub use former::{StatusWriters, clean_former_status, possibly_former};
pub use infrastructure::{GATEWAY_COMPONENT, gateway_service_name};
pub use kind::{GATEWAY_GROUP, ObjectKind, ObjectRef, RouteKind};
pub use mirror::{SERVICE_NAME_LABEL, SLICE_MANAGED_BY, SLICE_MANAGED_BY_LABEL};
pub use outcome::{
    Address, AncestorStatus, AuthorityRef, ClassStatus, DesiredRoute, FormerStatus, GatewayStatus,
    ListenerSetStatus, ListenerStatus, Outcome, ParentStatus, SecretRef, Statuses,
};
pub use shadow::{SHADOW_COMPONENT, is_shadow, shadow_name};
pub use snapshot::{
    AuthorityFacts, HubFacts, NamespaceFacts, RefusedService, RouteFacts, SecretFacts, ServiceName, Settings,
    Snapshot,
};
pub use status::{
    OPTIONAL_GATEWAY_CONDITIONS, merge_class_status, merge_gateway_status, merge_listener_set_status,
    merge_policy_ancestors, merge_route_parents,
};
