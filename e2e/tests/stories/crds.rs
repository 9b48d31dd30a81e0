//! Examples of every custom resource, applied to the real API server: good ones pass, bad ones are refused. And the
//! examples that people are given.

use std::path::{Path, PathBuf};

use crate::support::{Scratch, lab};

const EXPECTED: &str = "kubelb.k8c.io/expect-error:";

#[test]
fn good_examples_pass_and_bad_ones_are_refused_with_the_field_named() {
    let lab = lab();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/tests/examples");
    let apply = ["apply", "--dry-run=server", "--namespace", "default", "-f", "-"];
    let (good, bad) = (files(&examples.join("good")), files(&examples.join("bad")));
    assert!(
        good.len() >= 7 && bad.len() >= 7,
        "{} good and {} bad examples",
        good.len(),
        bad.len()
    );
    for file in good {
        let manifest = std::fs::read_to_string(&file).unwrap();
        let answer = lab.hub.kubectl_with_input(&apply, &manifest);
        assert!(answer.is_ok(), "{}: {answer:?}", file.display());
    }
    for file in bad {
        let manifest = std::fs::read_to_string(&file).unwrap();
        let line = manifest
            .lines()
            .find(|line| line.contains(EXPECTED))
            .unwrap_or_default();
        let wanted = line
            .split_once(EXPECTED)
            .map(|(_, text)| text.trim().trim_matches('"'))
            .unwrap_or_default();
        assert!(
            !wanted.is_empty(),
            "{} does not say which error it expects",
            file.display()
        );
        let refusal = lab
            .hub
            .kubectl_with_input(&apply, &manifest)
            .expect_err(&file.display().to_string());
        assert!(
            refusal.to_string().contains(wanted),
            "{}: {refusal}",
            file.display()
        );
    }
}

#[test]
fn every_file_of_examples_is_taken_by_the_cluster_that_it_is_for() {
    let lab = lab();
    // A dry run makes no namespace, so what belongs into `demo` goes into one that is there.
    let scratch = Scratch::new("examples", &[&lab.tenant_a]);
    let own = format!("namespace: {}", scratch.namespace);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for (folder, cluster) in [("hub", &lab.hub), ("tenant", &lab.tenant_a)] {
        for file in files(&examples.join(folder)) {
            let manifest = std::fs::read_to_string(&file).unwrap();
            let manifest = manifest.replace("namespace: demo", &own);
            let answer = cluster.kubectl_with_input(&["apply", "--dry-run=server", "-f", "-"], &manifest);
            assert!(answer.is_ok(), "{}: {answer:?}", file.display());
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}
