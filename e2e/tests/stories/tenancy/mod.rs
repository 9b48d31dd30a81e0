//! Several tenants on one hub.

mod bounds;
mod credential;
mod isolation;
mod onboarding;
mod renewal;
mod trouble;
