//! Certificate authorities in ConfigMaps and Secrets: who may refer to them, and whether they hold any.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use crate::index::Index;
use crate::kind::{ObjectKind, ObjectRef};
use crate::model::{self, ClassSpec, FrontendTlsConfig, GatewaySpec, PolicySpec};
use crate::outcome::AuthorityRef;
use crate::secret::{TLS_TYPE, certificate_problem};
use crate::snapshot::{AuthorityFacts, Settings, Snapshot};

/// The key that holds the authorities.
pub(crate) const CA_KEY: &str = "ca.crt";

/// A reference to authorities. It never goes to the hub as it is written, so that what is not understood must be
/// seen.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AuthorityReference {
    pub group: String,
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
}

/// Why a reference gives no authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AuthorityProblem {
    /// Not a ConfigMap or Secret.
    Kind(String),
    /// No ReferenceGrant.
    NotPermitted(String),
    /// Not there, or nothing in it.
    Invalid(String),
}

/// The authorities behind a reference of `from`. The grant is asked for first: whether an object exists in
/// another namespace is not for everybody to know.
pub(crate) fn resolve(
    index: &Index,
    from: &ObjectRef,
    reference: &AuthorityReference,
    path: &str,
) -> Result<AuthorityRef, AuthorityProblem> {
    let AuthorityReference {
        group,
        kind,
        namespace,
        name,
    } = reference;
    if !group.is_empty() || !matches!(kind.as_str(), "ConfigMap" | "Secret") {
        let message =
            format!("{path}: {kind} of group {group:?} is not supported, use a ConfigMap or Secret");
        return Err(AuthorityProblem::Kind(message));
    }
    let namespace = namespace.as_deref().unwrap_or(&from.namespace);
    let named = format!("{kind} {namespace}/{name}");
    if !index.grants.permit(from, kind, namespace, name) {
        let message = format!("{path}: no ReferenceGrant in {namespace} permits {named}");
        return Err(AuthorityProblem::NotPermitted(message));
    }
    let facts = index
        .authorities
        .get(&(kind.as_str(), namespace, name.as_str()))
        .ok_or_else(|| AuthorityProblem::Invalid(format!("{path}: {named} does not exist")))?;
    match &facts.problem {
        Some(problem) => Err(AuthorityProblem::Invalid(format!("{path}: {named}: {problem}"))),
        None => Ok(AuthorityRef {
            sync_name: facts.sync_name(),
            kind: facts.kind.clone(),
            namespace: facts.namespace.clone(),
            name: facts.name.clone(),
            uid: facts.uid.clone(),
        }),
    }
}

impl AuthorityFacts {
    /// What matters of a ConfigMap.
    #[must_use]
    pub fn from_config_map(config_map: &ConfigMap) -> Self {
        let text = config_map.data.as_ref().and_then(|data| data.get(CA_KEY));
        let bytes = config_map.binary_data.as_ref().and_then(|data| data.get(CA_KEY));
        let content = text
            .map(String::as_bytes)
            .or(bytes.map(|bytes| bytes.0.as_slice()));
        Self::new("ConfigMap", &config_map.metadata, String::new(), content)
    }

    /// What matters of a Secret.
    #[must_use]
    pub fn from_secret(secret: &Secret) -> Self {
        let content = secret.data.as_ref().and_then(|data| data.get(CA_KEY));
        let type_ = secret.type_.clone().unwrap_or_default();
        Self::new(
            "Secret",
            &secret.metadata,
            type_,
            content.map(|bytes| bytes.0.as_slice()),
        )
    }

    fn new(kind: &str, metadata: &ObjectMeta, type_: String, content: Option<&[u8]>) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let problem = match content {
            Some(pem) => certificate_problem(CA_KEY, pem),
            None => Some(format!("it has no key {CA_KEY}")),
        };
        Self {
            kind: kind.to_owned(),
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
            uid: text(&metadata.uid),
            type_,
            problem,
        }
    }

    /// Name of the SyncSecret: the UID. A Secret that may also serve as a certificate has another for that.
    fn sync_name(&self) -> String {
        if self.type_ == TLS_TYPE {
            format!("{}-ca", self.uid)
        } else {
            self.uid.clone()
        }
    }
}

