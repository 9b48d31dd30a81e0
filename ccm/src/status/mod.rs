//! Facts from the hub to the status of tenant objects. Pure.

pub mod service;
