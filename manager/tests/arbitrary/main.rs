//! Whatever a tenant writes into a LoadBalancer: nothing panics, and Envoy takes all that is served of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy.toml allows these in test functions only, and here the helpers are tests too"
)]

mod bootstrap;
mod spec;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::v1alpha1::{Addresses, LoadBalancer, Tenant};
use controller_kit::test_support::envoy_binary;
use kubelb_manager::controller::load_balancer::assess::View;
use kubelb_manager::controller::load_balancer::built::Built;
use kubelb_manager::controller::load_balancer::plan::{Known, plan};
use kubelb_manager::controller::load_balancer::sites::Site;
use kubelb_manager::settings::merge;
use l4_xds::ports::PortRange;
use l4_xds::{Frontend, Settings, translate};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

/// Specs that Envoy is asked about.
const SEEDED: usize = 400;

fn view(mut load_balancers: Vec<LoadBalancer>) -> View {
    load_balancers.sort_by_key(|lb| lb.metadata.name.clone());
    let tenant = json!({"endpointCIDRs": ["10.0.0.0/8", "fd00::/8"]});
    let tenant = Tenant::new("tenant-a", serde_json::from_value(tenant).unwrap());
    let nodes = json!({"addresses": [{"ip": "10.0.0.5"}, {"ip": "fd00::5"}]});
    let nodes = Addresses::new("default", serde_json::from_value(nodes).unwrap());
    View {
        tenant: "tenant-a".into(),
        namespace: "tenant-a".into(),
        settings: Some(merge(&tenant, None, "kubelb")),
        load_balancers: Arc::new(load_balancers.into_iter().map(Arc::new).collect()),
        addresses: vec![Arc::new(nodes)],
        services: Arc::default(),
        global_services: Vec::new(),
        workloads: Vec::new(),
        hostnames: Arc::default(),
        gateway_api: true,
        translation: Settings::default(),
    }
}

/// What Envoy gets once the hub Services are there, as the manager does it.
fn served(load_balancers: Vec<LoadBalancer>) -> Vec<Frontend> {
    let mut view = view(load_balancers);
    let known = Known {
        arrived: &BTreeSet::new(),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let desired = plan(
        &view,
        &view.assess(),
        &PortRange::default(),
        &known,
        &mut Built::default(),
    );
    view.services = Arc::new(desired.services);
    let all = view.assess();
    let accepted = all.iter().filter(|item| item.problem().is_none());
    let frontends = accepted.filter_map(|item| item.frontend(Site::Tenant));
    frontends.map(|frontend| frontend.as_ref().clone()).collect()
}

fn seeded(count: usize) -> Vec<LoadBalancer> {
    let mut runner = TestRunner::deterministic();
    let specs = spec::spec();
    (0..count)
        .map(|index| {
            let spec = specs.new_tree(&mut runner).unwrap().current();
            spec::load_balancer(&format!("lb-{index}"), &spec)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_spec_panics_and_what_is_served_is_served_whole(spec in spec::spec()) {
        let frontends = served(vec![spec::load_balancer("lb", &spec)]);
        let translation = translate(&frontends, &Settings::default());
        prop_assert!(translation.omitted.is_empty(), "{:?}", translation.omitted);
        prop_assert_eq!(translation.snapshot.consistent(), Ok(()));
        for frontend in &frontends {
            prop_assert_eq!(frontend.listeners.len(), spec["ports"].as_array().unwrap().len());
        }
    }
}

#[test]
fn of_many_specs_at_least_half_are_accepted_and_envoy_takes_every_one() {
    let frontends = served(seeded(SEEDED));
    assert!(
        frontends.len() * 2 >= SEEDED,
        "{} of {SEEDED} specs are accepted",
        frontends.len()
    );
    let Some(envoy) = envoy_binary("arbitrary LoadBalancers") else {
        return;
    };
    if bootstrap::validate(&envoy, &frontends).is_ok() {
        return;
    }
    // One by one, to name what Envoy does not take.
    for frontend in &frontends {
        bootstrap::validate(&envoy, std::slice::from_ref(frontend))
            .unwrap_or_else(|words| panic!("{frontend:#?}\n{words}"));
    }
    panic!("Envoy takes each of them, but not all together");
}
