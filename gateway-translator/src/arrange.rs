//! What concerns all Routes of a tenant together once each is translated: which listener has which hosts, and which
//! route goes first where several match alike.
//!
//! ```text
//!  drafts ──► topology: listeners by Gateway and port ──► misdirected: 421 and ALPN for HTTPS listeners
//!        └──► precedence: who holds a match ──► parts: hub routes ◄──┘
//! ```

pub(crate) mod misdirected;
pub(crate) mod parts;
pub(crate) mod precedence;
pub(crate) mod topology;
