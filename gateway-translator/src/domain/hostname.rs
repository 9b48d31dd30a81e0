//! Host names of routes and listeners, as the Gateway API has them.

/// Longest host name.
const MAX_HOSTNAME: usize = 253;
/// Longest label of a host name.
const MAX_LABEL: usize = 63;

/// True for a DNS-1123 subdomain in lower case, perhaps with `*` as its whole first label.
#[must_use]
pub fn is_hostname(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    is_precise(name) && text.len() <= MAX_HOSTNAME
}

/// True for a host name without a wildcard. An IP address is none.
#[must_use]
pub fn is_precise(text: &str) -> bool {
    text.len() <= MAX_HOSTNAME && text.split('.').all(is_label) && text.parse::<std::net::Ipv4Addr>().is_err()
}

/// True where every host of `inner` is one of `outer`. No name stands for every host.
#[must_use]
pub fn covers(outer: Option<&str>, inner: Option<&str>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) if outer == inner => true,
        (Some(outer), Some(inner)) => outer.strip_prefix('*').is_some_and(|suffix| {
            let name = inner.strip_prefix('*').unwrap_or(inner);
            name.len() > suffix.len() && name.ends_with(suffix)
        }),
    }
}

/// The hosts that a listener and a route have in common, where there are any; the inner option as in [`covers`].
#[must_use]
pub fn intersection(one: Option<&str>, other: Option<&str>) -> Option<Option<String>> {
    if covers(one, other) {
        Some(other.map(str::to_owned))
    } else if covers(other, one) {
        Some(one.map(str::to_owned))
    } else {
        None
    }
}

fn is_label(label: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !label.is_empty()
        && label.len() <= MAX_LABEL
        && label.bytes().all(legal)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::{covers, intersection, is_hostname, is_precise};

    #[test]
    fn a_wildcard_covers_what_is_below_it_and_not_its_own_domain() {
        for (outer, inner, wanted) in [
            (None, Some("a.com"), true),
            (Some("a.com"), None, false),
            (Some("*.com"), Some("a.com"), true),
            (Some("*.com"), Some("b.a.com"), true),
            (Some("*.com"), Some("*.a.com"), true),
            (Some("*.a.com"), Some("*.com"), false),
            (Some("*.a.com"), Some("a.com"), false),
            (Some("*.a.com"), Some("ba.com"), false),
            (Some("a.com"), Some("b.com"), false),
        ] {
            assert_eq!(covers(outer, inner), wanted, "{outer:?} {inner:?}");
        }
    }

    #[test]
    fn listener_and_route_have_the_narrower_name_in_common() {
        assert_eq!(intersection(None, Some("a.com")), Some(Some("a.com".to_owned())));
        assert_eq!(
            intersection(Some("a.com"), Some("*.com")),
            Some(Some("a.com".to_owned()))
        );
        assert_eq!(intersection(None, None), Some(None));
        assert_eq!(intersection(Some("a.com"), Some("b.com")), None);
    }

    #[test]
    fn a_wildcard_is_the_whole_first_label_or_none() {
        assert!(is_hostname("*.example.com"));
        assert!(!is_hostname("*"));
        assert!(!is_hostname("a*.example.com"));
        assert!(!is_hostname("a.*.example.com"));
        assert!(!is_precise("*.example.com"));
    }

    #[test]
    fn addresses_upper_case_and_trailing_dots_are_refused() {
        for text in [
            "10.0.0.1",
            "Example.com",
            "example.com.",
            "",
            "-a.com",
            "a_b.com",
            "::1",
        ] {
            assert!(!is_hostname(text), "{text}");
        }
    }
}
