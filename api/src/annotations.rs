//! Which annotations of a tenant's object reach the hub: denied, then all, then the allow-list.
//!
//! The CCM asks before it sends, the manager before it sets: one rule for both. Keys are shell globs in which `*` does not cross `/`; a pattern
//! that is no glob is compared literally.

use std::collections::BTreeMap;

use crate::v1alpha1::AnnotationSettings;

/// What keys that never pass begin with: a tenant must not forge an origin, kubectl's hold the whole object again, and
/// a name in DNS is given by the hub or not at all. external-dns reads either of its prefixes, by its version.
const NEVER: [&str; 6] = [
    "kubelb.k8c.io/",
    "kubectl.kubernetes.io/",
    "external-dns.alpha.kubernetes.io/hostname",
    "external-dns.alpha.kubernetes.io/internal-hostname",
    "external-dns.kubernetes.io/hostname",
    "external-dns.kubernetes.io/internal-hostname",
];

/// The annotations of `annotations` that `settings` lets through.
#[must_use]
pub fn propagated(
    annotations: &BTreeMap<String, String>,
    settings: &AnnotationSettings,
) -> BTreeMap<String, String> {
    annotations
        .iter()
        .filter(|(key, value)| passes(key, value, settings))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn passes(key: &str, value: &str, settings: &AnnotationSettings) -> bool {
    let AnnotationSettings {
        propagate_all_annotations,
        propagated_annotations,
        denied_annotations,
    } = settings;
    if NEVER.iter().any(|prefix| key.starts_with(prefix)) {
        return false;
    }
    if denied_annotations
        .iter()
        .flatten()
        .any(|pattern| matches(pattern, key))
    {
        return false;
    }
    if propagate_all_annotations.unwrap_or(false) {
        return true;
    }
    let allowed = propagated_annotations.iter().flatten();
    allowed
        .into_iter()
        .any(|(pattern, values)| matches(pattern, key) && value_passes(values, value))
}

fn value_passes(permitted: &str, value: &str) -> bool {
    permitted.trim().is_empty() || permitted.split(',').any(|p| p.trim() == value)
}

/// Shell match of a whole text, as in `path.Match`: `*`, `?`, `[a-z]`, `[^a]` and `\`; none but a literal
/// crosses `/`.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let text_chars: Vec<char> = text.chars().collect();
    parse(pattern).map_or(pattern == text, |tokens| match_tokens(&tokens, &text_chars))
}

#[derive(Debug)]
enum Token {
    Literal(char),
    One,
    Many,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// `None` when the pattern is malformed.
fn parse(pattern: &str) -> Option<Vec<Token>> {
    let mut chars = pattern.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Many,
            '?' => Token::One,
            '\\' => Token::Literal(chars.next()?),
            '[' => parse_class(&mut chars)?,
            other => Token::Literal(other),
        });
    }
    Some(tokens)
}

fn parse_class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if chars.next_if_eq(&']').is_some() {
            return (!ranges.is_empty()).then_some(Token::Class { negated, ranges });
        }
        let low = class_char(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() {
            class_char(chars)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '\\' => chars.next(),
        '-' | ']' => None,
        c => Some(c),
    }
}

/// Greedy match with one point to go back to. A star never runs over `/`, so going back to the last one is
/// enough and the cost is at most the product of the lengths.
fn match_tokens(tokens: &[Token], text: &[char]) -> bool {
    let (mut t, mut i) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (tokens.get(t), text.get(i)) {
            (None, None) => return true,
            (Some(Token::Many), _) => {
                star = Some((t, i));
                t += 1;
                continue;
            }
            (Some(token), Some(&c)) if matches_one(token, c) => {
                t += 1;
                i += 1;
                continue;
            }
            _ => {}
        }
        // One more character for the last star, if that is not a slash.
        match star {
            Some((at, from)) if text.get(from).is_some_and(|c| *c != '/') => {
                star = Some((at, from + 1));
                t = at + 1;
                i = from + 1;
            }
            _ => return false,
        }
    }
}

