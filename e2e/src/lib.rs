//! What the whole-system tests and the `deploy` command share: the lab's clusters, traffic, waiting, and the
//! installation of the product.
//!
//! Everything here runs inside the lab's network (`lab exec`), as an ordinary user would: through kubectl,
//! helm and requests to addresses. It never reaches into the product's own code.

pub mod cluster;
pub mod echo;
pub mod environment;
pub mod grpc;
pub mod held;
pub mod node;
pub mod product;
pub mod traffic;
pub mod wait;
