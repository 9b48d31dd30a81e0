//! BackendTLSPolicies: which one counts for a Service port, and what it asks for.
//!
//! A policy never goes to the hub. What it asks for goes with every backend that it concerns. One that cannot be
//! honoured leads its backends nowhere: nothing is ever sent in plain text to a backend that a policy protects.

use std::collections::{BTreeMap, BTreeSet};

use api::condition::ConditionValue;
use api::v1alpha1::{BackendTls, SubjectAltName, SubjectAltNameType, WellKnownCaCertificates};
use serde::Deserialize;
use serde_json::json;

use crate::authority::{self, AuthorityProblem, AuthorityReference};
use crate::index::Index;
use crate::kind::{GATEWAY_GROUP, ObjectRef};
use crate::listener_set::ListenerSets;
use crate::model::{Object, PolicySpec, TargetRef};
use crate::outcome::{AncestorStatus, AuthorityRef};
use crate::reason::{self, Verdict};
use crate::route::{GatewayKey, JudgedRoute};
use crate::shadow;

/// All policies, and who wins which Service and port name.
#[derive(Debug, Default)]
pub(crate) struct Policies<'a> {
    judged: Vec<JudgedPolicy<'a>>,
    /// By namespace and name of the Service, and port name; none stands for all ports.
    winners: BTreeMap<(String, String, Option<String>), usize>,
}

/// A policy with all that can be said of it alone.
#[derive(Debug)]
pub(crate) struct JudgedPolicy<'a> {
    pub object: &'a Object<'a, PolicySpec>,
    /// What it asks for, or why that cannot be honoured.
    pub tls: Result<BackendTls, Verdict>,
    pub authorities: Vec<AuthorityRef>,
    /// What is wrong with a reference; the others may do.
    unresolved: Option<Verdict>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct ValidationSpec {
    ca_certificate_refs: Vec<AuthorityReference>,
    #[serde(rename = "wellKnownCACertificates")]
    well_known_ca_certificates: Option<String>,
    hostname: String,
    subject_alt_names: Vec<SanSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SanSpec {
    #[serde(rename = "type")]
    type_: String,
    hostname: String,
    uri: String,
}

impl<'a> Policies<'a> {
    /// Judges all policies. The older goes first, then the first by name, also when it cannot be honoured.
    pub fn judge(index: &'a Index) -> Self {
        let mut judged: Vec<_> = index
            .policies
            .values()
            .map(|object| judge_one(index, object))
            .collect();
        judged.sort_by_cached_key(|policy| {
            let meta = &policy.object.meta;
            let created = (meta.creation_timestamp.is_none(), meta.creation_timestamp.clone());
            (created, meta.namespace.clone(), meta.name.clone())
        });
        let mut winners = BTreeMap::new();
        for (position, policy) in judged.iter().enumerate() {
            for target in policy.services() {
                winners.entry(policy.target_key(target)).or_insert(position);
            }
        }
        Self { judged, winners }
    }

    /// What must hold between Envoy and a Service port.
    pub fn of_port(&self, namespace: &str, service: &str, port_name: &str) -> Option<&JudgedPolicy<'a>> {
        let key = |section: Option<String>| (namespace.to_owned(), service.to_owned(), section);
        let named = Some(port_name.to_owned()).filter(|name| !name.is_empty());
        let of_port = named.and_then(|name| self.winners.get(&key(Some(name))));
        self.judged
            .get(*of_port.or_else(|| self.winners.get(&key(None)))?)
    }

    /// Wanted entries of `status.ancestors`, for every policy: none for one that concerns no Gateway of ours.
    pub fn statuses(
        &self,
        index: &Index,
        sets: &ListenerSets,
        routes: &[JudgedRoute],
    ) -> Vec<(ObjectRef, Vec<AncestorStatus>)> {
        let users = users(sets, routes);
        let mut statuses: Vec<_> = self
            .judged
            .iter()
            .map(|policy| {
                let ancestors: BTreeSet<&GatewayKey> = policy
                    .services()
                    .flat_map(|target| users.get(&policy.service_key(target)).into_iter().flatten())
                    .collect();
                let conditions = self.conditions(index, policy);
                let entry = |(_, namespace, name): &GatewayKey| AncestorStatus {
                    ancestor_ref: json!({"group": GATEWAY_GROUP, "kind": "Gateway", "namespace": namespace, "name": name}),
                    conditions: conditions.clone(),
                };
                let entries = ancestors.into_iter().map(entry).collect();
                (policy.object.reference.clone(), entries)
            })
            .collect();
        statuses.sort_by(|a, b| a.0.cmp(&b.0));
        statuses
    }

    /// Why each policy is not honoured, as news.
    pub fn problems(&self, index: &Index) -> impl Iterator<Item = (&ObjectRef, Verdict)> {
        self.judged.iter().flat_map(|policy| {
            let refusal = self.refusal(index, policy);
            let all = refusal.into_iter().chain(policy.unresolved.clone());
            all.map(|verdict| (&policy.object.reference, verdict))
        })
    }

    fn conditions(&self, index: &Index, policy: &JudgedPolicy) -> Vec<ConditionValue> {
        let condition = |type_: &'static str, problem: Option<Verdict>, message: &str| match problem {
            Some(Verdict { reason, message }) => ConditionValue::new(type_, false, reason, message),
            None => ConditionValue::new(type_, true, type_, message),
        };
        let lost = self.lost_targets(policy);
        let message = match lost.as_slice() {
            [] => "the policy is in force".to_owned(),
            lost => format!("the policy is in force, but not for {}", lost.join(", ")),
        };
        vec![
            condition(reason::ACCEPTED, self.refusal(index, policy), &message),
            condition(
                reason::RESOLVED_REFS,
                policy.unresolved.clone(),
                "all references are resolved",
            ),
        ]
    }

    fn refusal(&self, index: &Index, policy: &JudgedPolicy) -> Option<Verdict> {
        let lost = self.lost_targets(policy);
        if !lost.is_empty() && lost.len() == policy.services().count() {
            let message = format!("an older policy is in force for {}", lost.join(", "));
            return Some(Verdict::new(reason::CONFLICTED, message));
        }
        let missing = || policy.missing_section(index);
        policy.tls.as_ref().err().cloned().or_else(missing)
    }

    /// Targets that another policy has.
    fn lost_targets(&self, policy: &JudgedPolicy) -> Vec<String> {
        let is_other = |position: &usize| {
            let winner = self.judged.get(*position);
            winner.is_some_and(|winner| winner.object.reference != policy.object.reference)
        };
        policy
            .services()
            .filter(|target| self.winners.get(&policy.target_key(target)).is_some_and(is_other))
            .map(|target| match &target.section_name {
                Some(section) => format!("port {section} of Service {}", target.name),
                None => format!("Service {}", target.name),
            })
            .collect()
    }
}

