//! What is said about a LoadBalancer. Pure: facts in, status out.

use api::condition::{self, ConditionValue};
use api::endpoint_policy::EndpointPolicy;
use api::names::PortNumber;
use api::v1alpha1::load_balancer_condition as reason;
use api::v1alpha1::{
    Addresses, AddressesStatus, HostnameStatus, HubServicePort, HubServiceStatus, LoadBalancerAddresses,
    LoadBalancerStatus, LoadBalancerType,
};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use l4_xds::{ContentVersion, LoadBalancerReport};

use super::assess::Assessed;
use super::convert::{check, some_of};
use super::sites::Site;
use crate::build::hub_service;
use crate::hostnames::{self, HostnameTable};
use crate::settings::TenantSettings;

/// What is known about one LoadBalancer.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// What it comes to.
    pub assessed: &'a Assessed,
    /// What holds for its tenant.
    pub settings: &'a TenantSettings,
    /// Who holds which host name.
    pub hostnames: &'a HostnameTable,
    /// Where the hub Service is whose address is shown.
    pub site: Site,
    /// What its current generation is to Envoys; none while not all of its ports are recorded, and where it is left out.
    pub content: Option<&'a ContentVersion>,
    /// What Envoys said, on all replicas.
    pub report: Option<&'a LoadBalancerReport>,
    /// Ports for which no Envoy port was left.
    pub exhausted: Option<&'a [String]>,
    /// Why the hub Service could not be written.
    pub refused: Option<&'a Refusal>,
    /// How far HTTPS is, where it is asked for.
    pub https: Option<ConditionValue>,
}

/// Why a hub object could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Reason of the condition.
    pub reason: &'static str,
    /// A sentence for a person.
    pub message: String,
}

/// The status. `now` counts only for conditions that change.
#[must_use]
pub fn status(facts: &Facts<'_>, now: &Time) -> LoadBalancerStatus {
    let lb = &facts.assessed.load_balancer;
    let generation = lb.metadata.generation.unwrap_or_default();
    let before = lb.status.clone().unwrap_or_default();
    let served = facts.assessed.converted().is_some();
    let service = facts.assessed.service_at(facts.site).filter(|_| served);
    let ingress = service.map(|s| addresses(s, lb.spec.type_)).unwrap_or_default();
    let (programmed, content_version) = programmed(facts, !ingress.is_empty());
    let hostname = Hostname::of(facts, served);
    let mut values = vec![accepted(facts), programmed];
    values.extend(hostname.condition());
    values.extend(facts.https.clone());
    let mut conditions = before.conditions;
    conditions.retain(|c| !OPTIONAL.contains(&c.type_.as_str()) || values.iter().any(|v| v.type_ == c.type_));
    LoadBalancerStatus {
        observed_generation: Some(generation),
        load_balancer: (!ingress.is_empty()).then_some(LoadBalancerAddresses { ingress }),
        service: service.map(|s| HubServiceStatus { ports: ports(s) }),
        hostname: hostname.status(facts.https.as_ref()),
        content_version,
        conditions: condition::merge(&conditions, &values, generation, now),
    }
}

/// Conditions that are there only where they apply.
const OPTIONAL: [&str; 2] = [reason::HOSTNAME_ASSIGNED, reason::HTTPS_PROGRAMMED];

/// What became of the host name.
enum Hostname {
    Assigned(String),
    Refused(hostnames::Refusal),
    None,
}

impl Hostname {
    fn of(facts: &Facts<'_>, served: bool) -> Self {
        let name = hostnames::in_force(&facts.assessed.load_balancer, facts.settings, facts.hostnames);
        match name {
            Ok(Some(name)) if served => Self::Assigned(name),
            Err(refusal) if served => Self::Refused(refusal),
            Ok(_) | Err(_) => Self::None,
        }
    }

