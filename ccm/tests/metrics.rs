//! The table of metrics in docs/operations.md is what the code registers, names and labels, both ways.

use controller_kit::document::listed;
use controller_kit::metrics::{Metrics, documented};
use kubelb_ccm::metrics::AgentMetrics;

#[test]
fn the_documents_table_is_what_the_ccm_registers() {
    let metrics = Metrics::new();
    AgentMetrics::new(&metrics).unwrap();
    let text = include_str!("../../docs/operations.md");
    let names = metrics.names();
    assert_eq!(documented(text, "### Metrics of the CCM"), names);
    let absent = listed(text, "### Metrics that do not exist here, and why");
    assert!(absent.contains("kubelb_ccm_managed_ingresses"));
    let served: Vec<_> = absent.iter().filter(|name| names.contains_key(*name)).collect();
    assert!(served.is_empty(), "listed as absent, but served: {served:?}");
}
