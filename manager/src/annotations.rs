//! Which annotations of a tenant's object may reach a hub object. Pure.
//!
//! Nothing passes by default. Our own keys and kubectl's never do, whatever the settings say.

use std::collections::BTreeMap;

use api::v1alpha1::AnnotationSettings;

/// Keys that are never a tenant's to set on the hub.
const NEVER: [&str; 2] = ["kubelb.k8c.io/*", "kubectl.kubernetes.io/*"];

/// Those that pass.
#[must_use]
pub fn propagated(
    source: &BTreeMap<String, String>,
    settings: &AnnotationSettings,
) -> BTreeMap<String, String> {
    source
        .iter()
        .filter(|(key, value)| passes(key, value, settings))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

fn passes(key: &str, value: &str, settings: &AnnotationSettings) -> bool {
    let AnnotationSettings {
        propagate_all_annotations,
        propagated_annotations,
        denied_annotations,
    } = settings;
    let denied = denied_annotations.iter().flatten().map(String::as_str);
    if NEVER.into_iter().chain(denied).any(|glob| matches(glob, key)) {
        return false;
    }
    *propagate_all_annotations == Some(true)
        || propagated_annotations
            .iter()
            .flatten()
            .any(|(glob, values)| matches(glob, key) && permits(values, value))
}

/// An empty list permits any value.
fn permits(values: &str, value: &str) -> bool {
    values.trim().is_empty() || values.split(',').any(|permitted| permitted.trim() == value)
}

/// A shell glob of `*` and `?`, neither of which crosses `/`.
fn matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    // One row of the usual table: reached[i] says that the glob so far matches the first i characters.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for pattern in glob {
        let mut next = vec![false; text.len() + 1];
        if pattern == '*' {
            for i in 0..=text.len() {
                let extended = i > 0 && next[i - 1] && text[i - 1] != '/';
                next[i] = reached[i] || extended;
            }
        } else {
            for i in 0..text.len() {
                next[i + 1] = reached[i] && (pattern == text[i] || (pattern == '?' && text[i] != '/'));
            }
        }
        reached = next;
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn nothing_passes_by_default() {
        assert!(propagated(&map(&[("a", "1")]), &AnnotationSettings::default()).is_empty());
    }

    #[test]
    fn values_are_bound_and_an_empty_list_binds_nothing() {
        let settings = AnnotationSettings {
            propagated_annotations: Some(map(&[("a/b", "x, y"), ("c/*", "")])),
            ..AnnotationSettings::default()
        };
        let source = map(&[("a/b", "y"), ("c/d", "anything"), ("c/d/e", "too deep")]);
        assert_eq!(
            propagated(&source, &settings),
            map(&[("a/b", "y"), ("c/d", "anything")])
        );
        assert!(propagated(&map(&[("a/b", "z")]), &settings).is_empty());
    }

    #[test]
    fn denied_and_reserved_keys_do_not_pass_even_where_all_do() {
        let settings = AnnotationSettings {
            propagate_all_annotations: Some(true),
            denied_annotations: Some(vec!["nginx.*/*".into()]),
            ..AnnotationSettings::default()
        };
        let source = map(&[
            ("a", "1"),
            ("nginx.ingress.kubernetes.io/configuration-snippet", "x"),
            ("kubelb.k8c.io/managed-by", "me"),
            ("kubectl.kubernetes.io/last-applied-configuration", "{}"),
        ]);
        assert_eq!(propagated(&source, &settings), map(&[("a", "1")]));
    }

    #[test]
    fn a_star_does_not_cross_a_slash() {
        assert!(matches("nginx.*/*", "nginx.ingress/foo"));
        assert!(!matches("*", "a/b"));
        assert!(matches("a?c", "abc"));
        assert!(!matches("a?c", "a/c"));
        assert!(matches("", ""));
    }
}