    fn condition(&self) -> Option<ConditionValue> {
        let value = |status: bool, reason, message: &str| {
            Some(ConditionValue::new(
                reason::HOSTNAME_ASSIGNED,
                status,
                reason,
                message,
            ))
        };
        match self {
            Self::Assigned(name) => value(
                true,
                reason::REASON_ASSIGNED,
                &format!("{name:?} is the host name"),
            ),
            Self::Refused(hostnames::Refusal { reason, message }) => value(false, reason, message),
            Self::None => None,
        }
    }

    fn status(self, https: Option<&ConditionValue>) -> Option<HostnameStatus> {
        match self {
            Self::Assigned(hostname) => Some(HostnameStatus {
                hostname,
                tls_enabled: https.is_some_and(|https| https.status == condition::Status::True),
                dns_record_created: None,
            }),
            Self::Refused(_) | Self::None => None,
        }
    }
}

fn accepted(facts: &Facts<'_>) -> ConditionValue {
    if let Some(problem) = facts.assessed.problem() {
        return ConditionValue::new(reason::ACCEPTED, false, problem.reason, problem.message.clone());
    }
    if let Some(Refusal { reason, message }) = facts.refused {
        return ConditionValue::new(reason::ACCEPTED, false, reason, message.clone());
    }
    let notes = facts
        .assessed
        .converted()
        .map(|c| c.notes.as_slice())
        .unwrap_or_default();
    let message = if notes.is_empty() {
        "allowed for this tenant".to_owned()
    } else {
        notes.join("; ")
    };
    ConditionValue::new(reason::ACCEPTED, true, reason::REASON_ACCEPTED, message)
}

/// The condition, and the content that an Envoy's word in it is about.
fn programmed(facts: &Facts<'_>, has_address: bool) -> (ConditionValue, Option<String>) {
    let no = |reason, message: &str| ConditionValue::new(reason::PROGRAMMED, false, reason, message);
    if facts.assessed.problem().is_some() || facts.refused.is_some() {
        return (no(reason::REASON_NOT_ACCEPTED, "not accepted"), None);
    }
    if let Some(ports) = facts.exhausted {
        let message = format!("no Envoy port is left for {}", ports.join(", "));
        return (no(reason::REASON_PORTS_EXHAUSTED, &message), None);
    }
    match word(facts) {
        Word::None => {
            let message = "no Envoy acknowledged this configuration yet";
            (no(reason::REASON_PENDING, message), None)
        }
        Word::Rejected { content, message } => (no(reason::REASON_REJECTED, &message), content),
        Word::Acknowledged { content } if !has_address => {
            let message = "the hub has given no address yet";
            (no(reason::REASON_ADDRESS_NOT_ASSIGNED, message), content)
        }
        Word::Acknowledged { content } => {
            let message = "an Envoy acknowledged this configuration";
            let value = ConditionValue::new(reason::PROGRAMMED, true, reason::REASON_PROGRAMMED, message);
            (value, content)
        }
    }
}

/// What Envoys say of what is served. The content is unknown where a manager recorded none.
enum Word {
    Acknowledged {
        content: Option<String>,
    },
    Rejected {
        content: Option<String>,
        message: String,
    },
    None,
}

/// What was recorded for this content stays until something says otherwise: an Envoy keeps its configuration when its
/// stream ends, so silence takes nothing back.
fn word(facts: &Facts<'_>) -> Word {
    let lb = &facts.assessed.load_balancer;
    let (recorded, judged) = match &lb.status {
        Some(status) => {
            let recorded = condition::find(&status.conditions, reason::PROGRAMMED);
            (recorded, status.content_version.clone())
        }
        None => (None, None),
    };
    if facts.assessed.left_out.contains(&facts.site) {
        let message = recorded.map(|c| c.message.clone()).unwrap_or_default();
        let content = judged;
        return Word::Rejected { content, message };
    }
    if let Some((content, report)) = facts.content.zip(facts.report) {
        let content_version = Some(content.to_string());
        if let Some(words) = report.rejected.get(content) {
            let message = format!("Envoy rejected it: {words}");
            let content = content_version;
            return Word::Rejected { content, message };
        }
        if report.programmed.contains(content) {
            let content = content_version;
            return Word::Acknowledged { content };
        }
    }
    let Some(recorded) = recorded.filter(|c| is_acknowledged(c)) else {
        return Word::None;
    };
    let stands = match (&judged, facts.content) {
        (Some(judged), Some(content)) => judged == content.as_str(),
        // Not known here and now, or a status of before contents were recorded.
        (_, None) | (None, _) => recorded.observed_generation == lb.metadata.generation,
    };
    if stands {
        Word::Acknowledged { content: judged }
    } else {
        Word::None
    }
}

