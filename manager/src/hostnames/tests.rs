use api::v1alpha1::{DnsSettings, Tenant, TenantSpec};
use serde_json::json;

use super::*;
use crate::settings::merge;

fn settings(explicit: bool) -> TenantSettings {
    let dns = DnsSettings {
        wildcard_domain: Some("*.lb.example.com".into()),
        allow_explicit_hostnames: Some(explicit),
        ..DnsSettings::default()
    };
    let spec = TenantSpec {
        dns: Some(dns),
        allowed_domains: Some(vec!["**.example.com".into()]),
        ..TenantSpec::default()
    };
    merge(&Tenant::new("a", spec), None, "kubelb")
}

fn lb(namespace: &str, name: &str, second: i64, service: &str, hostname: Option<&str>) -> Arc<LoadBalancer> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": name, "uid": name,
                "annotations": {"kubelb.k8c.io/origin-name": service, "kubelb.k8c.io/origin-ns": "shop"},
                "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
            "spec": {"type": "LoadBalancer", "endpoints": [], "ports": [], "hostname": hostname},
        }))
        .unwrap(),
    )
}

fn requesting(value: &str, origin: Option<&str>) -> LoadBalancer {
    let mut lb = (*lb("tenant-a", "own", 0, "web", None)).clone();
    let annotations = lb.annotations_mut();
    annotations.insert(meta::REQUEST_WILDCARD_DOMAIN.into(), value.into());
    match origin {
        Some(origin) => drop(annotations.insert(meta::ORIGIN_NAME.into(), origin.into())),
        None => drop(annotations.remove(meta::ORIGIN_NAME)),
    }
    lb
}

/// The hub Service that was written for the name in force.
fn recorded(lb: &LoadBalancer, hostname: &str) -> Arc<Service> {
    let mut service = Service::default();
    service.metadata.name = Some(hub_service::name(&lb.namespace().unwrap(), &lb.name_any()));
    service
        .annotations_mut()
        .insert(meta::HOSTNAME.into(), hostname.into());
    Arc::new(service)
}

fn claimant<'a>(
    namespace: &'a str,
    settings: &'a TenantSettings,
    load_balancers: &'a [Arc<LoadBalancer>],
    services: &'a [Arc<Service>],
) -> Claimant<'a> {
    Claimant {
        namespace,
        settings,
        load_balancers,
        services,
    }
}

fn refused<T>(result: Result<T, Refusal>) -> Option<&'static str> {
    result.err().map(|refusal| refusal.reason)
}

#[test]
fn a_service_is_named_below_the_hubs_domain() {
    let first = |lb: &LoadBalancer| wanted(lb, &settings(false)).unwrap().into_iter().next();
    let web = lb("tenant-a", "1", 0, "web", None);
    assert_eq!(first(&web).as_deref(), Some("web.lb.example.com"));
    assert_eq!(first(&lb("tenant-a", "1", 0, "a.b", None)), None);
    let by_hand = requesting("maybe", None);
    assert_eq!(first(&by_hand), None);
}

#[test]
fn a_service_can_want_no_name_and_one_by_hand_can_ask_for_one() {
    let names = |lb: &LoadBalancer| wanted(lb, &settings(false)).unwrap();
    assert_eq!(names(&requesting("false", Some("web"))), Vec::<String>::new());
    assert_eq!(names(&requesting("true", Some("web")))[0], "web.lb.example.com");
    let mut by_hand = requesting("True", None);
    by_hand.spec.type_ = LoadBalancerType::ClusterIP;
    assert_eq!(names(&by_hand)[0], "own.lb.example.com");
}

#[test]
fn who_asks_for_a_name_that_cannot_be_made_is_told_why() {
    let without = merge(&Tenant::new("a", TenantSpec::default()), None, "kubelb");
    let asking = requesting("true", Some("web"));
    assert_eq!(refused(wanted(&asking, &without)), Some("NoWildcardDomain"));
    let dotted = requesting("true", Some("a.b"));
    assert_eq!(
        refused(wanted(&dotted, &settings(false))),
        Some("HostnameNotAllowed")
    );
}

#[test]
fn a_name_of_ones_own_needs_the_permission_and_the_domain() {
    let asking = |name| lb("tenant-a", "1", 0, "web", Some(name));
    let refusal = |name, explicit| refused(wanted(&asking(name), &settings(explicit)));
    assert_eq!(refusal("shop.example.com", false), Some("HostnameNotAllowed"));
    assert_eq!(
        wanted(&asking("Shop.example.com."), &settings(true)).unwrap(),
        ["shop.example.com"]
    );
    assert_eq!(refusal("shop.example.org", true), Some("DomainNotAllowed"));
    assert_eq!(refusal("*.example.com", true), Some("DomainNotAllowed"));
}

