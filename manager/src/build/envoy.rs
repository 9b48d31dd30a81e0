//! The Envoys of one fleet: Deployment or DaemonSet, bootstrap, ServiceAccount, disruption budget and NetworkPolicy.
//!
//! They belong to a tenant whose traffic they carry, so they get nothing they do not need: no token, no
//! capability, no write access, no user of their own.

mod pod;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, Deployment, DeploymentSpec, DeploymentStrategy,
    RollingUpdateDaemonSet, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use l4_xds::bootstrap::{BootstrapInput, STATISTICS_PATH};
use l4_xds::ports::envoy::READINESS;

use super::{network_policy, object_meta};
use crate::fleet::FleetId;
use crate::settings::TenantSettings;

/// Annotation of the pods that changes with the bootstrap: Envoy reads that only when it starts.
pub const BOOTSTRAP_HASH: &str = "kubelb.k8c.io/bootstrap-hash";
/// Annotation of a Deployment or DaemonSet that nobody needs any more: when it goes, RFC 3339.
pub const UNNEEDED_UNTIL: &str = "kubelb.k8c.io/unneeded-until";

/// What runs the Envoys of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkloadKind {
    /// So many, somewhere.
    Deployment,
    /// One on each node.
    DaemonSet,
}

/// What a fleet is made from.
#[derive(Debug, Clone)]
pub struct Fleet<'a> {
    /// Which one.
    pub id: &'a FleetId,
    /// Name of the Tenant.
    pub tenant: &'a str,
    /// Its namespace on the hub.
    pub namespace: &'a str,
    /// Settings.
    pub settings: &'a TenantSettings,
    /// The manager's namespace.
    pub manager_namespace: &'a str,
    /// Image where the settings name none.
    pub default_image: &'a str,
    /// Where the control plane is.
    pub bootstrap: &'a BootstrapInput,
    /// What runs the Envoys. Two, while one takes over from the other.
    pub kinds: &'a BTreeSet<WorkloadKind>,
    /// When it goes, where nobody needs it.
    pub unneeded_until: Option<Timestamp>,
}

/// Every object of a fleet but its certificate.
#[derive(Debug, Clone)]
pub struct FleetObjects {
    /// Who the pods are: nobody.
    pub service_account: ServiceAccount,
    /// The bootstrap.
    pub config_map: ConfigMap,
    /// The Envoys, so many of them.
    pub deployment: Option<Deployment>,
    /// The Envoys, one on each node.
    pub daemon_set: Option<DaemonSet>,
    /// Only where there is more than one: with one it would block every drain of its node. A node that is drained keeps
    /// the pods of DaemonSets anyway.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// Who may reach them, and what they may reach, where that is wanted.
    pub network_policy: Option<NetworkPolicy>,
}

impl Fleet<'_> {
    fn name(&self) -> String {
        self.id.name(self.namespace)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        self.id.labels(self.tenant, self.namespace)
    }

    fn selector(&self) -> LabelSelector {
        LabelSelector {
            match_labels: Some(self.labels()),
            ..LabelSelector::default()
        }
    }

    fn meta(&self) -> ObjectMeta {
        ObjectMeta {
            annotations: self.id.annotations(),
            ..object_meta(self.namespace, &self.name(), self.labels())
        }
    }

    fn workload_meta(&self) -> ObjectMeta {
        let mut meta = self.meta();
        if let Some(until) = self.unneeded_until {
            let annotations = meta.annotations.get_or_insert_default();
            annotations.insert(UNNEEDED_UNTIL.to_owned(), until.to_string());
        }
        meta
    }

    fn files(&self) -> BTreeMap<String, String> {
        let input = BootstrapInput {
            max_connections: self.settings.envoy.max_connections,
            max_heap_bytes: self.settings.envoy.max_heap_bytes,
            ..self.bootstrap.clone()
        };
        let files = l4_xds::bootstrap::files(&input).into_iter();
        files.map(|(name, text)| (name.to_owned(), text)).collect()
    }
}

