//! Which resources a NACK is about.
//!
//! The protocol only says that a response was rejected and why, in words. Envoy's words name the culprits, as in
//! `Error adding/updating listener(s) a/b/tcp/80: cannot bind …`. Pure text work; what follows from it is decided in
//! [`crate::subscription`].

use std::collections::BTreeMap;

use crate::snapshot::ResourceName;

/// Longest excerpt of a message that is kept for one resource. It ends up in a condition.
const MAX_EXCERPT: usize = 1024;

type Names<'a> = BTreeMap<&'a str, &'a ResourceName>;

/// The resources among `sent` that `message` finds fault with, each with the words about it. Empty if it names none.
///
/// A message may also name bystanders (`'a' has duplicate address … as existing listener 'b'`), so the first name in
/// a line is its culprit, and later ones only where Envoy starts a new entry with `name:`.
pub fn culprits<'a>(
    message: &str,
    sent: impl IntoIterator<Item = &'a ResourceName>,
) -> BTreeMap<ResourceName, String> {
    let names: Names<'_> = sent.into_iter().map(|name| (name.as_str(), name)).collect();
    let mut found = BTreeMap::new();
    for line in message.lines() {
        let mentions = mentions(line, &names);
        for (index, (at, name)) in mentions.iter().enumerate() {
            let end = at + name.as_str().len();
            if index == 0 || line.get(end..).is_some_and(|rest| rest.starts_with(':')) {
                let words = line.get(*at..).unwrap_or(line);
                found.entry((*name).clone()).or_insert_with(|| excerpt(words));
            }
        }
    }
    found
}

/// The beginning of `text`, at most 1024 bytes of it.
pub fn excerpt(text: &str) -> String {
    let mut end = text.len().min(MAX_EXCERPT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text).trim().to_owned()
}

/// Where `line` holds one of `names` as a whole word: `a/b/tcp/80` is not in `a/b/tcp/8080`.
fn mentions<'a>(line: &str, names: &Names<'a>) -> Vec<(usize, &'a ResourceName)> {
    let mut found = Vec::new();
    let mut word_start = None;
    for (at, c) in line.char_indices().chain([(line.len(), ' ')]) {
        match (word_start, in_name(c)) {
            (None, true) => word_start = Some(at),
            (Some(start), false) => {
                word_start = None;
                // A sentence may end right behind a name.
                let word = line.get(start..at).unwrap_or_default().trim_end_matches('.');
                if let Some(name) = names.get(word) {
                    found.push((start, *name));
                }
            }
            _ => {}
        }
    }
    found
}

/// The characters that our resource names are made of.
fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blamed(message: &str, sent: &[&str]) -> Vec<String> {
        let sent: Vec<ResourceName> = sent.iter().map(|name| ResourceName::from(*name)).collect();
        culprits(message, &sent)
            .into_keys()
            .map(|name| name.to_string())
            .collect()
    }

    #[test]
    fn the_name_that_the_message_starts_with_is_the_culprit() {
        let message =
            "Error adding/updating listener(s) a/b/tcp/80: cannot bind '[::]:80': Permission denied\n";
        assert_eq!(blamed(message, &["a/b/tcp/80", "a/c/tcp/80"]), ["a/b/tcp/80"]);
    }

    #[test]
    fn a_name_is_not_found_inside_a_longer_name() {
        let message = "Error adding/updating listener(s) a/b/tcp/8080: no";
        assert_eq!(blamed(message, &["a/b/tcp/80", "b/tcp/8080"]), [""; 0]);
    }

    #[test]
    fn a_bystander_in_the_same_line_is_not_blamed() {
        let message = "error adding listener: 'a/b/tcp/80' has duplicate address '[::]:1' as existing listener 'a/c/tcp/80'.";
        assert_eq!(blamed(message, &["a/b/tcp/80", "a/c/tcp/80"]), ["a/b/tcp/80"]);
    }

    #[test]
    fn several_culprits_in_one_line_are_all_blamed() {
        let message = "Error adding/updating cluster(s) a/b/tcp/80: bad, a/c/udp/53: worse";
        assert_eq!(
            blamed(message, &["a/b/tcp/80", "a/c/udp/53", "a/d/tcp/1"]),
            ["a/b/tcp/80", "a/c/udp/53"]
        );
    }

    #[test]
    fn names_of_other_responses_are_not_blamed_and_no_name_gives_nobody() {
        assert_eq!(blamed("a/b/tcp/80: bad", &["a/c/tcp/80"]), [""; 0]);
        assert_eq!(
            blamed("Proto constraint validation failed", &["a/c/tcp/80"]),
            [""; 0]
        );
    }

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        let text = "ü".repeat(MAX_EXCERPT);
        assert!(excerpt(&text).len() <= MAX_EXCERPT);
    }
}
