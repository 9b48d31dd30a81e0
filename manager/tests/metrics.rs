//! The table of metrics in docs/operations.md is what the code registers, names and labels, both ways.

use controller_kit::document::assert_metrics_absent;
use controller_kit::metrics::{Metrics, documented, names_of};
use kubelb_manager::metrics::AllMetrics;

#[test]
fn the_documents_table_is_what_the_manager_registers() {
    let metrics = Metrics::new();
    let AllMetrics { xds, .. } = AllMetrics::new(&metrics).unwrap();
    let mut names = metrics.names();
    names.extend(xds.collectors().into_iter().flat_map(names_of));
    let text = include_str!("../../docs/operations.md");
    assert_eq!(documented(text, "### Metrics of the manager"), names);
    assert_metrics_absent(text, "kubelb_manager_port_allocator_endpoints", &names);
}
