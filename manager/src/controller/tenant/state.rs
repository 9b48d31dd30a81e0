//! What is said to a tenant (TenantState) and about it (Tenant). Pure.

use api::condition::{self, ConditionValue};
use api::v1alpha1::tenant_condition as reason;
use api::v1alpha1::{Heartbeat, SharedGateway, Tenant, TenantState, TenantStateStatus, TenantStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::settings::TenantSettings;

/// A CCM writes once a minute; one that missed two is late.
pub const HEARTBEAT_TIMEOUT: SignedDuration = SignedDuration::from_mins(3);

/// Whether a Tenant has all it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// It has.
    pub ready: bool,
    /// Reason of the condition.
    pub reason: &'static str,
    /// A sentence for a person.
    pub message: String,
}

impl Readiness {
    /// All is there.
    #[must_use]
    pub fn reconciled() -> Self {
        Self {
            ready: true,
            reason: reason::REASON_RECONCILED,
            message: "namespace, credential and settings are there".into(),
        }
    }

    /// Something is not.
    #[must_use]
    pub fn not(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            ready: false,
            reason,
            message: message.into(),
        }
    }

    fn condition(&self) -> ConditionValue {
        ConditionValue::new(reason::READY, self.ready, self.reason, self.message.clone())
    }
}

/// The status of the Tenant.
#[must_use]
pub fn tenant_status(
    tenant: &Tenant,
    namespace: &str,
    readiness: &Readiness,
    heartbeat: Option<&Heartbeat>,
    now: Timestamp,
) -> TenantStatus {
    let generation = tenant.metadata.generation.unwrap_or_default();
    let before = tenant
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    let values = [readiness.condition(), connected(heartbeat, now)];
    TenantStatus {
        observed_generation: Some(generation),
        namespace: namespace.to_owned(),
        conditions: condition::merge(before, &values, generation, &Time(now)),
    }
}

/// Its words change only when its state does: a heartbeat a minute must not become a write a minute.
fn connected(heartbeat: Option<&Heartbeat>, now: Timestamp) -> ConditionValue {
    let Some(Heartbeat {
        time,
        version,
        cluster_uid,
    }) = heartbeat
    else {
        let message = "the tenant's CCM has not reported yet";
        return ConditionValue::new(reason::CONNECTED, false, reason::REASON_NO_HEARTBEAT, message);
    };
    if is_late(time.0, now) {
        let message = format!("the tenant's CCM has not reported since {}", time.0);
        return ConditionValue::new(reason::CONNECTED, false, reason::REASON_HEARTBEAT_LATE, message);
    }
    let message = format!("CCM {version} of cluster {cluster_uid} reports");
    ConditionValue::new(reason::CONNECTED, true, reason::REASON_HEARTBEAT, message)
}

fn is_late(heartbeat: Timestamp, now: Timestamp) -> bool {
    now.duration_since(heartbeat) > HEARTBEAT_TIMEOUT
}

/// When `Connected` may turn without anybody writing anything.
#[must_use]
pub fn turns_late_in(heartbeat: Option<&Heartbeat>, now: Timestamp) -> Option<SignedDuration> {
    let due = heartbeat?
        .time
        .0
        .checked_add(HEARTBEAT_TIMEOUT)
        .ok()?
        .duration_since(now);
    (due >= SignedDuration::ZERO).then(|| due + SignedDuration::from_secs(1))
}

/// What the tenant is told.
#[derive(Debug, Clone)]
pub struct Told<'a> {
    /// The Tenant.
    pub tenant: &'a Tenant,
    /// What holds for it.
    pub settings: &'a TenantSettings,
    /// Hub Gateways it may use.
    pub gateways: Vec<SharedGateway>,
    /// When its newest credential was issued.
    pub credential_issued_at: Option<Timestamp>,
    /// Whether all is there.
    pub readiness: &'a Readiness,
    /// Version of the manager.
    pub version: &'a str,
}