/// The Gateways from which routes lead to each Service.
fn users(sets: &ListenerSets, routes: &[JudgedRoute]) -> BTreeMap<(String, String), BTreeSet<GatewayKey>> {
    let mut users = BTreeMap::<_, BTreeSet<GatewayKey>>::new();
    for route in routes {
        let attached = route.parents.iter().filter(|parent| parent.attached.is_ok());
        let gateways: BTreeSet<GatewayKey> = attached.map(|parent| parent.gateway(sets)).collect();
        for service in &route.backends.protectable {
            users
                .entry(service.clone())
                .or_default()
                .extend(gateways.iter().cloned());
        }
    }
    users
}

impl JudgedPolicy<'_> {
    fn services(&self) -> impl Iterator<Item = &TargetRef> {
        let targets = self.object.spec.target_refs.iter();
        targets.filter(|target| target.group.is_empty() && target.kind == "Service")
    }

    fn service_key(&self, target: &TargetRef) -> (String, String) {
        (self.object.meta.namespace.clone(), target.name.clone())
    }

    fn target_key(&self, target: &TargetRef) -> (String, String, Option<String>) {
        let (namespace, name) = self.service_key(target);
        let section = target.section_name.clone().filter(|section| !section.is_empty());
        (namespace, name, section)
    }

    fn missing_section(&self, index: &Index) -> Option<Verdict> {
        let namespace = self.object.meta.namespace.as_str();
        self.services().find_map(|target| {
            let section = target
                .section_name
                .as_deref()
                .filter(|section| !section.is_empty())?;
            let service = index.services.get(&(namespace, target.name.as_str()))?;
            let mut ports = shadow::ports(service.spec.as_ref()).iter();
            let has = ports.any(|port| port.name.as_deref() == Some(section));
            let message = format!("spec.targetRefs: Service {} has no port {section}", target.name);
            (!has).then(|| Verdict::new(reason::TARGET_NOT_FOUND, message))
        })
    }
}

