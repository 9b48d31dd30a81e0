//! Conditions: typed values in, a merged list out. The clock is an argument.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longest message a condition may carry, in bytes (the API's own limit).
const MAX_MESSAGE: usize = 32_768;

/// What is to be said under one condition type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionValue {
    /// Condition type, such as `Programmed`.
    pub type_: &'static str,
    /// True, False or Unknown.
    pub status: Status,
    /// Reason in CamelCase, from a closed set.
    pub reason: &'static str,
    /// A sentence for a person.
    pub message: String,
}

/// Status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known yet.
    Unknown,
}

impl Status {
    /// The text used in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl ConditionValue {
    /// A condition value.
    #[must_use]
    pub fn new(
        type_: &'static str,
        status: impl Into<Status>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_,
            status: status.into(),
            reason,
            message: message.into(),
        }
    }
}

/// Puts `wanted` into `existing` and keeps every type that `wanted` does not name.
///
/// `lastTransitionTime` moves only when the status changes, so the same input gives the same bytes.
#[must_use]
pub fn merge(
    existing: &[Condition],
    wanted: &[ConditionValue],
    generation: i64,
    now: &Time,
) -> Vec<Condition> {
    let mut merged: Vec<Condition> = existing.to_vec();
    for value in wanted {
        let new = to_condition(value, generation, now);
        match merged.iter_mut().find(|c| c.type_ == value.type_) {
            Some(old) if old.status == new.status => {
                let since = old.last_transition_time.clone();
                *old = Condition {
                    last_transition_time: since,
                    ..new
                };
            }
            Some(old) => *old = new,
            None => merged.push(new),
        }
    }
    merged
}

/// Finds a condition by its type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// True when the condition of this type is `True` and was computed for `generation`.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str, generation: i64) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == "True" && c.observed_generation == Some(generation))
}

fn to_condition(value: &ConditionValue, generation: i64, now: &Time) -> Condition {
    let mut message = value.message.clone();
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE)
            .rev()
            .find(|i| message.is_char_boundary(*i))
            .unwrap_or(0);
        message.truncate(end);
    }
    Condition {
        type_: value.type_.to_owned(),
        status: value.status.as_str().to_owned(),
        reason: value.reason.to_owned(),
        message,
        observed_generation: Some(generation),
        last_transition_time: now.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time(jiff::Timestamp::from_second(seconds).unwrap())
    }

    #[test]
    fn transition_time_moves_only_when_the_status_does() {
        let first = merge(
            &[],
            &[ConditionValue::new("Ready", true, "Reconciled", "ok")],
            1,
            &at(10),
        );
        let same = merge(
            &first,
            &[ConditionValue::new("Ready", true, "Reconciled", "still ok")],
            2,
            &at(20),
        );
        assert_eq!(same[0].last_transition_time, at(10));
        assert_eq!(same[0].observed_generation, Some(2));
        let turned = merge(
            &same,
            &[ConditionValue::new("Ready", false, "Broken", "no")],
            2,
            &at(30),
        );
        assert_eq!(turned[0].last_transition_time, at(30));
    }

    #[test]
    fn conditions_of_other_types_stay() {
        let foreign = merge(
            &[],
            &[ConditionValue::new("Foreign", true, "Theirs", "")],
            1,
            &at(1),
        );
        let merged = merge(
            &foreign,
            &[ConditionValue::new("Ready", true, "Ours", "")],
            1,
            &at(2),
        );
        assert_eq!(merged.len(), 2);
    }
}
