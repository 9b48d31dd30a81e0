//! What became of a Route: let through or refused, and everything that a person should know about it.

use std::collections::BTreeMap;

use api::condition::ConditionValue;
use api::v1alpha1::route_condition as condition;

use crate::output::ObjectKey;

/// Longest message, in bytes: messages quote what a tenant wrote.
const MAX_MESSAGE: usize = 1024;
/// Most problems that one condition tells.
const MAX_TOLD: usize = 8;

/// Why a Route is refused, or a part of it left out. The message is for the tenant: it never names another
/// tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A reason of [`api::v1alpha1::route_condition`].
    pub reason: &'static str,
    /// A sentence for a person, with the path of the field where there is one.
    pub message: String,
}

impl Problem {
    /// A problem.
    #[must_use]
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE {
            let end = (0..=MAX_MESSAGE)
                .rev()
                .find(|i| message.is_char_boundary(*i))
                .unwrap_or(0);
            message.truncate(end);
            message.push('…');
        }
        Self { reason, message }
    }

    /// A field that is not understood or not allowed.
    #[must_use]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(condition::REASON_UNSUPPORTED_VALUE, message)
    }
}

/// What became of a Route.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The `Accepted` condition.
    pub accepted: ConditionValue,
    /// Objects made from this Route: its own first, then the backends that it shares with others.
    pub objects: Vec<ObjectKey>,
    /// Parts that were left out although the Route is accepted.
    pub problems: Vec<Problem>,
    /// For a Gateway: listeners that were left out, by name.
    pub refused_listeners: BTreeMap<String, Problem>,
    /// For a route: some references lead to the backend that never exists, as the CCM decided. Envoy Gateway
    /// then says `ResolvedRefs=False`, which is no error.
    pub has_invalid_backends: bool,
}

impl Verdict {
    /// True where the Route was let through.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.accepted.status == api::condition::Status::True
    }

    /// A Route that is not served.
    #[must_use]
    pub fn refused(problem: Problem) -> Self {
        let Problem { reason, message } = problem;
        Self {
            accepted: ConditionValue::new(condition::ACCEPTED, false, reason, message),
            objects: Vec::new(),
            problems: Vec::new(),
            refused_listeners: BTreeMap::new(),
            has_invalid_backends: false,
        }
    }

    /// A Route that is served, perhaps without some of its parts.
    #[must_use]
    pub(crate) fn served(objects: Vec<ObjectKey>, problems: Vec<Problem>) -> Self {
        Self {
            accepted: ConditionValue::new(
                condition::ACCEPTED,
                true,
                condition::REASON_ACCEPTED,
                tell(&problems),
            ),
            objects,
            problems,
            refused_listeners: BTreeMap::new(),
            has_invalid_backends: false,
        }
    }
}

fn tell(problems: &[Problem]) -> String {
    if problems.is_empty() {
        return "Everything in it is allowed.".to_owned();
    }
    let mut told: Vec<&str> = problems
        .iter()
        .take(MAX_TOLD)
        .map(|p| p.message.as_str())
        .collect();
    let more = problems.len().saturating_sub(MAX_TOLD);
    let rest = format!("And {more} more.");
    if more > 0 {
        told.push(&rest);
    }
    told.join(" ")
}
