//! Which host names a listener and a route have in common.
//!
//! A leading `*.` stands for one or more labels, as the Gateway API has it: `*.example.com` covers
//! `a.b.example.com` but not `example.com`.

/// True when some host name is matched by both. No name, and the empty one, match everything.
pub(crate) fn intersect(listener: Option<&str>, route: &[String]) -> bool {
    let Some(listener) = listener.filter(|name| !name.is_empty()) else {
        return true;
    };
    route.is_empty() || route.iter().any(|name| overlap(listener, name))
}

/// True when the two host names have a name in common.
pub(crate) fn overlap(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    match (a.strip_prefix("*."), b.strip_prefix("*.")) {
        (None, None) => a == b,
        (Some(domain), None) => below(&b, domain),
        (None, Some(domain)) => below(&a, domain),
        (Some(x), Some(y)) => x == y || below(x, y) || below(y, x),
    }
}

fn below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_any_number_of_labels_but_not_its_own_domain() {
        assert!(overlap("*.example.com", "a.example.com"));
        assert!(overlap("a.b.example.com", "*.example.com"));
        assert!(!overlap("*.example.com", "example.com"));
        assert!(!overlap("*.example.com", "badexample.com"));
    }

    #[test]
    fn two_wildcards_overlap_when_one_lies_in_the_other() {
        assert!(overlap("*.example.com", "*.example.com"));
        assert!(overlap("*.example.com", "*.foo.example.com"));
        assert!(!overlap("*.example.com", "*.example.org"));
    }

    #[test]
    fn a_side_without_host_names_matches_everything() {
        assert!(intersect(None, &["a.example.com".to_owned()]));
        assert!(intersect(Some(""), &["a.example.com".to_owned()]));
        assert!(intersect(Some("a.example.com"), &[]));
        assert!(!intersect(Some("a.example.com"), &["b.example.com".to_owned()]));
    }

    #[test]
    fn letters_of_either_case_are_alike() {
        assert!(overlap("A.Example.com", "a.example.COM"));
    }
}
