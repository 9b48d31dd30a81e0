//! Checks of the host names of routes and listeners: form, domains, and who holds them where Gateways are shared.

use api::domain;
use api::v1alpha1::{GatewayReference, GatewayScope, ParentDecision, route_condition as condition};

use super::Context;
use crate::domain::hostname;
use crate::origin::Source;
use crate::verdict::Problem;

/// Checks the form and the domain of one host name.
pub(crate) fn check(path: &str, name: &str, domains: &[String]) -> Result<(), Problem> {
    if !hostname::is_hostname(name) {
        return Err(Problem::unsupported(format!(
            "{path}: {name:?} is not a host name."
        )));
    }
    if !domain::is_allowed(name, domains) {
        return Err(Problem::new(
            condition::REASON_DOMAIN_NOT_ALLOWED,
            format!("{path}: {name} is not within the tenant's allowedDomains."),
        ));
    }
    Ok(())
}

/// Checks the host names of a route.
pub(crate) fn check_route(
    context: &Context<'_>,
    source: &Source<'_>,
    hostnames: &[String],
) -> Result<(), Problem> {
    for name in hostnames {
        check("spec.hostnames", name, &context.settings.allowed_domains)?;
    }
    let shared = source
        .route
        .spec
        .parents
        .iter()
        .filter(|parent| parent.scope == GatewayScope::Hub);
    for parent in shared {
        if hostnames.is_empty() {
            return Err(Problem::new(
                condition::REASON_DOMAIN_NOT_ALLOWED,
                format!(
                    "spec.hostnames is empty: on the Gateway {}/{}, which tenants share, a route needs host names.",
                    parent.namespace, parent.name
                ),
            ));
        }
        hostnames
            .iter()
            .try_for_each(|name| check_held(context, parent, name))?;
    }
    Ok(())
}

/// Checks that no other tenant holds a host name on a shared Gateway.
pub(crate) fn check_held(context: &Context<'_>, parent: &ParentDecision, name: &str) -> Result<(), Problem> {
    let gateway = GatewayReference {
        namespace: parent.namespace.clone(),
        name: parent.name.clone(),
    };
    let input = context.input;
    if input.claims.holds(&input.namespace, &gateway, name) {
        return Ok(());
    }
    Err(Problem::new(
        condition::REASON_HOSTNAME_CONFLICT,
        format!(
            "{name} is held by another tenant on the Gateway {}/{}.",
            parent.namespace, parent.name
        ),
    ))
}
