//! How the connections of one port are handled. Values that nobody chose are Envoy's own, or none at all, so that a
//! policy without a word gives the plainest configuration.

use std::num::NonZeroU32;

use super::Port;

/// How the connections of one port are handled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Policy {
    /// Which backend a connection goes to.
    pub balancing: Balancing,
    /// How long a backend may take to accept a connection. [`Policy::CONNECT_TIMEOUT`] unless told.
    pub connect_timeout: Option<Seconds>,
    /// When a connection without traffic is closed, or a UDP session forgotten. An hour and a minute unless told.
    pub idle_timeout: Option<Seconds>,
    /// Connections of clients at one time, for each Envoy; further ones are closed. UDP: sessions; a datagram of a
    /// further one is dropped. No limit unless told.
    pub max_connections: Option<NonZeroU32>,
    /// Bounds towards the backends.
    pub breaker: Breaker,
    /// Tells TCP backends the client's address by PROXY protocol version 2.
    pub proxy_protocol: bool,
    /// Asks backends whether they are well. A backend that is not gets no new connections, as long as another is.
    pub health_check: Option<HealthCheck>,
}

impl Policy {
    /// How long a backend may take to accept a connection unless told.
    pub const CONNECT_TIMEOUT: Seconds = Seconds(NonZeroU32::new(5).unwrap());
}

/// A whole number of seconds, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(NonZeroU32);

impl Seconds {
    /// None for 0.
    #[must_use]
    pub fn new(seconds: u32) -> Option<Self> {
        NonZeroU32::new(seconds).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl From<Seconds> for u32 {
    fn from(seconds: Seconds) -> Self {
        seconds.get()
    }
}

/// Which backend a connection goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Balancing {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one of two chosen at random that has fewer connections.
    LeastRequest,
    /// Any.
    Random,
    /// Connections from one source address go to one backend, as long as that backend exists.
    SourceIp,
}

/// Bounds towards the backends of one port, for each Envoy. None is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Breaker {
    /// Connections at one time; a client beyond them is closed.
    pub max_connections: Option<NonZeroU32>,
    /// Connections that are being opened at one time.
    pub max_pending: Option<NonZeroU32>,
}

/// Asks backends whether they are well.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// The port that is asked; the backend's own unless told.
    pub port: Option<Port>,
    /// Time between two questions.
    pub interval: Seconds,
    /// Time for an answer.
    pub timeout: Seconds,
    /// So many good answers in a row make it well.
    pub healthy_threshold: NonZeroU32,
    /// So many bad answers in a row make it unwell.
    pub unhealthy_threshold: NonZeroU32,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// Whether it accepts a connection.
    Tcp,
    /// A GET request over HTTP/1.1.
    Http {
        /// Path, with the leading slash.
        path: String,
        /// Host header; the name of the cluster unless told.
        host: Option<String>,
        /// Answers that are good; 200 alone if empty.
        statuses: Vec<u16>,
    },
    /// `grpc.health.v1.Health/Check` over HTTP/2 without TLS.
    Grpc {
        /// Service that is asked about; the server as a whole unless told.
        service: Option<String>,
        /// `:authority`; the name of the cluster unless told.
        authority: Option<String>,
    },
}
