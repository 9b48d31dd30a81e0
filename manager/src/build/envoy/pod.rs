//! The pod of an Envoy.

use std::collections::BTreeMap;

use api::v1alpha1::ContainerResources;
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource,
    HTTPGetAction, Lifecycle, LifecycleHandler, ObjectFieldSelector, PodSecurityContext, PodSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, SleepAction, Toleration,
    TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use l4_xds::bootstrap::BOOTSTRAP_FILE;
use l4_xds::ports::envoy::READINESS;

use super::Fleet;

/// How long Envoy has to end when its connections have had their time.
const EXIT_SECONDS: i64 = 10;
const USER: i64 = 65_532;

/// The pod of a fleet.
pub(super) fn spec(fleet: &Fleet<'_>) -> PodSpec {
    let drain = fleet.settings.envoy.drain.as_secs();
    PodSpec {
        containers: vec![container(fleet)],
        service_account_name: Some(fleet.name()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(drain.saturating_add(EXIT_SECONDS)),
        node_selector: fleet.settings.envoy.node_selector.clone(),
        tolerations: tolerations(fleet),
        affinity: affinity(fleet),
        topology_spread_constraints: Some(
            ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
                .map(|key| spread(fleet, key))
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
                    name: fleet.name(),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            },
            Volume {
                name: "tls".to_owned(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(fleet.id.certificate(fleet.namespace)),
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
fn spread(fleet: &Fleet<'_>, topology_key: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(fleet.selector()),
        ..TopologySpreadConstraint::default()
    }
}

/// Those that cannot be read are left out; the Config says so in its condition.
fn tolerations(fleet: &Fleet<'_>) -> Option<Vec<Toleration>> {
    let read = |raw: &api::v1alpha1::RawObject| serde_json::from_value(raw.0.clone()).ok();
    let all: Vec<Toleration> = fleet.settings.envoy.tolerations.iter().filter_map(read).collect();
    (!all.is_empty()).then_some(all)
}

/// Likewise.
fn affinity(fleet: &Fleet<'_>) -> Option<Affinity> {
    let raw = fleet.settings.envoy.affinity.as_ref()?;
    serde_json::from_value(raw.0.clone()).ok()
}

fn container(fleet: &Fleet<'_>) -> Container {
    let port = |name: &str| IntOrString::String(name.to_owned());
    Container {
        name: "envoy".to_owned(),
        image: Some(
            fleet
                .settings
                .envoy
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
                // From now on no new connection comes, as soon as every kube-proxy knows. Those that are open go on.
                sleep: Some(SleepAction {
                    seconds: fleet.settings.envoy.drain.as_secs(),
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        resources: Some(resources(fleet.settings.envoy.resources.as_ref())),
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
    let drain = fleet.settings.envoy.drain.as_secs().to_string();
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
