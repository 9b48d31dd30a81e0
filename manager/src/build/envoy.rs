//! The Envoys of one tenant: Deployment, bootstrap, ServiceAccount and disruption budget.
//!
//! They belong to a tenant whose traffic they carry, so they get nothing they do not need: no token, no
//! capability, no write access, no user of their own.

use std::collections::BTreeMap;

use api::v1alpha1::ContainerResources;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMap, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource,
    HTTPGetAction, Lifecycle, LifecycleHandler, ObjectFieldSelector, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext,
    ServiceAccount, SleepAction, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use l4_xds::bootstrap::{BOOTSTRAP_FILE, BootstrapInput};
use l4_xds::ports::envoy::READINESS;

use super::{component, labels, object_meta};
use crate::settings::EnvoyFleet;

/// Name of the Deployment, ConfigMap, ServiceAccount and disruption budget.
pub const NAME: &str = "envoy";
/// Secret with the fleet's client certificate.
pub const CERTIFICATE_SECRET: &str = "envoy-xds-tls";
/// Annotation of the pods that changes with the bootstrap: Envoy reads that only when it starts.
pub const BOOTSTRAP_HASH: &str = "kubelb.k8c.io/bootstrap-hash";

/// How long Envoy goes on serving after it left the Service's endpoints: until every kube-proxy knows.
const LEAVE_SECONDS: i64 = 10;
/// How long listeners that are taken away go on with the connections they have.
const DRAIN_SECONDS: i64 = 30;
const USER: i64 = 65_532;

/// What a fleet is made from.
#[derive(Debug, Clone)]
pub struct Fleet<'a> {
    /// Name of the Tenant.
    pub tenant: &'a str,
    /// Its namespace on the hub.
    pub namespace: &'a str,
    /// Settings.
    pub settings: &'a EnvoyFleet,
    /// Image where the settings name none.
    pub default_image: &'a str,
    /// Where the control plane is.
    pub bootstrap: &'a BootstrapInput,
}

/// Every object of a fleet but its certificate.
#[derive(Debug, Clone)]
pub struct FleetObjects {
    /// Who the pods are: nobody.
    pub service_account: ServiceAccount,
    /// The bootstrap.
    pub config_map: ConfigMap,
    /// The Envoys.
    pub deployment: Deployment,
    /// Only where there is more than one: with one it would block every drain of its node.
    pub disruption_budget: Option<PodDisruptionBudget>,
}

/// Labels that the pods carry and Services select.
#[must_use]
pub fn selector(tenant: &str) -> BTreeMap<String, String> {
    labels(tenant, component::ENVOY)
}

/// Builds them.
#[must_use]
pub fn objects(fleet: &Fleet<'_>) -> FleetObjects {
    let meta = || object_meta(fleet.namespace, NAME, labels(fleet.tenant, component::ENVOY));
    let files: BTreeMap<String, String> = l4_xds::bootstrap::files(fleet.bootstrap)
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text))
        .collect();
    let hash = hash_of(&files);
    let replicas = fleet.settings.replicas;
    FleetObjects {
        service_account: ServiceAccount {
            metadata: meta(),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        },
        config_map: ConfigMap {
            metadata: meta(),
            data: Some(files),
            ..ConfigMap::default()
        },
        deployment: Deployment {
            metadata: meta(),
            spec: Some(deployment(fleet, hash)),
            ..Deployment::default()
        },
        disruption_budget: (replicas > 1).then(|| PodDisruptionBudget {
            metadata: meta(),
            spec: Some(PodDisruptionBudgetSpec {
                max_unavailable: Some(IntOrString::Int(1)),
                selector: Some(label_selector(fleet.tenant)),
                ..PodDisruptionBudgetSpec::default()
            }),
            ..PodDisruptionBudget::default()
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

fn label_selector(tenant: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(selector(tenant)),
        ..LabelSelector::default()
    }
}

fn deployment(fleet: &Fleet<'_>, bootstrap_hash: String) -> DeploymentSpec {
    DeploymentSpec {
        replicas: Some(fleet.settings.replicas),
        selector: label_selector(fleet.tenant),
        // A new Envoy is ready before an old one leaves: a rollout must not cost capacity.
        strategy: Some(DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(1)),
                max_unavailable: Some(IntOrString::Int(0)),
            }),
        }),
        template: PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(selector(fleet.tenant)),
                annotations: Some(BTreeMap::from([(BOOTSTRAP_HASH.to_owned(), bootstrap_hash)])),
                ..ObjectMeta::default()
            }),
            spec: Some(pod(fleet)),
        },
        ..DeploymentSpec::default()
    }
}

