//! The table of metrics in docs/operations.md is what the code registers, names and labels, both ways.

use controller_kit::document::assert_metrics_absent;
use controller_kit::metrics::{Metrics, documented};
use kubelb_ccm::metrics::AgentMetrics;

#[test]
fn the_documents_table_is_what_the_ccm_registers() {
    let metrics = Metrics::new();
    AgentMetrics::new(&metrics).unwrap();
    let text = include_str!("../../docs/operations.md");
    let names = metrics.names();
    assert_eq!(documented(text, "### Metrics of the CCM"), names);
    assert_metrics_absent(text, "kubelb_ccm_managed_ingresses", &names);
}
