//! Reads tables of a Markdown document, for tests that hold a document and the code together.

use std::collections::{BTreeMap, BTreeSet};

/// Rows whose first cell begins in backticks, of the section that begins at `heading` and ends at the next heading
/// of any level.
pub fn rows<'a>(markdown: &'a str, heading: &str) -> impl Iterator<Item = &'a str> {
    let section = markdown.lines().skip_while(move |line| *line != heading).skip(1);
    section
        .take_while(|line| !line.starts_with('#'))
        .filter(|line| line.starts_with("| `"))
}

/// What stands in backticks in the first cells of these rows.
pub fn listed(markdown: &str, heading: &str) -> BTreeSet<String> {
    let first_cell = |row: &str| row.split('|').nth(1).unwrap_or_default().to_owned();
    rows(markdown, heading)
        .flat_map(|row| {
            let cell = first_cell(row);
            let quoted = cell.split('`').skip(1).step_by(2);
            quoted.map(ToOwned::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// Fails unless every flag that the document lists as absent is refused as unknown. `known` must be among them, so that
/// the list is known to be read; `said` gives the words about a flag.
#[track_caller]
pub fn assert_flags_absent(markdown: &str, known: &str, said: impl Fn(&str) -> String) {
    let absent = listed(markdown, "### Flags that do not exist here, and why");
    assert!(absent.contains(known), "{known} is not listed");
    for flag in absent {
        let said = said(&flag);
        assert!(said.contains(&format!("unexpected argument '{flag}'")), "{said}");
    }
}

/// Fails if a metric that the document lists as absent is among these names. `known` must be listed.
#[track_caller]
pub fn assert_metrics_absent(markdown: &str, known: &str, names: &BTreeMap<String, Vec<String>>) {
    let absent = listed(markdown, "### Metrics that do not exist here, and why");
    assert!(absent.contains(known), "{known} is not listed");
    let served: Vec<_> = absent.iter().filter(|name| names.contains_key(*name)).collect();
    assert!(served.is_empty(), "listed as absent, but served: {served:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_a_first_cell_is_listed_and_no_other() {
        let text = "## A\n| `no` | x |\n## B\n| Name | |\n|---|---|\n| `a`, `b-c` | `other` |\n| `d` | |\n### C\n| `e` | |";
        assert_eq!(listed(text, "## B"), ["a", "b-c", "d"].map(str::to_owned).into());
        assert!(listed(text, "## Z").is_empty());
    }
}