/// The status of its TenantState.
#[must_use]
pub fn tenant_state_status(
    told: Told<'_>,
    before: Option<&TenantState>,
    now: Timestamp,
) -> TenantStateStatus {
    let Told {
        tenant,
        settings,
        gateways,
        credential_issued_at,
        readiness,
        version,
    } = told;
    let generation = tenant.metadata.generation.unwrap_or_default();
    let conditions = before
        .and_then(|s| s.status.as_ref())
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    TenantStateStatus {
        observed_generation: Some(generation),
        tenant: tenant.name_any(),
        manager_version: version.to_owned(),
        load_balancer: settings.load_balancer.clone(),
        ingress: settings.ingress.clone(),
        gateway_api: settings.gateway_api.clone(),
        dns: settings.dns.clone(),
        annotations: settings.annotations.clone(),
        limits: settings.limits.clone(),
        allowed_domains: settings.allowed_domains.clone(),
        endpoint_cidrs: settings.endpoint_cidrs.clone(),
        gateways,
        credential_issued_at: credential_issued_at.map(Time),
        conditions: condition::merge(conditions, &[readiness.condition()], generation, &Time(now)),
    }
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::{DnsSettings, TenantSpec};

    use super::*;
    use crate::settings::merge;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn heartbeat(seconds: i64) -> Heartbeat {
        Heartbeat {
            time: Time(at(seconds)),
            version: "1.0.0".into(),
            cluster_uid: "c".into(),
        }
    }

    fn tenant() -> Tenant {
        let dns = DnsSettings {
            wildcard_domain: Some("lb.example.com".into()),
            ..DnsSettings::default()
        };
        let mut tenant = Tenant::new(
            "a",
            TenantSpec {
                allowed_domains: Some(vec!["**.example.com".into()]),
                endpoint_cidrs: Some(vec!["10.0.0.0/8".into()]),
                dns: Some(dns),
                ..TenantSpec::default()
            },
        );
        tenant.metadata.generation = Some(3);
        tenant
    }

    #[test]
    fn a_heartbeat_a_minute_changes_no_status() {
        let mut tenant = tenant();
        let readiness = Readiness::reconciled();
        let first = tenant_status(&tenant, "tenant-a", &readiness, Some(&heartbeat(0)), at(1));
        tenant.status = Some(first.clone());
        let second = tenant_status(&tenant, "tenant-a", &readiness, Some(&heartbeat(60)), at(61));
        assert_eq!(first, second);
        insta::assert_yaml_snapshot!(second);
    }

    #[test]
    fn a_ccm_that_falls_silent_is_late_once() {
        let mut tenant = tenant();
        let readiness = Readiness::reconciled();
        let late = tenant_status(&tenant, "tenant-a", &readiness, Some(&heartbeat(0)), at(181));
        assert_eq!(
            condition::find(&late.conditions, "Connected").unwrap().reason,
            "HeartbeatLate"
        );
        tenant.status = Some(late.clone());
        assert_eq!(
            late,
            tenant_status(&tenant, "tenant-a", &readiness, Some(&heartbeat(0)), at(900))
        );
    }

    #[test]
    fn the_timer_is_set_for_the_moment_it_turns_late_and_not_again_after_that() {
        assert_eq!(
            turns_late_in(Some(&heartbeat(0)), at(60)),
            Some(SignedDuration::from_secs(121))
        );
        assert_eq!(turns_late_in(Some(&heartbeat(0)), at(181)), None);
        assert_eq!(turns_late_in(None, at(0)), None);
    }

    #[test]
    fn the_tenant_is_told_the_settings_in_force() {
        let tenant = tenant();
        let settings = merge(&tenant, None, "kubelb");
        let told = Told {
            tenant: &tenant,
            settings: &settings,
            gateways: vec![],
            credential_issued_at: Some(at(0)),
            readiness: &Readiness::reconciled(),
            version: "0.1.0",
        };
        insta::assert_yaml_snapshot!(tenant_state_status(told, None, at(5)));
    }
}
