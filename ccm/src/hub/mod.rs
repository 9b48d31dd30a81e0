//! The way to the hub: one client that outlives credentials, and the answer to "may we write there now?".

pub mod credential;
pub mod fault;
pub mod link;
pub mod probe;
pub mod refusal;
pub mod token;
