//! Tenant objects to hub objects. Pure: plain data in, plain data out.

pub mod instructions;
pub mod local;
pub mod nodes;
pub mod origin;
pub mod provider;
pub mod service;