/// Builds them.
#[must_use]
pub fn objects(fleet: &Fleet<'_>) -> FleetObjects {
    let files = fleet.files();
    let hash = hash_of(&files);
    let runs = |kind| fleet.kinds.contains(&kind);
    FleetObjects {
        service_account: ServiceAccount {
            metadata: fleet.meta(),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        },
        config_map: ConfigMap {
            metadata: fleet.meta(),
            data: Some(files),
            ..ConfigMap::default()
        },
        deployment: runs(WorkloadKind::Deployment).then(|| Deployment {
            metadata: fleet.workload_meta(),
            spec: Some(deployment(fleet, &hash)),
            ..Deployment::default()
        }),
        daemon_set: runs(WorkloadKind::DaemonSet).then(|| DaemonSet {
            metadata: fleet.workload_meta(),
            spec: Some(daemon_set(fleet, &hash)),
            ..DaemonSet::default()
        }),
        disruption_budget: (runs(WorkloadKind::Deployment) && fleet.settings.envoy.replicas > 1).then(|| {
            PodDisruptionBudget {
                metadata: fleet.meta(),
                spec: Some(PodDisruptionBudgetSpec {
                    max_unavailable: Some(IntOrString::Int(1)),
                    selector: Some(fleet.selector()),
                    ..PodDisruptionBudgetSpec::default()
                }),
                ..PodDisruptionBudget::default()
            }
        }),
        network_policy: fleet.settings.envoy.network_policy.then(|| NetworkPolicy {
            metadata: fleet.meta(),
            spec: Some(network_policy::spec(
                fleet.selector(),
                fleet.manager_namespace,
                &fleet.settings.endpoint_policy,
            )),
        }),
    }
}

fn hash_of(files: &BTreeMap<String, String>) -> String {
    let parts: Vec<&str> = files
        .iter()
        .flat_map(|(name, text)| [name.as_str(), text.as_str()])
        .collect();
    api::names::identity_hash(&parts)
}

fn deployment(fleet: &Fleet<'_>, bootstrap_hash: &str) -> DeploymentSpec {
    DeploymentSpec {
        replicas: Some(fleet.settings.envoy.replicas),
        selector: fleet.selector(),
        // A new Envoy is ready before an old one leaves: a rollout must not cost capacity.
        strategy: Some(DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(1)),
                max_unavailable: Some(IntOrString::Int(0)),
            }),
        }),
        template: template(fleet, bootstrap_hash),
        ..DeploymentSpec::default()
    }
}

fn daemon_set(fleet: &Fleet<'_>, bootstrap_hash: &str) -> DaemonSetSpec {
    DaemonSetSpec {
        selector: fleet.selector(),
        // As with a Deployment: on each node the new one is ready first.
        update_strategy: Some(DaemonSetUpdateStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDaemonSet {
                max_surge: Some(IntOrString::Int(1)),
                max_unavailable: Some(IntOrString::Int(0)),
            }),
        }),
        template: template(fleet, bootstrap_hash),
        ..DaemonSetSpec::default()
    }
}

fn template(fleet: &Fleet<'_>, bootstrap_hash: &str) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(fleet.labels()),
            annotations: Some(annotations(bootstrap_hash)),
            ..ObjectMeta::default()
        }),
        spec: Some(pod::spec(fleet)),
    }
}

