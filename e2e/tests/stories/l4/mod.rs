//! A Service of type LoadBalancer.

mod bad_input;
mod basic;
mod delete;
mod hostnames;
mod local_traffic;
mod nodes;
mod proxy_protocol;
mod source_ranges;