fn judge_one<'a>(index: &Index, object: &'a Object<'a, PolicySpec>) -> JudgedPolicy<'a> {
    let refused = |verdict: Verdict| JudgedPolicy {
        object,
        tls: Err(verdict),
        authorities: Vec::new(),
        unresolved: None,
    };
    // Whatever is not understood may ask for more safety than there would be without it.
    if let Some(field) = object.spec.others.keys().next() {
        let message = format!("spec.{field} is not supported");
        return refused(Verdict::new(reason::INVALID, message));
    }
    let spec = match ValidationSpec::deserialize(&object.spec.validation) {
        Ok(spec) => spec,
        Err(error) => {
            let message = format!("spec.validation cannot be read: {error}");
            return refused(Verdict::new(reason::INVALID, message));
        }
    };
    let (mut authorities, mut unresolved) = (Vec::new(), None);
    for (position, reference) in spec.ca_certificate_refs.iter().enumerate() {
        let path = format!("spec.validation.caCertificateRefs[{position}]");
        // A policy reaches no other namespace, whatever is granted.
        if reference.namespace.is_some() {
            let message = format!("{path}.namespace is not supported");
            return refused(Verdict::new(reason::INVALID, message));
        }
        match authority::resolve(index, &object.reference, reference, &path) {
            Ok(authority) => authorities.push(authority),
            Err(problem) => unresolved = unresolved.or(Some(verdict(problem))),
        }
    }
    let tls = backend_tls(spec, &authorities);
    JudgedPolicy {
        object,
        tls,
        authorities,
        unresolved,
    }
}

fn verdict(problem: AuthorityProblem) -> Verdict {
    match problem {
        AuthorityProblem::Kind(message) => Verdict::new(reason::INVALID_KIND, message),
        AuthorityProblem::NotPermitted(message) | AuthorityProblem::Invalid(message) => {
            Verdict::new(reason::INVALID_CA_CERTIFICATE_REF, message)
        }
    }
}

fn backend_tls(spec: ValidationSpec, authorities: &[AuthorityRef]) -> Result<BackendTls, Verdict> {
    let invalid = |message: String| Verdict::new(reason::INVALID, message);
    let ValidationSpec {
        ca_certificate_refs,
        well_known_ca_certificates,
        hostname,
        subject_alt_names,
    } = spec;
    let well_known = match well_known_ca_certificates.as_deref().unwrap_or_default() {
        "" => None,
        "System" => Some(WellKnownCaCertificates::System),
        other => {
            let message = format!("spec.validation.wellKnownCACertificates: {other} is not supported");
            return Err(invalid(message));
        }
    };
    match (ca_certificate_refs.is_empty(), well_known) {
        (false, None) if authorities.is_empty() => {
            let message = "spec.validation.caCertificateRefs: no reference leads to a certificate authority";
            return Err(Verdict::new(reason::NO_VALID_CA_CERTIFICATE, message));
        }
        (false, None) | (true, Some(_)) => {}
        (false, Some(_)) | (true, None) => {
            let message = "spec.validation: one of caCertificateRefs and wellKnownCACertificates is needed";
            return Err(invalid(message.to_owned()));
        }
    }
    if hostname.is_empty() {
        return Err(invalid("spec.validation.hostname is needed".to_owned()));
    }
    Ok(BackendTls {
        hostname,
        certificate_authorities: authorities.iter().map(|a| a.sync_name.clone()).collect(),
        well_known_ca_certificates: well_known,
        subject_alt_names: subject_alt_names
            .into_iter()
            .enumerate()
            .map(|(position, san)| subject_alt_name(position, san))
            .collect::<Result<_, _>>()?,
    })
}

fn subject_alt_name(position: usize, san: SanSpec) -> Result<SubjectAltName, Verdict> {
    let SanSpec { type_, hostname, uri } = san;
    let (type_, value) = match type_.as_str() {
        "Hostname" if uri.is_empty() => (SubjectAltNameType::Hostname, hostname),
        "URI" if hostname.is_empty() => (SubjectAltNameType::Uri, uri),
        _ => (SubjectAltNameType::Hostname, String::new()),
    };
    if value.is_empty() {
        let message = format!(
            "spec.validation.subjectAltNames[{position}]: a type and the name of that type are needed"
        );
        return Err(Verdict::new(reason::INVALID, message));
    }
    Ok(SubjectAltName { type_, value })
}
