//! Several tenants on one hub.

mod bounds;
mod credential;
mod isolation;
mod onboarding;
mod removal;
mod renewal;
mod trouble;
