//! Reads tables of a Markdown document, for tests that hold a document and the code together.

use std::collections::BTreeSet;

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
