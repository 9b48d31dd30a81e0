//! Gateway API: the tenant's own Gateways and the platform team's shared one.

mod bad_input;
mod class;
mod delete;
mod families;
mod grpc;
mod http;
mod names;
mod requests;
mod restart;
mod revoked;
mod shared;
pub mod tls;
