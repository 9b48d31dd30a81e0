//! The figures as the document that the repository keeps. Pure.

use std::fmt::Write as _;

use crate::report::{Machine, Report, hops};

const HEAD: &str = "# Performance

Made by `make bench` and `make performance`; the figures as JSON are in [performance.json](performance.json).

Every figure of the product stands beside the same thing done directly on the hub in the same run (*raw*: the same
objects, made by hand for Envoy Gateway), because what else a machine does moves both. The hub's and the tenants' API
servers, Envoy Gateway, all Envoys, the backends and the load itself share the cores of one machine.
";

const NOTES: &str = "
## What is measured

- **P9**: routes are created one after the other, each asked for every 5 ms until its first 200, by delegation and raw
  in turns. *Overhead of p50* is the difference of both medians; *route by route* the median of the differences. Served
  routes are asked again and again meanwhile: any answer but 404 before a route's first 200 and 200 after it counts.
  *shared*: one backend for all, each route right after the other, so that both ways are also measured while everybody
  still writes the statuses of the route before; *rested*: the same with 0.7 s of rest before each route; *own*: as
  shared with a backend each, which takes a NodePort that answers first. *A bare relay* carries the same route to the hub
  in an object of its own and makes an HTTPRoute of it there, with nothing decided, checked or told: what delegation
  costs on this machine whoever does it, because API servers must store two objects more, one after the other.
- **P10**: all routes at once; the time from the last one's creation until the Gateway has counted all, and until the
  last one answers; how often the status of the Gateway was written meanwhile.
- **Backend switches**: one route's backend changes once a second under 200 requests a second.
- **P11**: plain requests through the hub's Envoy to the tenant's nodes (one hop), and through the tenant's L4 Envoy
  besides (two hops).
";

/// The document.
#[must_use]
pub fn document(report: &Report) -> String {
    let Machine {
        processor,
        cores,
        memory_gib,
        kubernetes,
        product,
    } = &report.machine;
    let mut text = HEAD.to_owned();
    let _ = writeln!(
        text,
        "\nMachine: {processor}, {cores} cores, {memory_gib} GiB; Kubernetes {kubernetes}; version {product}.\n"
    );
    text.push_str("| | delegated | raw | goal | |\n|---|---:|---:|---|---|\n");
    for line in report.lines() {
        let _ = writeln!(text, "| {} |", line.cells().join(" | "));
    }
    if let Some(of) = &report.hops {
        text.push_str("\n| P11 | one hop | two hops |\n|---|---:|---:|\n");
        for [what, one, two] in hops(of) {
            let _ = writeln!(text, "| {what} | {one} | {two} |");
        }
    }
    text.push_str(NOTES);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_tells_the_machine_and_explains_its_figures() {
        let machine = Machine {
            processor: "Some CPU".to_owned(),
            cores: 2,
            memory_gib: 24,
            kubernetes: "v1.36.3".to_owned(),
            product: "0.1.0".to_owned(),
        };
        let text = document(&Report {
            machine,
            ..Report::default()
        });
        assert!(text.contains("Machine: Some CPU, 2 cores, 24 GiB; Kubernetes v1.36.3; version 0.1.0."));
        assert!(text.starts_with("# Performance") && text.ends_with(NOTES));
    }

    #[test]
    fn the_document_in_the_repository_is_made_from_the_figures_beside_it() {
        let report = serde_json::from_str(include_str!("../../../docs/performance.json")).unwrap();
        let committed = include_str!("../../../docs/performance.md");
        assert!(document(&report) == committed, "run `make performance`");
    }
}
