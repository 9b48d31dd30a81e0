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

/// The names that are matched by both, in lower case, sorted. `*` stands for all names.
pub(crate) fn common(listener: Option<&str>, route: &[String]) -> Vec<String> {
    let listener = listener.unwrap_or_default().to_ascii_lowercase();
    let mut names: Vec<String> = match route {
        [] => vec![listener],
        names if listener.is_empty() => names.iter().map(|name| name.to_ascii_lowercase()).collect(),
        names => names
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .filter(|name| overlap(&listener, name))
            .map(|name| std::cmp::max_by_key(name, listener.clone(), |name| specificity(name)))
            .collect(),
    };
    for name in names.iter_mut().filter(|name| name.is_empty()) {
        name.push('*');
    }
    names.sort();
    names.dedup();
    names
}

/// How specific a host name is: a greater one goes first. An exact name goes before a wildcard, a longer one
/// before a shorter one.
pub(crate) fn specificity(name: &str) -> (bool, usize) {
    let exact = !name.is_empty() && !name.starts_with('*');
    (exact, if name == "*" { 0 } else { name.len() })
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
    fn what_both_match_is_the_more_specific_of_the_two() {
        let common = |listener: Option<&str>, route: &[&str]| {
            let route: Vec<String> = route.iter().map(|name| (*name).to_owned()).collect();
            common(listener, &route)
        };
        assert_eq!(
            common(Some("*.example.com"), &["*.com", "b.org"]),
            ["*.example.com"]
        );
        assert_eq!(common(Some("*.com"), &["A.example.com"]), ["a.example.com"]);
        assert_eq!(common(Some("a.example.com"), &[]), ["a.example.com"]);
        assert_eq!(common(None, &["b.org", "a.org"]), ["a.org", "b.org"]);
        assert_eq!(common(None, &[]), ["*"]);
    }

    #[test]
    fn letters_of_either_case_are_alike() {
        assert!(overlap("A.Example.com", "a.example.COM"));
    }
}
