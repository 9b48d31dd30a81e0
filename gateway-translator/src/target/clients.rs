//! How a Gateway checks the certificates of its clients, and which certificate it shows to backends.

use std::collections::BTreeMap;

use api::names::PortNumber;
use api::v1alpha1::{ClientValidationDecision, SyncSecretType, route_condition as condition};
use serde_json::{Value, json};

use super::Context;
use crate::names;
use crate::source::gateway::FrontendTls;
use crate::verdict::Problem;

/// Checks of clients on the HTTPS listeners of one Gateway, by port; none stands for all other ports.
///
/// An HTTPS listener whose clients ought to be checked and cannot be is not served at all.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientChecks {
    asked: FrontendTls,
    decided: BTreeMap<Option<PortNumber>, Result<Option<Value>, Problem>>,
}

impl ClientChecks {
    /// Reads what the tenant wrote, and what the CCM decided about it.
    pub(crate) fn read(
        context: &Context<'_>,
        asked: FrontendTls,
        decisions: &[ClientValidationDecision],
    ) -> Self {
        let mut decided = BTreeMap::new();
        for decision in decisions {
            let ClientValidationDecision {
                port,
                certificate_authorities: _,
                mode: _,
            } = decision;
            decided
                .entry(*port)
                .or_insert_with(|| validation(context, decision));
        }
        Self { asked, decided }
    }

    /// May an HTTPS listener of this port be served?
    pub(crate) fn check(&self, path: &str, port: PortNumber) -> Result<(), Problem> {
        let decided = self.decided.get(&Some(port)).or_else(|| self.decided.get(&None));
        match decided {
            Some(Err(problem)) => Err(problem.clone()),
            Some(Ok(Some(_))) => Ok(()),
            Some(Ok(None)) | None if !self.asked.validates(port) => Ok(()),
            Some(Ok(None)) | None => Err(Problem::unsupported(format!(
                "{path}: clients of port {port} are to be checked, and spec.gateway.clientValidation does not say how."
            ))),
        }
    }

    /// `spec.tls.frontend` of the hub Gateway.
    pub(crate) fn frontend(&self) -> Option<Value> {
        let tls = |validation: &Option<Value>| match validation {
            Some(validation) => json!({"validation": validation}),
            None => json!({}),
        };
        let sound = || {
            self.decided
                .iter()
                .filter_map(|(port, v)| Some((port, v.as_ref().ok()?)))
        };
        sound().next()?;
        let default = sound().find(|(port, _)| port.is_none());
        let mut frontend = json!({"default": default.map_or_else(|| json!({}), |(_, v)| tls(v))});
        let per_port: Vec<Value> = sound()
            .filter_map(|(port, v)| Some(json!({"port": (*port)?, "tls": tls(v)})))
            .collect();
        if let Some(fields) = frontend.as_object_mut().filter(|_| !per_port.is_empty()) {
            fields.insert("perPort".to_owned(), per_port.into());
        }
        Some(frontend)
    }
}

fn validation(context: &Context<'_>, decision: &ClientValidationDecision) -> Result<Option<Value>, Problem> {
    let ClientValidationDecision {
        port: _,
        certificate_authorities,
        mode,
    } = decision;
    let missing = certificate_authorities
        .iter()
        .find(|name| !context.has_secret(name, SyncSecretType::Opaque));
    if let Some(missing) = missing {
        return Err(Problem::new(
            condition::REASON_SECRET_NOT_FOUND,
            format!("spec.tls.frontend: the certificate authority in SyncSecret {missing} has not arrived."),
        ));
    }
    if certificate_authorities.is_empty() {
        return Ok(None);
    }
    let references = names::secret_references(&context.input.namespace, certificate_authorities);
    Ok(Some(
        json!({"caCertificateRefs": references, "mode": mode.as_str()}),
    ))
}

/// `spec.tls.backend` of the hub Gateway. Without the certificate nothing is shown, which backends that ask for
/// one refuse.
pub(crate) fn backend(context: &Context<'_>, sync_secret: &str) -> Result<Value, Problem> {
    if !context.has_secret(sync_secret, SyncSecretType::Tls) {
        return Err(Problem::new(
            condition::REASON_SECRET_NOT_FOUND,
            format!("spec.tls.backend: the certificate in SyncSecret {sync_secret} has not arrived."),
        ));
    }
    let name = names::secret(&context.input.namespace, sync_secret);
    Ok(json!({"clientCertificateRef": {"group": "", "kind": "Secret", "name": name}}))
}