#[test]
fn an_explicit_name_goes_to_the_oldest_and_to_the_next_when_that_one_goes() {
    let settings = settings(true);
    let name = Some("shop.example.com");
    let old = [lb("tenant-b", "2", 1, "web", name)];
    let young = [lb("tenant-a", "1", 5, "web", name)];
    let both = table([
        claimant("tenant-a", &settings, &young, &[]),
        claimant("tenant-b", &settings, &old, &[]),
    ]);
    let held = |lb: &LoadBalancer, table: &HostnameTable| in_force(lb, &settings, table);
    assert_eq!(held(&old[0], &both), Ok(Some("shop.example.com".into())));
    assert_eq!(refused(held(&young[0], &both)), Some("HostnameConflict"));
    let rest = table([claimant("tenant-a", &settings, &young, &[])]);
    assert_eq!(held(&young[0], &rest), Ok(Some("shop.example.com".into())));
    assert_eq!(
        both.changed_namespaces(&rest),
        BTreeSet::from(["tenant-a".to_owned(), "tenant-b".to_owned()])
    );
}

#[test]
fn two_services_of_one_name_get_two_names_and_keep_them() {
    let settings = settings(false);
    let old = lb("tenant-a", "1", 1, "web", None);
    let young = lb("tenant-b", "2", 5, "web", None);
    let [a, b] = [[old.clone()], [young.clone()]];
    let both = table([
        claimant("tenant-a", &settings, &a, &[]),
        claimant("tenant-b", &settings, &b, &[]),
    ]);
    assert_eq!(
        in_force(&old, &settings, &both).unwrap().unwrap(),
        "web.lb.example.com"
    );
    let turned = table([
        claimant("tenant-b", &settings, &b, &[]),
        claimant("tenant-a", &settings, &a, &[]),
    ]);
    assert_eq!(both, turned, "whoever is looked at first");
    let second = in_force(&young, &settings, &both).unwrap().unwrap();
    assert!(
        second.starts_with("web-") && second.ends_with(".lb.example.com"),
        "{second}"
    );
    // The first form is free again, and nobody's name changes for that.
    let records = [recorded(&young, &second)];
    let rest = table([claimant("tenant-b", &settings, &b, &records)]);
    assert_eq!(in_force(&young, &settings, &rest).unwrap().unwrap(), second);
}

#[test]
fn who_has_a_name_keeps_it_from_an_older_one_that_comes_to_want_it() {
    let settings = settings(true);
    let web = lb("tenant-a", "1", 5, "web", None);
    let older = lb("tenant-b", "2", 1, "x", Some("web.lb.example.com"));
    let records = [recorded(&web, "web.lb.example.com")];
    let [a, b] = [[web.clone()], [older.clone()]];
    let both = table([
        claimant("tenant-b", &settings, &b, &[]),
        claimant("tenant-a", &settings, &a, &records),
    ]);
    assert_eq!(
        in_force(&web, &settings, &both).unwrap().unwrap(),
        "web.lb.example.com"
    );
    assert_eq!(
        refused(in_force(&older, &settings, &both)),
        Some("HostnameConflict")
    );
}

#[test]
fn while_a_load_balancer_has_two_hub_services_the_name_counts_that_either_records() {
    let settings = settings(false);
    let older = [lb("tenant-b", "2", 1, "web", None)];
    let web = [lb("tenant-a", "1", 5, "web", None)];
    let with = recorded(&web[0], "web.lb.example.com");
    let without = recorded(&web[0], "old.lb.example.com");
    for records in [[with.clone(), without.clone()], [without, with]] {
        let both = table([
            claimant("tenant-a", &settings, &web, &records),
            claimant("tenant-b", &settings, &older, &[]),
        ]);
        assert_eq!(
            in_force(&web[0], &settings, &both).unwrap().unwrap(),
            "web.lb.example.com"
        );
    }
}

#[test]
fn a_record_of_a_name_that_one_may_not_have_any_more_counts_for_nothing() {
    let settings = settings(true);
    let web = lb("tenant-a", "1", 5, "web", None);
    let records = [recorded(&web, "bank.example.com")];
    let table = table([claimant(
        "tenant-a",
        &settings,
        std::slice::from_ref(&web),
        &records,
    )]);
    assert_eq!(
        in_force(&web, &settings, &table).unwrap().unwrap(),
        "web.lb.example.com"
    );
}

#[test]
fn names_are_not_to_be_had_beyond_the_limit_or_with_l4_switched_off() {
    let all = [
        lb("tenant-a", "1", 1, "web", None),
        lb("tenant-a", "2", 2, "api", None),
    ];
    let mut limited = settings(false);
    limited.limits.load_balancers = Some(1);
    let HostnameTable(names) = table([claimant("tenant-a", &limited, &all, &[])]);
    assert_eq!(names.into_keys().collect::<Vec<_>>(), ["web.lb.example.com"]);
    limited.load_balancer.disable = Some(true);
    assert_eq!(
        table([claimant("tenant-a", &limited, &all, &[])]),
        HostnameTable::default()
    );
}

#[test]
fn the_second_form_of_a_long_name_is_still_a_label() {
    let long = "a".repeat(63);
    let names = wanted(&lb("tenant-a", "1", 0, &long, None), &settings(false)).unwrap();
    assert_eq!(names.len(), 2);
    assert!(
        names
            .iter()
            .all(|name| name.split('.').all(|label| label.len() <= 63))
    );
}