/// Pods roll when the bootstrap changes; and a Prometheus that goes by annotations finds Envoy's statistics.
fn annotations(bootstrap_hash: &str) -> BTreeMap<String, String> {
    [
        (BOOTSTRAP_HASH, bootstrap_hash),
        ("prometheus.io/scrape", "true"),
        ("prometheus.io/port", &READINESS.to_string()),
        ("prometheus.io/path", STATISTICS_PATH),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::{ConfigSpec, Tenant, TenantSpec};
    use serde_json::json;

    use super::*;
    use crate::settings::merge;

    const DEPLOYMENT: &[WorkloadKind] = &[WorkloadKind::Deployment];

    fn built_with(id: &FleetId, config: serde_json::Value, kinds: &[WorkloadKind]) -> FleetObjects {
        let server_name = "kubelb-manager-xds.kubelb.svc";
        let bootstrap = BootstrapInput::new(
            server_name,
            18000.try_into().unwrap(),
            server_name.parse().unwrap(),
        );
        let config: ConfigSpec = serde_json::from_value(config).unwrap();
        let config = api::v1alpha1::Config::new("default", config);
        objects(&Fleet {
            id,
            tenant: "a",
            namespace: "tenant-a",
            settings: &merge(&Tenant::new("a", TenantSpec::default()), Some(&config), "kubelb"),
            manager_namespace: "kubelb",
            default_image: "envoy:1",
            bootstrap: &bootstrap,
            kinds: &kinds.iter().copied().collect(),
            unneeded_until: None,
        })
    }

    fn built(replicas: i32) -> FleetObjects {
        let config = json!({"envoyProxy": {"replicas": replicas}});
        built_with(&FleetId::Shared, config, DEPLOYMENT)
    }

    #[test]
    fn envoys_run_restricted_and_read_their_certificate_from_a_secret() {
        let FleetObjects {
            service_account,
            config_map: _,
            deployment,
            daemon_set,
            disruption_budget,
            network_policy,
        } = built(2);
        assert_eq!((daemon_set, network_policy), (None, None));
        insta::assert_yaml_snapshot!((service_account, deployment, disruption_budget));
    }

    #[test]
    fn the_envoys_of_one_load_balancer_have_names_labels_and_a_certificate_of_their_own() {
        let web = FleetId::Dedicated("web".into());
        let FleetObjects {
            service_account,
            config_map,
            deployment,
            daemon_set: _,
            disruption_budget,
            network_policy: _,
        } = built_with(&web, json!({}), DEPLOYMENT);
        let spec = deployment.as_ref().and_then(|d| d.spec.clone()).unwrap();
        let pod = spec.template.spec.unwrap();
        insta::assert_yaml_snapshot!((
            service_account.metadata,
            config_map.metadata,
            deployment.unwrap().metadata,
            disruption_budget,
            spec.selector,
            pod.volumes,
            pod.containers[0].args.clone(),
        ));
    }

    #[test]
    fn a_daemon_set_replaces_one_envoy_after_the_other_and_needs_no_disruption_budget() {
        let config = json!({"envoyProxy": {"useDaemonset": true, "replicas": 2,
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "edge", "operator": "Exists"}]}]}}},
            "gracefulShutdown": {"drainSeconds": 120}}});
        let built = built_with(&FleetId::Shared, config, &[WorkloadKind::DaemonSet]);
        assert_eq!((built.deployment, built.disruption_budget), (None, None));
        let spec = built.daemon_set.and_then(|set| set.spec).unwrap();
        let pod = spec.template.spec.unwrap();
        insta::assert_yaml_snapshot!((
            spec.update_strategy,
            pod.affinity,
            pod.termination_grace_period_seconds,
            pod.containers[0].lifecycle.clone(),
            pod.containers[0].args.clone(),
        ));
    }

    #[test]
    fn a_single_envoy_has_no_disruption_budget() {
        assert!(built(1).disruption_budget.is_none());
    }

    #[test]
    fn a_network_policy_lets_clients_in_and_envoys_out_to_the_tenants_ranges() {
        // One is denied in part, one is not, and one is as a whole.
        let config = json!({"endpointCIDRs": ["192.0.2.0/24", "2001:db8::/32", "10.1.0.0/16"],
            "deniedEndpointCIDRs": ["192.0.2.128/25", "10.0.0.0/8"],
            "envoyProxy": {"networkPolicy": {"enabled": true}}});
        insta::assert_yaml_snapshot!(built_with(&FleetId::Shared, config, DEPLOYMENT).network_policy);
    }

    #[test]
    fn pods_roll_when_the_bootstrap_changes_and_only_then() {
        let hash = |fleet: &FleetObjects| {
            let deployment = fleet.deployment.clone().unwrap();
            let template = deployment.spec.unwrap().template;
            template.metadata.unwrap().annotations.unwrap()[BOOTSTRAP_HASH].clone()
        };
        assert_eq!(hash(&built(1)), hash(&built(5)));
        let limited = json!({"envoyProxy": {"overloadManager": {"maxActiveDownstreamConnections": 9}}});
        let limited = built_with(&FleetId::Shared, limited, DEPLOYMENT);
        assert_ne!(hash(&limited), hash(&built(1)));
    }

    #[test]
    fn that_nobody_needs_it_is_recorded_on_the_workload_and_rolls_nothing() {
        let mut needed = built(1);
        let bootstrap = BootstrapInput::new("xds", 18000.try_into().unwrap(), "xds".parse().unwrap());
        let settings = merge(&Tenant::new("a", TenantSpec::default()), None, "kubelb");
        let given_up = objects(&Fleet {
            id: &FleetId::Shared,
            tenant: "a",
            namespace: "tenant-a",
            settings: &settings,
            manager_namespace: "kubelb",
            default_image: "envoy:1",
            bootstrap: &bootstrap,
            kinds: &BTreeSet::from([WorkloadKind::Deployment]),
            unneeded_until: Timestamp::from_second(0).ok(),
        });
        let annotations = given_up.deployment.unwrap().metadata.annotations.unwrap();
        assert_eq!(annotations[UNNEEDED_UNTIL], "1970-01-01T00:00:00Z");
        assert_eq!(needed.deployment.take().unwrap().metadata.annotations, None);
    }
}
