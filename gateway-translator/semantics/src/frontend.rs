//! TLS of a Gateway as a whole: how clients' certificates are checked, and the certificate shown to backends.

use std::collections::BTreeMap;

use api::names::PortNumber;
use api::v1alpha1::{ClientValidationDecision, ClientValidationMode};
use serde::Deserialize;
use serde_json::Value;

use crate::authority::{self, AuthorityProblem, AuthorityReference};
use crate::index::Index;
use crate::kind::ObjectRef;
use crate::model::{FrontendTls, FrontendTlsConfig, GatewaySpec, Object};
use crate::outcome::{AuthorityRef, SecretRef};
use crate::reason::{self, Verdict};
use crate::secret;
use crate::unknown;

/// How clients' certificates are checked on the HTTPS listeners of a Gateway and of its ListenerSets.
#[derive(Debug, Default)]
pub(crate) struct Frontend {
    default: Option<Validation>,
    /// An entry for a port stands in place of the default, also when it asks for nothing.
    per_port: BTreeMap<i64, Option<Validation>>,
}

/// One check.
#[derive(Debug)]
pub(crate) struct Validation {
    pub authorities: Vec<AuthorityRef>,
    mode: ClientValidationMode,
    /// What is wrong with a reference; the others may do.
    pub unresolved: Option<Verdict>,
    /// Why the check cannot be made: then nobody is let in.
    pub refusal: Option<Verdict>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct ValidationSpec {
    ca_certificate_refs: Vec<AuthorityReference>,
    mode: Option<String>,
}

impl Frontend {
    /// Judges `spec.tls.frontend`.
    pub fn judge(index: &Index, gateway: &Object<GatewaySpec>) -> Self {
        let Some(FrontendTls { default, per_port }) =
            gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref())
        else {
            return Self::default();
        };
        let object = &gateway.reference;
        let judge = |config: Option<&FrontendTlsConfig>, path: &str| {
            let spec = config?.validation.as_ref()?;
            Some(Validation::judge(index, object, spec, path))
        };
        let of_ports = per_port.iter().enumerate().map(|(position, entry)| {
            let path = format!("spec.tls.frontend.perPort[{position}].tls.validation");
            (entry.port, judge(entry.tls.as_ref(), &path))
        });
        Self {
            per_port: of_ports.collect(),
            default: judge(default.as_ref(), "spec.tls.frontend.default.validation"),
        }
    }

    /// The check on a port, if there is one.
    pub fn of_port(&self, port: i64) -> Option<&Validation> {
        self.per_port.get(&port).unwrap_or(&self.default).as_ref()
    }

    /// The checks that can be made. Listeners under any other are not served.
    pub fn decisions(&self) -> Vec<ClientValidationDecision> {
        let of_ports = self.per_port.iter().filter_map(|(port, validation)| {
            let port = PortNumber::try_from(*port).ok()?;
            match validation {
                Some(validation) => validation.decision(Some(port)),
                None => Some(ClientValidationDecision {
                    port: Some(port),
                    ..ClientValidationDecision::default()
                }),
            }
        });
        let default = self.default.as_ref().and_then(|check| check.decision(None));
        default.into_iter().chain(of_ports).collect()
    }

    /// Some check lets everybody in.
    pub fn is_insecure(&self) -> bool {
        self.sound()
            .any(|check| check.mode == ClientValidationMode::AllowInsecureFallback)
    }

    /// Authorities that the hub needs.
    pub fn authorities(&self) -> impl Iterator<Item = &AuthorityRef> {
        self.sound().flat_map(|check| &check.authorities)
    }

    fn sound(&self) -> impl Iterator<Item = &Validation> {
        let all = self.per_port.values().flatten().chain(&self.default);
        all.filter(|check| check.refusal.is_none())
    }
}

impl Validation {
    fn judge(index: &Index, gateway: &ObjectRef, spec: &Value, path: &str) -> Self {
        let refused = |verdict: Verdict| Self {
            authorities: Vec::new(),
            mode: ClientValidationMode::default(),
            unresolved: None,
            refusal: Some(verdict),
        };
        // A field that is not known may say who is let in.
        let ValidationSpec {
            ca_certificate_refs,
            mode,
        } = match ValidationSpec::deserialize(spec) {
            Ok(spec) => spec,
            Err(error) => {
                let message = format!("{path} cannot be read: {error}");
                return refused(Verdict::new(reason::UNSUPPORTED_VALUE, message));
            }
        };
        let known = [
            ClientValidationMode::AllowValidOnly,
            ClientValidationMode::AllowInsecureFallback,
        ];
        let wanted = mode.as_deref().unwrap_or(known[0].as_str());
        let Some(mode) = known.into_iter().find(|mode| mode.as_str() == wanted) else {
            let message = format!("{path}.mode: {wanted} is not supported");
            return refused(Verdict::new(reason::UNSUPPORTED_VALUE, message));
        };
        let (mut authorities, mut unresolved) = (Vec::new(), None);
        for (position, reference) in ca_certificate_refs.iter().enumerate() {
            let path = format!("{path}.caCertificateRefs[{position}]");
            match authority::resolve(index, gateway, reference, &path) {
                Ok(authority) => authorities.push(authority),
                Err(problem) => unresolved = unresolved.or(Some(verdict(problem))),
            }
        }
        let refusal = authorities.is_empty().then(|| {
            let message = format!("{path}: no reference leads to a certificate authority");
            Verdict::new(reason::NO_VALID_CA_CERTIFICATE, message)
        });
        Self {
            authorities,
            mode,
            unresolved,
            refusal,
        }
    }

    fn decision(&self, port: Option<PortNumber>) -> Option<ClientValidationDecision> {
        let names = self
            .authorities
            .iter()
            .map(|authority| authority.sync_name.clone());
        self.refusal.is_none().then(|| ClientValidationDecision {
            port,
            certificate_authorities: names.collect(),
            mode: self.mode,
        })
    }
}

fn verdict(problem: AuthorityProblem) -> Verdict {
    match problem {
        AuthorityProblem::Kind(message) => Verdict::new(reason::INVALID_CA_CERTIFICATE_KIND, message),
        AuthorityProblem::NotPermitted(message) => Verdict::new(reason::REF_NOT_PERMITTED, message),
        AuthorityProblem::Invalid(message) => Verdict::new(reason::INVALID_CA_CERTIFICATE_REF, message),
    }
}

/// The certificate that Envoy shows to backends. `None` when the Gateway names none.
pub(crate) fn client_certificate(
    index: &Index,
    gateway: &Object<GatewaySpec>,
) -> Option<Result<SecretRef, Verdict>> {
    let backend = gateway.spec.tls.as_ref()?.backend.as_ref()?;
    if let Some(field) = unknown::in_backend_tls(backend, "spec.tls.backend") {
        let message = unknown::message(&field);
        return Some(Err(Verdict::new(reason::INVALID_CLIENT_CERTIFICATE_REF, message)));
    }
    let reference = backend.client_certificate_ref.as_ref()?;
    let path = "spec.tls.backend.clientCertificateRef";
    Some(secret::resolve(
        index,
        &gateway.reference,
        reference,
        path,
        reason::INVALID_CLIENT_CERTIFICATE_REF,
    ))
}
