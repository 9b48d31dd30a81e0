//! Asks a real Envoy whether it takes a configuration.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use envoy_types::pb::envoy::config::bootstrap::v3::Bootstrap;
use envoy_types::pb::envoy::config::bootstrap::v3::bootstrap::StaticResources;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use l4_xds::snapshot::{ResourceName, ResourceType, Snapshot};
use l4_xds::{Frontend, Settings, translate};
use prost::Message;

/// Envoy's words if it does not take these.
pub fn validate(envoy: &Path, frontends: &[Frontend]) -> Result<(), String> {
    let snapshot = translate(frontends, &Settings::default()).snapshot;
    let bootstrap = Bootstrap {
        static_resources: Some(StaticResources {
            listeners: bodies::<Listener>(&snapshot, ResourceType::Listener),
            clusters: clusters(&snapshot),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut file = tempfile::Builder::new().suffix(".pb").tempfile().unwrap();
    file.write_all(&bootstrap.encode_to_vec()).unwrap();
    let arguments = ["--mode", "validate", "--log-level", "error", "-c"];
    let output = Command::new(envoy)
        .args(arguments)
        .arg(file.path())
        .output()
        .unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn bodies<M: Message + Default>(snapshot: &Snapshot, ty: ResourceType) -> Vec<M> {
    let all = snapshot.resources(ty).iter();
    all.map(|(_, resource)| M::decode(resource.body().value.as_slice()).unwrap())
        .collect()
}

/// Clusters with their endpoints inside: nobody would deliver them here.
fn clusters(snapshot: &Snapshot) -> Vec<Cluster> {
    let mut clusters = bodies::<Cluster>(snapshot, ResourceType::Cluster);
    for cluster in &mut clusters {
        let name = ResourceName::from(cluster.name.clone());
        let Some(endpoints) = snapshot.resources(ResourceType::Endpoint).get(&name) else {
            continue;
        };
        let assignment = ClusterLoadAssignment::decode(endpoints.body().value.as_slice()).unwrap();
        cluster.load_assignment = Some(assignment);
        cluster.eds_cluster_config = None;
        cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into()));
    }
    clusters
}
