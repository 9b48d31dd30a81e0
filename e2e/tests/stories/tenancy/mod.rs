//! Several tenants on one hub.

mod bounds;
mod credential;
mod domains;
mod isolation;
mod onboarding;
mod removal;
mod renewal;
mod trouble;
mod uninstalled;
