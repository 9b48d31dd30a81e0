//! Running the system: failures, idleness, what can be seen.

mod failover;
mod idle;
mod look_around;
mod scraped;
