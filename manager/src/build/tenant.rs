//! What a tenant gets on the hub: a namespace and a service account that may use only that namespace.

use std::collections::BTreeMap;

use api::meta;
use api::v1alpha1::Tenant;
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::{component, labels, object_meta};

/// Name of the tenant's ServiceAccount, Role and RoleBinding.
pub const ACCOUNT: &str = "kubelb-ccm";
/// Secret that the tenant's tokens are bound to: whoever deletes it revokes them all.
pub const TOKEN_SECRET: &str = "kubelb-ccm-token";

const CCM_VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];

/// The tenant's namespace. The uid tells two Tenants apart that would share it.
#[must_use]
pub fn namespace(tenant: &Tenant, name: &str) -> Namespace {
    let annotation = (meta::ORIGIN_UID.to_owned(), tenant.uid().unwrap_or_default());
    Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels(&tenant.name_any(), component::TENANT)),
            annotations: Some(BTreeMap::from([annotation])),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

/// Who the tenant's CCM is on the hub. It runs nowhere here, so nothing mounts its token.
#[must_use]
pub fn service_account(tenant: &str, namespace: &str) -> ServiceAccount {
    ServiceAccount {
        metadata: object_meta(namespace, ACCOUNT, labels(tenant, component::TENANT)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// What the tenant's CCM may do. No status subresource: what the manager reads there is the manager's own.
#[must_use]
pub fn role(tenant: &str, namespace: &str) -> Role {
    Role {
        metadata: object_meta(namespace, ACCOUNT, labels(tenant, component::TENANT)),
        rules: Some(vec![
            rule(
                api::GROUP,
                &["loadbalancers", "routes", "addresses", "syncsecrets"],
                &CCM_VERBS,
            ),
            rule(
                api::GROUP,
                &["tenantstates"],
                &["get", "list", "watch", "update", "patch"],
            ),
            PolicyRule {
                resource_names: Some(vec![meta::CREDENTIAL_SECRET.to_owned()]),
                ..rule("", &["secrets"], &["get"])
            },
        ]),
    }
}

/// Gives the role to the account.
#[must_use]
pub fn role_binding(tenant: &str, namespace: &str) -> RoleBinding {
    RoleBinding {
        metadata: object_meta(namespace, ACCOUNT, labels(tenant, component::TENANT)),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: ACCOUNT.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: ACCOUNT.to_owned(),
            namespace: Some(namespace.to_owned()),
            api_group: None,
        }]),
    }
}

/// The Secret that tokens are bound to. It holds nothing.
#[must_use]
pub fn token_secret(tenant: &str, namespace: &str) -> Secret {
    Secret {
        metadata: object_meta(namespace, TOKEN_SECRET, labels(tenant, component::TENANT)),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::TenantSpec;

    use super::*;

    #[test]
    fn a_tenant_gets_a_namespace_and_an_account_that_may_use_only_it() {
        let mut tenant = Tenant::new("cluster-1", TenantSpec::default());
        tenant.metadata.uid = Some("0b1c".into());
        insta::assert_yaml_snapshot!((
            namespace(&tenant, "tenant-cluster-1"),
            service_account("cluster-1", "tenant-cluster-1"),
            role("cluster-1", "tenant-cluster-1"),
            role_binding("cluster-1", "tenant-cluster-1"),
            token_secret("cluster-1", "tenant-cluster-1"),
        ));
    }

    #[test]
    fn a_tenant_may_write_no_status_and_mint_no_token() {
        let rules = role("cluster-1", "tenant-cluster-1").rules.unwrap();
        let resources: Vec<_> = rules.iter().flat_map(|r| r.resources.clone().unwrap()).collect();
        assert!(resources.iter().all(|r| !r.contains('/')), "{resources:?}");
    }
}
