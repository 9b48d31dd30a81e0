//! Which annotations of a Service go to the hub: what the tenant's settings let through, and instructions. Pure.

use std::collections::BTreeMap;

use api::meta::REQUEST_WILDCARD_DOMAIN;
use api::v1alpha1::AnnotationSettings;

/// Instructions to the hub itself. They are not propagated further, so no allow-list applies to them.
const INSTRUCTIONS: [&str; 1] = [REQUEST_WILDCARD_DOMAIN];

/// The annotations of `annotations` that go to the hub.
#[must_use]
pub fn propagated(
    annotations: &BTreeMap<String, String>,
    settings: &AnnotationSettings,
) -> BTreeMap<String, String> {
    let instruction = |key: &&str| annotations.get_key_value(*key);
    let instructions = INSTRUCTIONS
        .iter()
        .filter_map(instruction)
        .map(|(k, v)| (k.clone(), v.clone()));
    api::annotations::propagated(annotations, settings)
        .into_iter()
        .chain(instructions)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_go_to_the_hub_whatever_the_settings_say() {
        let pairs = [
            (REQUEST_WILDCARD_DOMAIN, "true"),
            (api::meta::ORIGIN_NAME, "x"),
            ("a", "b"),
        ];
        let annotations = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let sent = propagated(&annotations, &AnnotationSettings::default());
        assert_eq!(sent.into_keys().collect::<Vec<_>>(), [REQUEST_WILDCARD_DOMAIN]);
    }
}
