//! One driver for each thing that is kept in order. Each reads gather → convert → plan → apply → report; only
//! these files and `context` talk to the API server.

pub mod config;
pub mod fan_out;
pub mod global;
pub mod load_balancer;
pub mod pki;
pub mod report;
pub mod route;
pub mod tenant;