fn matches_one(token: &Token, c: char) -> bool {
    match token {
        Token::Literal(l) => *l == c,
        Token::One => c != '/',
        Token::Many => false,
        Token::Class { negated, ranges } => {
            c != '/' && ranges.iter().any(|(low, high)| *low <= c && c <= *high) != *negated
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn keys(settings: &AnnotationSettings, pairs: &[(&str, &str)]) -> Vec<String> {
        propagated(&map(pairs), settings).into_keys().collect()
    }

    #[test]
    fn nothing_passes_by_default() {
        assert!(keys(&AnnotationSettings::default(), &[("a/b", "c"), ("d", "e")]).is_empty());
    }

    #[test]
    fn a_star_does_not_cross_a_slash() {
        assert!(matches(
            "nginx.ingress.kubernetes.io/*",
            "nginx.ingress.kubernetes.io/foo"
        ));
        assert!(!matches("*", "nginx.ingress.kubernetes.io/foo"));
        assert!(matches("*/*", "nginx.ingress.kubernetes.io/foo"));
        assert!(matches("a*b*c", "aXbYbZc"));
        assert!(!matches("a*c", "ab/c"));
    }

    #[test]
    fn classes_question_marks_and_escapes_match_as_in_a_shell() {
        assert!(matches("a[b-d]e", "ace"));
        assert!(!matches("a[^b-d]e", "ace"));
        assert!(matches("a?c", "abc"));
        assert!(!matches("a?c", "a/c"));
        assert!(matches(r"a\*c", "a*c"));
        assert!(!matches(r"a\*c", "abc"));
    }

    #[test]
    fn a_malformed_pattern_is_compared_literally() {
        assert!(matches("a[b", "a[b"));
        assert!(!matches("a[b", "ab"));
        assert!(matches("a[]", "a[]"));
    }

    #[test]
    fn an_empty_value_list_lets_any_value_pass_and_a_list_only_its_values() {
        let settings = AnnotationSettings {
            propagated_annotations: Some(map(&[("any", ""), ("some", "x, y")])),
            ..AnnotationSettings::default()
        };
        assert_eq!(keys(&settings, &[("any", "z"), ("some", "y")]), ["any", "some"]);
        assert_eq!(keys(&settings, &[("some", "z")]), Vec::<String>::new());
    }

    #[test]
    fn denied_wins_over_all() {
        let settings = AnnotationSettings {
            propagate_all_annotations: Some(true),
            denied_annotations: Some(vec!["secret.io/*".to_owned()]),
            propagated_annotations: None,
        };
        assert_eq!(
            keys(&settings, &[("secret.io/a", ""), ("open.io/b", "")]),
            ["open.io/b"]
        );
    }

    #[test]
    fn an_origin_cannot_be_forged_even_where_everything_passes() {
        let settings = AnnotationSettings {
            propagate_all_annotations: Some(true),
            ..AnnotationSettings::default()
        };
        let pairs = [
            (crate::meta::ORIGIN_NAME, "x"),
            ("kubectl.kubernetes.io/last-applied-configuration", "{}"),
            ("a", "b"),
        ];
        assert_eq!(keys(&settings, &pairs), ["a"]);
    }

    #[test]
    fn a_name_in_dns_cannot_be_taken_by_an_annotation_even_where_everything_passes() {
        let settings = AnnotationSettings {
            propagate_all_annotations: Some(true),
            ..AnnotationSettings::default()
        };
        let pairs = [
            ("external-dns.alpha.kubernetes.io/hostname", "bank.example.com"),
            (
                "external-dns.alpha.kubernetes.io/internal-hostname",
                "bank.example.com",
            ),
            ("external-dns.alpha.kubernetes.io/ttl", "60"),
            ("external-dns.kubernetes.io/hostname", "bank.example.com"),
        ];
        assert_eq!(keys(&settings, &pairs), ["external-dns.alpha.kubernetes.io/ttl"]);
    }

    proptest! {
        #[test]
        fn every_pattern_is_total(pattern in "\\PC{0,20}", text in "\\PC{0,20}") {
            let _ = matches(&pattern, &text);
        }

        #[test]
        fn a_text_without_special_characters_matches_itself_only(a in "[a-z./-]{0,8}", b in "[a-z./-]{0,8}") {
            prop_assert_eq!(matches(&a, &b), a == b);
        }
    }
}