/// Kind, namespace and name of the ConfigMaps and Secrets with authorities that Gateways of ours and
/// BackendTLSPolicies name. Only those need to be read.
#[must_use]
pub fn referenced_authorities(
    snapshot: &Snapshot,
    settings: &Settings,
) -> BTreeSet<(String, String, String)> {
    let classes: BTreeSet<String> = snapshot
        .gateway_classes
        .iter()
        .filter_map(|raw| model::parse::<ClassSpec>(ObjectKind::GatewayClass, raw).ok())
        .filter(|class| settings.gateways && class.spec.controller_name == settings.controller_name)
        .map(|class| class.meta.name)
        .collect();
    let mut found = BTreeSet::new();
    for raw in &snapshot.gateways {
        let Ok(gateway) = model::parse::<GatewaySpec>(ObjectKind::Gateway, raw) else {
            continue;
        };
        if !classes.contains(&gateway.spec.gateway_class_name) {
            continue;
        }
        let Some(frontend) = gateway.spec.tls.and_then(|tls| tls.frontend) else {
            continue;
        };
        let of_ports = frontend.per_port.into_iter().filter_map(|port| port.tls);
        for FrontendTlsConfig { validation } in frontend.default.into_iter().chain(of_ports) {
            collect(validation.as_ref(), &gateway.meta.namespace, &mut found);
        }
    }
    let policies = snapshot
        .backend_tls_policies
        .iter()
        .filter(|_| settings.backend_tls_policies);
    for policy in
        policies.filter_map(|raw| model::parse::<PolicySpec>(ObjectKind::BackendTlsPolicy, raw).ok())
    {
        collect(Some(&policy.spec.validation), &policy.meta.namespace, &mut found);
    }
    found
}

fn collect(validation: Option<&Value>, own: &str, found: &mut BTreeSet<(String, String, String)>) {
    let references = validation.and_then(|validation| validation.get("caCertificateRefs")?.as_array());
    for reference in references.into_iter().flatten() {
        let Ok(AuthorityReference {
            group: _,
            kind,
            namespace,
            name,
        }) = AuthorityReference::deserialize(reference)
        else {
            continue;
        };
        if matches!(kind.as_str(), "ConfigMap" | "Secret") {
            let namespace = namespace.unwrap_or_else(|| own.to_owned());
            found.insert((kind, namespace, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_config_map_with_a_certificate_is_an_authority() {
        let made = rcgen::generate_simple_self_signed(["ca.example.com".to_owned()]).unwrap();
        let with = |content: &str| {
            let map = json!({"metadata": {"name": "ca", "namespace": "a", "uid": "u"}, "data": {"ca.crt": content}});
            AuthorityFacts::from_config_map(&serde_json::from_value(map).unwrap())
        };
        assert_eq!(with(&made.cert.pem()).problem, None);
        assert_eq!(
            with("hello").problem.as_deref(),
            Some("ca.crt holds no certificate")
        );
        assert_eq!(with("hello").sync_name(), "u");
    }

    #[test]
    fn a_secret_that_is_a_certificate_too_has_a_second_name_for_its_authorities() {
        let secret =
            json!({"metadata": {"name": "ca", "namespace": "a", "uid": "u"}, "type": "kubernetes.io/tls"});
        let facts = AuthorityFacts::from_secret(&serde_json::from_value(secret).unwrap());
        assert_eq!(facts.problem.as_deref(), Some("it has no key ca.crt"));
        assert_eq!(facts.sync_name(), "u-ca");
    }

    #[test]
    fn only_what_gateways_of_ours_and_policies_name_is_read() {
        let frontend = |name: &str| {
            json!({"default": {"validation": {"caCertificateRefs": [{"kind": "ConfigMap", "name": name}]}},
                "perPort": [{"port": 443, "tls": {"validation": {"caCertificateRefs": [
                    {"kind": "Secret", "namespace": "b", "name": name}, {"kind": "Service", "name": name}]}}}]})
        };
        let gateway = |class: &str, name: &str| {
            json!({"metadata": {"namespace": "a", "name": name},
                "spec": {"gatewayClassName": class, "tls": {"frontend": frontend(name)}}})
        };
        let snapshot: Snapshot = serde_json::from_value(json!({
            "gatewayClasses": [{"metadata": {"name": "kubelb"}, "spec": {"controllerName": api::meta::GATEWAY_CONTROLLER_NAME}}],
            "gateways": [gateway("kubelb", "ours"), gateway("other", "theirs")],
            "backendTLSPolicies": [{"metadata": {"namespace": "c", "name": "p"},
                "spec": {"validation": {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "p"}]}}}],
        }))
        .unwrap();
        let found: Vec<_> = referenced_authorities(&snapshot, &Settings::default())
            .into_iter()
            .map(|(kind, namespace, name)| format!("{kind} {namespace}/{name}"))
            .collect();
        assert_eq!(found, ["ConfigMap a/ours", "ConfigMap c/p", "Secret b/ours"]);
    }
}
