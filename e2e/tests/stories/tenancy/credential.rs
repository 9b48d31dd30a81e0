//! The credential that the manager issues acts in its own hub namespace only.

use std::collections::BTreeSet;

use e2e::cluster::Cluster;
use serde_json::{Value, json};

use crate::support::{ccm, hub_namespace, lab};

/// Each one as it is read: `get secrets named kubelb-ccm-kubeconfig`.
type Rights = BTreeSet<String>;

/// What Kubernetes gives everybody who has a ServiceAccount's token.
fn of_everybody() -> Rights {
    let reviews = [
        "selfsubjectreviews.authentication.k8s.io",
        "selfsubjectaccessreviews.authorization.k8s.io",
        "selfsubjectrulesreviews.authorization.k8s.io",
    ];
    let pages = [
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/",
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/openid/v1/jwks",
        "/openid/v1/jwks/",
        "/readyz",
        "/version",
        "/version/",
    ];
    &each(&["create"], &reviews) | &each(&["get"], &pages)
}

/// What the manager gives a tenant's CCM in the tenant's namespace.
fn of_a_tenant() -> Rights {
    let pushed = ["addresses", "loadbalancers", "routes", "syncsecrets"].map(|kind| kind.to_owned() + GROUP);
    let pushes = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let state = ["get", "list", "watch", "update", "patch"];
    let mut rights = each(&pushes, &pushed);
    rights.extend(each(&state, &["tenantstates".to_owned() + GROUP]));
    rights.extend(each(&["get"], &["secrets named kubelb-ccm-kubeconfig"]));
    rights
}

const GROUP: &str = ".kubelb.k8c.io";

fn each(verbs: &[&str], things: &[impl AsRef<str>]) -> Rights {
    let of_one = |verb: &&str| {
        let right = |thing: &_| format!("{verb} {}", AsRef::<str>::as_ref(thing));
        things.iter().map(right).collect::<Rights>()
    };
    verbs.iter().flat_map(of_one).collect()
}

/// All that this credential may do in a namespace, as the API server lists it. What it may do in the whole cluster is
/// in the list of every namespace.
fn rights_in(tenant: &Cluster, namespace: &str) -> Rights {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    });
    let answer = tenant
        .kubectl_with_input(
            &["create", "--validate=false", "-f", "-", "-o", "json"],
            &review.to_string(),
        )
        .unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let status = &answer["status"];
    assert_eq!(status["incomplete"], false, "not the whole list: {status}");
    let rules = |kind: &str| status[kind].as_array().cloned().unwrap_or_default();
    let mut rights = Rights::new();
    for rule in rules("resourceRules") {
        rights.extend(each(&texts(&rule["verbs"]), &resources(&rule)));
    }
    for rule in rules("nonResourceRules") {
        rights.extend(each(&texts(&rule["verbs"]), &texts(&rule["nonResourceURLs"])));
    }
    rights
}

/// The resources of a rule with their groups, and with their names where it is for these only.
fn resources(rule: &Value) -> Vec<String> {
    let names = texts(&rule["resourceNames"]);
    let mut found = Vec::new();
    for group in texts(&rule["apiGroups"]) {
        for resource in texts(&rule["resources"]) {
            let resource = format!("{resource}.{group}");
            let resource = resource.trim_end_matches('.');
            if names.is_empty() {
                found.push(resource.to_owned());
            }
            found.extend(names.iter().map(|name| format!("{resource} named {name}")));
        }
    }
    found
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[track_caller]
fn may_exactly(tenant: &Cluster, namespace: &str, wanted: &Rights) {
    let found = rights_in(tenant, namespace);
    let (more, less) = (&found - wanted, wanted - &found);
    assert!(
        more.is_empty() && less.is_empty(),
        "in {namespace} a tenant may also {more:?}, and may not {less:?}"
    );
}

#[test]
fn a_tenant_credential_may_do_what_its_ccm_needs_in_its_hub_namespace_and_nothing_else_anywhere() {
    let lab = lab();
    let (hub, own) = (&lab.hub, hub_namespace(&lab.tenant_a));
    let file = std::env::temp_dir().join(format!("e2e-{}-{own}.kubeconfig", std::process::id()));
    std::fs::write(&file, ccm::issued(hub, &lab.tenant_a).unwrap()).unwrap();
    let tenant = hub.with_kubeconfig(file.clone());
    may_exactly(&tenant, own, &(&of_everybody() | &of_a_tenant()));

    let namespaces = hub.kubectl(&["get", "namespaces", "-o", "name"]).unwrap();
    let others: Vec<&str> = namespaces
        .lines()
        .filter_map(|name| name.strip_prefix("namespace/"))
        .filter(|name| *name != own)
        .collect();
    assert!(others.contains(&hub_namespace(&lab.tenant_b)), "{others:?}");
    for namespace in others {
        may_exactly(&tenant, namespace, &of_everybody());
    }
    std::fs::remove_file(file).unwrap();
}