/// True where this `Programmed` tells of an acknowledgement. An address that came late is no word of Envoy's: it had
/// acknowledged before.
#[must_use]
pub fn is_acknowledged(programmed: &Condition) -> bool {
    programmed.status == "True" || programmed.reason == reason::REASON_ADDRESS_NOT_ASSIGNED
}

/// The addresses of a hub Service.
pub(super) fn addresses(service: &Service, type_: LoadBalancerType) -> Vec<LoadBalancerIngress> {
    match type_ {
        LoadBalancerType::LoadBalancer => {
            let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
            let ingress = status.and_then(|lb| lb.ingress.as_deref()).unwrap_or_default();
            // Only the address: ports and mode are about the hub's network, not the tenant's.
            let address = |i: &LoadBalancerIngress| LoadBalancerIngress {
                ip: i.ip.clone(),
                hostname: i.hostname.clone(),
                ..LoadBalancerIngress::default()
            };
            ingress.iter().map(address).collect()
        }
        LoadBalancerType::ClusterIP => {
            let spec = service.spec.as_ref();
            let all = spec
                .and_then(|s| s.cluster_ips.clone())
                .unwrap_or_else(|| spec.and_then(|s| s.cluster_ip.clone()).into_iter().collect());
            let address = |ip: String| LoadBalancerIngress {
                ip: Some(ip),
                ..LoadBalancerIngress::default()
            };
            all.into_iter()
                .filter(|ip| !ip.is_empty() && ip != "None")
                .map(address)
                .collect()
        }
    }
}

fn ports(service: &Service) -> Vec<HubServicePort> {
    let names = service
        .spec
        .as_ref()
        .and_then(|s| s.ports.as_deref())
        .unwrap_or_default();
    let recorded = hub_service::recorded_ports(service);
    let name_of = |protocol: &str, port: u16| {
        let found = names
            .iter()
            .find(|p| p.port == i32::from(port) && p.protocol.as_deref().unwrap_or("TCP") == protocol);
        found.and_then(|p| p.name.clone()).unwrap_or_default()
    };
    recorded
        .into_iter()
        .filter_map(|((protocol, port), envoy_port)| {
            Some(HubServicePort {
                name: name_of(protocol.as_str(), port),
                protocol,
                port: PortNumber::try_from(i32::from(port)).ok()?,
                upstream_target_port: PortNumber::try_from(i32::from(envoy_port)).ok()?,
            })
        })
        .collect()
}

/// What is said about an Addresses object.
#[must_use]
pub fn addresses_status(addresses: &Addresses, policy: &EndpointPolicy, now: &Time) -> AddressesStatus {
    let generation = addresses.metadata.generation.unwrap_or_default();
    let before = addresses
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    let refused: Vec<String> = addresses
        .spec
        .addresses
        .iter()
        .filter_map(|address| check(address, policy).err())
        .collect();
    let value = if refused.is_empty() {
        ConditionValue::new(
            reason::ACCEPTED,
            true,
            reason::REASON_ACCEPTED,
            "every address may be used",
        )
    } else {
        let message = format!("{} addresses are left out: {}", refused.len(), some_of(&refused));
        ConditionValue::new(
            reason::ACCEPTED,
            false,
            reason::REASON_ENDPOINT_NOT_ALLOWED,
            message,
        )
    };
    AddressesStatus {
        observed_generation: Some(generation),
        conditions: condition::merge(before, &[value], generation, now),
    }
}
