//! Host names: what one is, and who holds it on a Gateway that several tenants share.

pub mod claims;
pub mod hostname;