fn pod(fleet: &Fleet<'_>) -> PodSpec {
    PodSpec {
        containers: vec![container(fleet)],
        service_account_name: Some(NAME.to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(LEAVE_SECONDS + DRAIN_SECONDS),
        node_selector: fleet.settings.node_selector.clone(),
        tolerations: tolerations(fleet),
        topology_spread_constraints: Some(
            ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
                .map(|key| spread(fleet.tenant, key))
                .to_vec(),
        ),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        volumes: Some(vec![
            Volume {
                name: "config".to_owned(),
                config_map: Some(ConfigMapVolumeSource {
                    name: NAME.to_owned(),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            },
            Volume {
                name: "tls".to_owned(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(CERTIFICATE_SECRET.to_owned()),
                    default_mode: Some(0o440),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
        ]),
        ..PodSpec::default()
    }
}

/// Preferred, not required: a hub with one node still runs them all.
fn spread(tenant: &str, topology_key: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(label_selector(tenant)),
        ..TopologySpreadConstraint::default()
    }
}

/// Those that cannot be read are left out; the Config says so in its condition.
fn tolerations(fleet: &Fleet<'_>) -> Option<Vec<Toleration>> {
    let read = |raw: &api::v1alpha1::RawObject| serde_json::from_value(raw.0.clone()).ok();
    let all: Vec<Toleration> = fleet.settings.tolerations.iter().filter_map(read).collect();
    (!all.is_empty()).then_some(all)
}

fn container(fleet: &Fleet<'_>) -> Container {
    let port = |name: &str| IntOrString::String(name.to_owned());
    Container {
        name: "envoy".to_owned(),
        image: Some(
            fleet
                .settings
                .image
                .clone()
                .unwrap_or_else(|| fleet.default_image.to_owned()),
        ),
        args: Some(args(fleet)),
        env: Some(vec![EnvVar {
            name: "POD_NAME".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    field_path: "metadata.name".to_owned(),
                    api_version: Some("v1".to_owned()),
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        }]),
        ports: Some(vec![ContainerPort {
            name: Some("readiness".to_owned()),
            container_port: i32::from(READINESS),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        readiness_probe: Some(Probe {
            http_get: Some(HTTPGetAction {
                path: Some("/ready".to_owned()),
                port: port("readiness"),
                ..HTTPGetAction::default()
            }),
            // A tenant's first Service waits for this; one slow answer takes no Envoy out.
            period_seconds: Some(1),
            timeout_seconds: Some(3),
            failure_threshold: Some(10),
            ..Probe::default()
        }),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction {
                    seconds: LEAVE_SECONDS,
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        resources: Some(resources(fleet.settings.resources.as_ref())),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            mount("config", &fleet.bootstrap.config_directory),
            mount("tls", &fleet.bootstrap.certificate_directory),
        ]),
        ..Container::default()
    }
}

fn args(fleet: &Fleet<'_>) -> Vec<String> {
    let config = format!("{}/{BOOTSTRAP_FILE}", fleet.bootstrap.config_directory);
    let drain = DRAIN_SECONDS.to_string();
    [
        "-c",
        &config,
        "--service-node",
        "$(POD_NAME)",
        "--service-cluster",
        fleet.namespace,
    ]
    .into_iter()
    .chain([
        "--drain-time-s",
        &drain,
        "--log-level",
        "warn",
        "--disable-hot-restart",
    ])
    .map(str::to_owned)
    .collect()
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn resources(settings: Option<&ContainerResources>) -> ResourceRequirements {
    let quantities = |map: &BTreeMap<String, String>| {
        map.iter()
            .map(|(name, amount)| (name.clone(), Quantity(amount.clone())))
            .collect::<BTreeMap<_, _>>()
    };
    let small =
        || BTreeMap::from([("cpu", "10m"), ("memory", "64Mi")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    let requests = settings.and_then(|s| s.requests.clone()).unwrap_or_else(small);
    ResourceRequirements {
        requests: Some(quantities(&requests)),
        limits: settings.and_then(|s| s.limits.as_ref()).map(quantities),
        claims: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(replicas: i32) -> FleetObjects {
        let server_name = "kubelb-manager-xds.kubelb.svc";
        let bootstrap = BootstrapInput::new(
            server_name,
            18000.try_into().unwrap(),
            server_name.parse().unwrap(),
        );
        objects(&Fleet {
            tenant: "a",
            namespace: "tenant-a",
            settings: &EnvoyFleet {
                replicas,
                image: None,
                node_selector: None,
                tolerations: vec![],
                resources: None,
            },
            default_image: "envoy:1",
            bootstrap: &bootstrap,
        })
    }

    #[test]
    fn envoys_run_restricted_and_read_their_certificate_from_a_secret() {
        let FleetObjects {
            service_account,
            config_map: _,
            deployment,
            disruption_budget,
        } = built(2);
        insta::assert_yaml_snapshot!((service_account, deployment, disruption_budget));
    }

    #[test]
    fn a_single_envoy_has_no_disruption_budget() {
        assert!(built(1).disruption_budget.is_none());
    }

    #[test]
    fn pods_roll_when_the_bootstrap_changes_and_only_then() {
        let hash = |fleet: &FleetObjects| {
            let template = fleet.deployment.spec.clone().unwrap().template;
            template.metadata.unwrap().annotations.unwrap()[BOOTSTRAP_HASH].clone()
        };
        assert_eq!(hash(&built(1)), hash(&built(5)));
        let files = BTreeMap::from([("envoy.json".to_owned(), "{}".to_owned())]);
        assert_ne!(hash_of(&files), hash(&built(1)));
    }
}
