//! A Service of type LoadBalancer.

mod affinity;
mod bad_input;
mod basic;
mod delete;
mod families;
mod hostnames;
mod local_traffic;
mod nodes;
mod programmed;
mod provider;
mod proxy_protocol;
mod source_ranges;
mod topologies;
