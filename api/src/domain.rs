//! Which host names a tenant may use.
//!
//! A pattern is a host name in which a label may be `*` (exactly one label) or, first only, `**` (one or more
//! labels). A tenant with no pattern may use no host name at all.

/// True when `hostname` lies within one of `patterns`.
///
/// A wildcard host name (`*.example.com`) claims every name below it, at any depth, so it needs a `**`
/// pattern that covers its whole domain.
#[must_use]
pub fn is_allowed(hostname: &str, patterns: &[String]) -> bool {
    let hostname = hostname.to_ascii_lowercase();
    patterns
        .iter()
        .any(|pattern| matches(&hostname, &pattern.to_ascii_lowercase()))
}

fn matches(hostname: &str, pattern: &str) -> bool {
    if pattern == "**" {
        return true;
    }
    if let Some(domain) = pattern.strip_prefix("**.") {
        return below(hostname, domain);
    }
    if hostname.starts_with("*.") {
        return false;
    }
    let (host, wanted): (Vec<_>, Vec<_>) = (hostname.split('.').collect(), pattern.split('.').collect());
    host.len() == wanted.len() && host.iter().zip(&wanted).all(|(h, w)| *w == "*" || h == w)
}

fn below(hostname: &str, domain: &str) -> bool {
    hostname
        .strip_suffix(domain)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    fn allowed(hostname: &str, pattern: &str) -> bool {
        is_allowed(hostname, &[pattern.to_owned()])
    }

    #[test]
    fn one_star_is_one_label_and_two_are_any_number() {
        assert!(allowed("a.example.com", "*.example.com"));
        assert!(!allowed("a.b.example.com", "*.example.com"));
        assert!(allowed("a.b.example.com", "**.example.com"));
        assert!(allowed("anything", "**"));
    }

    #[test]
    fn a_wildcard_host_needs_a_pattern_that_covers_all_of_it() {
        assert!(!allowed("*.example.com", "*.example.com"));
        assert!(allowed("*.example.com", "**.example.com"));
        assert!(!allowed("*.com", "**.example.com"));
    }

    #[test]
    fn a_name_that_only_ends_alike_is_not_below() {
        assert!(!allowed("badexample.com", "**.example.com"));
        assert!(!allowed("example.com", "**.example.com"));
        assert!(!allowed(".example.com", "**.example.com"));
    }

    #[test]
    fn no_pattern_allows_nothing() {
        assert!(!is_allowed("a.example.com", &[]));
    }
}
