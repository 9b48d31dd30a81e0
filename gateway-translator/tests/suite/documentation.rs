//! The tests that the documentation names are there: a case, a test function, or a whole-system story.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Documents with such a table.
const DOCUMENTS: [&str; 2] = ["docs/gateway-api.md", "docs/l4.md"];
/// Heading of the table.
const HEADING: &str = "## Hard cases and their tests";
/// Where golden cases are.
const CASES: [&str; 4] = [
    "gateway-translator/semantics/cases",
    "gateway-translator/tests/cases",
    "ccm/tests/cases",
    "l4-xds/tests/cases",
];
/// Where test functions are.
const SOURCES: [&str; 6] = ["api", "ccm", "e2e", "gateway-translator", "l4-xds", "manager"];
const STORIES: &str = "e2e/tests/stories";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every test that can be named.
struct Tests {
    cases: BTreeSet<String>,
    functions: BTreeSet<String>,
    stories: BTreeSet<String>,
}

impl Tests {
    fn read() -> Self {
        let repository = repository();
        let file_names = |folder: &&str| -> Vec<String> {
            let entries = fs::read_dir(repository.join(folder)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect()
        };
        let cases = CASES
            .iter()
            .flat_map(file_names)
            .filter_map(|name| name.strip_suffix(".in.yaml").map(str::to_owned))
            .collect();
        let sources = SOURCES
            .iter()
            .flat_map(|folder| sources(&repository.join(folder)));
        let functions = sources.flat_map(|file| test_functions(&fs::read_to_string(file).unwrap()));
        let stories = repository.join(STORIES);
        let stories = self::sources(&stories)
            .into_iter()
            .flat_map(|file| stories_of(&stories, &file));
        Self {
            cases,
            functions: functions.collect(),
            stories: stories.collect(),
        }
    }

    fn has(&self, name: &str) -> bool {
        if name.contains("::") {
            self.stories.contains(name)
        } else if name.contains('-') {
            self.cases.contains(name)
        } else {
            self.functions.contains(name)
        }
    }

    /// What is wrong with the table of a document.
    fn faults(&self, document: &str) -> Vec<String> {
        let rows = rows(document);
        if rows.is_empty() {
            return vec![format!("no table below {HEADING:?}")];
        }
        let fault = |(case, names): &(String, Vec<String>)| {
            let missing = names.iter().filter(|name| !self.has(name));
            let mut faults: Vec<String> = missing.map(|name| format!("{case}: no test {name}")).collect();
            if names.is_empty() {
                faults.push(format!("{case}: no test at all"));
            }
            faults
        };
        rows.iter().flat_map(fault).collect()
    }
}

/// Rust sources below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Names of the functions that are run as tests. One that is ignored proves nothing.
fn test_functions(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut is_test, mut is_ignored) = (false, false);
    for line in source.lines().map(str::trim_start) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        is_ignored |= line.starts_with("#[ignore");
        let Some(rest) = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ") else {
            continue;
        };
        if is_test && !is_ignored {
            names.extend(rest.split('(').next().map(str::to_owned));
        }
        (is_test, is_ignored) = (false, false);
    }
    names
}

/// Stories of a file as `make e2e` calls them: its modules and the function, with `::` between.
fn stories_of(folder: &Path, file: &Path) -> Vec<String> {
    let module = file.strip_prefix(folder).unwrap().with_extension("");
    let parts: Vec<&str> = module.iter().map(|part| part.to_str().unwrap()).collect();
    let parts = parts.strip_suffix(&["mod"]).unwrap_or(&parts).join("::");
    test_functions(&fs::read_to_string(file).unwrap())
        .into_iter()
        .map(|name| format!("{parts}::{name}"))
        .collect()
}

/// The case and the names of tests in each row of the table.
fn rows(document: &str) -> Vec<(String, Vec<String>)> {
    let lines = document.lines().skip_while(|line| *line != HEADING).skip(1);
    let table = lines.take_while(|line| !line.starts_with("## "));
    let row = |line: &str| {
        let (case, tests) = line.strip_prefix('|')?.strip_suffix('|')?.rsplit_once('|')?;
        // What stands between backticks is every second part.
        let names = tests.split('`').skip(1).step_by(2).map(str::to_owned);
        Some((case.trim().to_owned(), names.collect()))
    };
    table
        .filter_map(row)
        .skip_while(|(case, _)| case == "case")
        .filter(|(case, _)| !case.starts_with("---"))
        .collect()
}

#[test]
fn every_test_that_the_documentation_names_is_there() {
    let tests = Tests::read();
    for document in DOCUMENTS {
        let text = fs::read_to_string(repository().join(document)).unwrap();
        assert_eq!(tests.faults(&text), Vec::<String>::new(), "{document}");
    }
}

#[test]
fn a_name_that_is_nowhere_is_told() {
    let tests = Tests::read();
    let faults = |cell: &str| {
        tests.faults(&format!(
            "{HEADING}\n| case | tests |\n|---|---|\n| A | {cell} |\n"
        ))
    };
    let good = "`the-longest-names-are-served`, `a_name_that_is_nowhere_is_told`, `gateway::grpc::a_grpc_route_answers_a_call`";
    assert_eq!(faults(good), Vec::<String>::new());
    for bad in [
        "the-longest-names",
        "a_name_that_is_somewhere",
        // A function, but no test; a test, but no story; a story, but of another file.
        "stories_of",
        "gateway::a_name_that_is_nowhere_is_told",
        "gateway::http::a_grpc_route_answers_a_call",
    ] {
        let cell = format!("{good}, `{bad}`");
        assert_eq!(faults(&cell), [format!("A: no test {bad}")]);
    }
    assert_eq!(faults("later"), ["A: no test at all"]);
    assert_eq!(tests.faults("# Another document").len(), 1);
}

#[test]
fn an_ignored_test_and_a_function_that_is_none_do_not_count() {
    let source = "#[test]\nfn one() {}\n#[ignore = \"later\"]\n#[test]\nfn two() {}\nfn three() {}\n\
                  #[tokio::test(start_paused = true)]\nasync fn four() {}\n// #[test]\nfn five() {}\n";
    assert_eq!(test_functions(source), ["one", "four"]);
}
