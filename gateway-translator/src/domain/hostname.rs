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
    use super::{is_hostname, is_precise};

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
