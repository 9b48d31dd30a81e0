//! A Service of type LoadBalancer.

mod bad_input;
mod basic;
mod delete;
mod nodes;
