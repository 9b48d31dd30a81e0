//! Label selectors.

use std::collections::BTreeMap;

use crate::model::{LabelRequirement, LabelSelector};

/// True when the labels fulfil the whole selector. An empty selector is fulfilled by any labels; an operator
/// that nobody knows is fulfilled by none.
pub(crate) fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let LabelSelector {
        match_labels,
        match_expressions,
        others: _,
    } = selector;
    match_labels
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && match_expressions
            .iter()
            .all(|requirement| fulfils(requirement, labels))
}

fn fulfils(requirement: &LabelRequirement, labels: &BTreeMap<String, String>) -> bool {
    let LabelRequirement {
        key,
        operator,
        values,
        others: _,
    } = requirement;
    let value = labels.get(key);
    match operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        // As in Kubernetes, a label that is not there is not in the list.
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(selector: serde_json::Value) -> bool {
        let labels = [("team", "blue"), ("stage", "prod")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        matches(
            &serde_json::from_value(selector).unwrap(),
            &BTreeMap::from(labels),
        )
    }

    #[test]
    fn every_operator_is_understood() {
        let with = |operator: &str, key: &str, values: &[&str]| {
            selected(
                serde_json::json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}),
            )
        };
        assert!(with("In", "team", &["red", "blue"]) && !with("In", "team", &["red"]));
        assert!(!with("In", "absent", &["red"]));
        assert!(with("NotIn", "team", &["red"]) && !with("NotIn", "team", &["blue"]));
        assert!(with("NotIn", "absent", &["red"]));
        assert!(with("Exists", "team", &[]) && !with("Exists", "absent", &[]));
        assert!(with("DoesNotExist", "absent", &[]) && !with("DoesNotExist", "team", &[]));
        assert!(!with("Resembles", "team", &["blue"]));
    }

    #[test]
    fn labels_and_expressions_must_all_hold() {
        assert!(selected(serde_json::json!({})));
        assert!(selected(
            serde_json::json!({"matchLabels": {"team": "blue", "stage": "prod"}})
        ));
        assert!(!selected(
            serde_json::json!({"matchLabels": {"team": "blue", "stage": "test"}})
        ));
        let mixed = serde_json::json!({"matchLabels": {"team": "blue"},
            "matchExpressions": [{"key": "stage", "operator": "DoesNotExist"}]});
        assert!(!selected(mixed));
    }
}
