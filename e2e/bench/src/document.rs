//! The figures as the document that the repository keeps. Pure.

use std::fmt::Write as _;

use crate::l4::figures::{Part, Section};
use crate::report::{Machine, Report, hops};

const HEAD: &str = "# Performance

Made by `make bench` and `make performance`; the figures as JSON are in [performance.json](performance.json).
";

const L4: &str = "
## L4

Everything runs on one machine and shares its cores: the API servers, the manager and the CCM, what stands in for Envoys,
and the bench itself. No time here is that of a hub with cores enough; what counts is how times change with sizes, and what
must be none.
";

const L4_NOTES: &str = "
### What is measured

API servers and etcd run as plain processes. A stand-in gives Services of type LoadBalancer an address and calls the pods of
Deployments ready; nothing runs in them. In the place of Envoys are clients that speak xDS as Envoy does (delta, mutual
TLS, the fleet's own certificate), take everything and answer at once. P8 has a real Envoy.

- **P1**: one of the tenant's LoadBalancers gets another NodePort, one after the other, five a second. *Write to update at the
  client* begins before the request and ends when the client has the endpoints. *Write to a watch* is the time until anybody's
  watch of the API server shows the change: the part that is none of ours.
- **P2**: a node leaves or comes back in the tenant's `Addresses`. All figures are for one change.
- **P3**: ten tenants share the LoadBalancers. Writes are counted in the API server's audit log.
- **P4**: the manager is ended and started. Each tenant has one Envoy that was connected before, and one that begins then.
- **P5**: a tenant's cluster with a CCM. Requests are counted in both audit logs.
- **P6**: one tenant's LoadBalancer changes twenty times. *Streams woken* is the manager's own count.
- **P7**: as P1 with 100 LoadBalancers, in turns beside a tenant that does nothing, and beside the same tenant when it changes one
  of 2,000 LoadBalancers fifty times a second.
- **P8**: 200 connections that talk ten times a second and 300 new ones a second go through ten LoadBalancers of a real Envoy.
  Meanwhile 1,000 others of the same tenant are made, changed and deleted, fifty a second.

### Other binaries

`bench l4 --manager <path> --ccm <path>` takes any two programs that serve the same custom resources. They are started so:

| | arguments | environment |
|---|---|---|
| manager | `--kubeconfig`, `--namespace=kubelb`, `--listen-address` (xDS), `--metrics-addr`, `--health-probe-bind-address`, `--tenant-api-server`, `--enable-gateway-api=false`, `--enable-leader-election=true` | `KUBECONFIG`, `NAMESPACE`, `POD_NAMESPACE`, `POD_NAME` |
| CCM | `--cluster-name`, `--kubelb-kubeconfig`, `--kubeconfig`, `--metrics-addr`, `--health-probe-bind-address`, `--node-address-type=InternalIP`, `--enable-gateway-api=false`, `--enable-leader-election=true`, `--renew-credential=false` | `CLUSTER_NAME`, `KUBELB_KUBECONFIG`, `KUBECONFIG`, `NAMESPACE`, `POD_NAMESPACE`, `POD_NAME` |

A program with other flags is put behind a script that takes what it needs from these and ends with `exec`, so that the process
that is measured is the program's. It must answer `/readyz` at its probe address; make the tenant's namespace, its credential
(Secret `kubelb-ccm-kubeconfig`) and, when there is a LoadBalancer, the Secret `envoy-xds-tls` with the fleet's certificate; and
serve delta ADS by mutual TLS under the name `kubelb-manager-xds.kubelb.svc`, with resource names in which the name of the
LoadBalancer occurs. Conditions and metrics that it has not are left out of the figures. Its service accounts may do all, but
they are asked for their rights as in any cluster.
";

const DELEGATION: &str = "
## Gateway API

Every figure of the product stands beside the same thing done directly on the hub in the same run (*raw*: the same
objects, made by hand for Envoy Gateway), because what else a machine does moves both. The hub's and the tenants' API
servers, Envoy Gateway, all Envoys, the backends and the load itself share the cores of one machine.
";

const DELEGATION_NOTES: &str = "
### What is measured

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
    let mut text = HEAD.to_owned();
    if let Some(section) = &report.l4 {
        l4(section, &mut text);
    }
    delegation(report, &mut text);
    text
}

fn l4(section: &Section, text: &mut String) {
    text.push_str(L4);
    text.push_str(&machine(&section.machine));
    text.push_str("| | | measured | goal | |\n|---|---|---:|---|---|\n");
    for row in section.rows() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text.push_str("\n| | took | cores busy with something else meanwhile | size |\n|---|---:|---:|---:|\n");
    for (name, part) in &section.parts {
        let Part {
            seconds,
            cores_of_others,
            scale,
            figures: _,
        } = part;
        let percent = scale * 100.0;
        let name = name.to_uppercase();
        let _ = writeln!(
            text,
            "| {name} | {seconds:.0} s | {cores_of_others:.2} | {percent:.0} % |"
        );
    }
    text.push_str(L4_NOTES);
}

fn delegation(report: &Report, text: &mut String) {
    text.push_str(DELEGATION);
    text.push_str(&machine(&report.machine));
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
    text.push_str(DELEGATION_NOTES);
}

fn machine(machine: &Machine) -> String {
    let Machine {
        processor,
        cores,
        memory_gib,
        kubernetes,
        product,
    } = machine;
    format!(
        "\nMachine: {processor}, {cores} cores, {memory_gib} GiB; Kubernetes {kubernetes}; version {product}.\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l4::figures::{Figure, Unit};

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
        assert!(text.starts_with("# Performance") && text.ends_with(DELEGATION_NOTES));
        assert!(!text.contains("## L4"), "what was not measured is not told");
    }

    #[test]
    fn figures_of_l4_stand_beside_their_goals_and_the_load_of_others() {
        let part = Part {
            seconds: 12.3,
            cores_of_others: 0.25,
            scale: 0.1,
            figures: vec![Figure::at_most("writes", 2.0, Unit::Count, 0.0)],
        };
        let section = Section {
            parts: [("p3".to_owned(), part)].into(),
            ..Section::default()
        };
        let text = document(&Report {
            l4: Some(section),
            ..Report::default()
        });
        assert!(text.contains("| P3 | writes | 2 | 0 | MISSED |"), "{text}");
        assert!(text.contains("| P3 | 12 s | 0.25 | 10 % |"), "{text}");
    }

    #[test]
    fn the_document_in_the_repository_is_made_from_the_figures_beside_it() {
        let report = serde_json::from_str(include_str!("../../../docs/performance.json")).unwrap();
        let committed = include_str!("../../../docs/performance.md");
        assert!(document(&report) == committed, "run `make performance`");
    }
}
