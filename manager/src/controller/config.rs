//! What is said about the Config: whether its values are usable, and whether Envoy Gateway is ready for L7.

use api::condition::{self, ConditionValue};
use api::v1alpha1::config_condition as reason;
use api::v1alpha1::{Config, ConfigSpec, ConfigStatus};
use controller_kit::driver::Outcome;
use gateway_translator::{Kind, Resource};
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Affinity, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use serde_json::Value;

use crate::context::{Context, Error, VERSION, now};

/// One run.
///
/// # Errors
/// When the status cannot be written.
pub async fn run(ctx: &Context) -> Result<Outcome, Error> {
    if !ctx.leads() || ctx.stores.proof().is_none() {
        return Ok(Outcome::done());
    }
    let Some(config) = ctx.config() else {
        return Ok(Outcome::done());
    };
    let class = config.spec.gateway_api.as_ref().and_then(|g| g.class.clone());
    let class = class.unwrap_or_else(|| ctx.options.gateway_class.clone());
    let found = ctx.stores.gateway_classes.get("", &class);
    let installed = ctx.stores.gateway_classes.is_installed();
    let ready = envoy_gateway(
        ctx.options.gateway_api,
        installed,
        &class,
        found.as_deref().map(|c| &c.data),
        &lacking(ctx),
    );
    let status = status(&config, ready, now());
    let api: Api<Config> = Api::namespaced(ctx.client.clone(), &ctx.options.namespace);
    ctx.write_status(&api, config.as_ref(), &status).await?;
    Ok(Outcome::done())
}

fn status(config: &Config, ready: ConditionValue, now: Timestamp) -> ConfigStatus {
    let generation = config.metadata.generation.unwrap_or_default();
    let before = config
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    let values = [accepted(&config.spec), ready];
    ConfigStatus {
        observed_generation: Some(generation),
        version: VERSION.to_owned(),
        conditions: condition::merge(before, &values, generation, &Time(now)),
    }
}

/// The schema refuses most of it before; what is left is named here.
fn accepted(spec: &ConfigSpec) -> ConditionValue {
    let mut wrong = Vec::new();
    for (field, ranges) in [
        ("endpointCIDRs", &spec.endpoint_cidrs),
        ("deniedEndpointCIDRs", &spec.denied_endpoint_cidrs),
    ] {
        let bad = ranges.iter().filter(|range| range.parse::<IpNet>().is_err());
        wrong.extend(bad.map(|range| format!("{field}: {range:?} is no range such as 10.0.0.0/8")));
    }
    for toleration in &spec.envoy_proxy.tolerations {
        if let Err(error) = serde_json::from_value::<Toleration>(toleration.0.clone()) {
            wrong.push(format!("envoyProxy.tolerations: {error}"));
        }
    }
    let affinity = spec.envoy_proxy.affinity.as_ref();
    if let Some(Err(error)) = affinity.map(|raw| serde_json::from_value::<Affinity>(raw.0.clone())) {
        wrong.push(format!("envoyProxy.affinity: {error}"));
    }
    if wrong.is_empty() {
        ConditionValue::new(
            reason::ACCEPTED,
            true,
            reason::REASON_ACCEPTED,
            "all settings are in force",
        )
    } else {
        ConditionValue::new(reason::ACCEPTED, false, reason::REASON_INVALID, wrong.join("; "))
    }
}

/// What Envoy Gateway lacks, as far as it can be seen from here.
fn lacking(ctx: &Context) -> Vec<String> {
    let objects = &ctx.stores.envoy_gateway;
    let kinds = objects.not_installed();
    let mut lacking: Vec<String> = kinds
        .iter()
        .map(|kind| {
            let Resource { group, plural, .. } = kind.resource();
            format!("the kind {plural}.{group} is not installed")
        })
        .collect();
    let policies = objects.all(Kind::EnvoyPatchPolicy);
    if policies.iter().any(|policy| is_disabled(&policy.data)) {
        lacking.push("its setting extensionApis.enableEnvoyPatchPolicy is off".to_owned());
    }
    lacking
}

fn is_disabled(policy: &Value) -> bool {
    let items = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_array).cloned();
    let ancestors = items(policy, "/status/ancestors").unwrap_or_default();
    let mut conditions = ancestors
        .iter()
        .flat_map(|ancestor| items(ancestor, "/conditions").unwrap_or_default());
    conditions.any(|condition| condition.get("reason") == Some(&Value::from("Disabled")))
}

/// `class` is the GatewayClass's content beside its metadata.
fn envoy_gateway(
    enabled: bool,
    installed: bool,
    name: &str,
    class: Option<&Value>,
    lacking: &[String],
) -> ConditionValue {
    let not = |message: String| {
        ConditionValue::new(
            reason::ENVOY_GATEWAY_READY,
            false,
            reason::REASON_CLASS_NOT_ACCEPTED,
            message,
        )
    };
    if !enabled {
        return not("the Gateway API is switched off on the command line".to_owned());
    }
    if !installed {
        return not("the Gateway API is not installed: there is no kind GatewayClass".to_owned());
    }
    let Some(class) = class else {
        return not(format!("there is no GatewayClass {name:?}"));
    };
    let conditions = class.pointer("/status/conditions").and_then(Value::as_array);
    let accepted = conditions
        .into_iter()
        .flatten()
        .find(|c| c.get("type") == Some(&Value::from("Accepted")));
    match accepted {
        Some(c) if c.get("status") == Some(&Value::from("True")) && !lacking.is_empty() => {
            ConditionValue::new(
                reason::ENVOY_GATEWAY_READY,
                false,
                reason::REASON_SETTING_MISSING,
                format!(
                    "Envoy Gateway is not all that routes need: {}",
                    lacking.join("; ")
                ),
            )
        }
        Some(c) if c.get("status") == Some(&Value::from("True")) => ConditionValue::new(
            reason::ENVOY_GATEWAY_READY,
            true,
            reason::REASON_READY,
            format!("GatewayClass {name:?} is accepted"),
        ),
        Some(c) => {
            let message = c.get("message").and_then(Value::as_str).unwrap_or_default();
            not(format!("GatewayClass {name:?} is not accepted: {message}"))
        }
        None => not(format!(
            "no controller has accepted GatewayClass {name:?}; is Envoy Gateway running?"
        )),
    }
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::RawObject;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_envoy_gateway_lacks_is_named() {
        let waiting = json!({"status": {"conditions": [{"type": "Accepted", "status": "Unknown", "message": "waiting"}]}});
        let accepted = json!({"status": {"conditions": [{"type": "Accepted", "status": "True"}]}});
        let said: Vec<String> = [
            envoy_gateway(false, true, "kubelb", None, &[]),
            envoy_gateway(true, false, "kubelb", None, &[]),
            envoy_gateway(true, true, "kubelb", None, &[]),
            envoy_gateway(true, true, "kubelb", Some(&json!({})), &[]),
            envoy_gateway(true, true, "kubelb", Some(&waiting), &[]),
            envoy_gateway(true, true, "kubelb", Some(&accepted), &["a".into(), "b".into()]),
            envoy_gateway(true, true, "kubelb", Some(&accepted), &[]),
        ]
        .into_iter()
        .map(|c| format!("{} {}: {}", c.status.as_str(), c.reason, c.message))
        .collect();
        insta::assert_yaml_snapshot!(said);
    }

    #[test]
    fn a_policy_that_envoy_gateway_leaves_aside_tells_that_they_are_switched_off() {
        let said = |reason: &str| json!({"status": {"ancestors": [{"conditions": [{"reason": reason}]}]}});
        assert!(is_disabled(&said("Disabled")));
        assert!(!is_disabled(&said("Accepted")));
        assert!(!is_disabled(&json!({})));
    }

    #[test]
    fn settings_that_cannot_be_used_are_named_by_field() {
        let spec = ConfigSpec {
            denied_endpoint_cidrs: vec!["10.0.0.0/33".into()],
            envoy_proxy: api::v1alpha1::EnvoyProxySettings {
                tolerations: vec![RawObject(json!({"key": 1}))],
                affinity: Some(RawObject(json!({"nodeAffinity": "near"}))),
                ..Default::default()
            },
            ..ConfigSpec::default()
        };
        let condition = accepted(&spec);
        assert_eq!(condition.reason, "Invalid");
        assert!(
            condition.message.contains("deniedEndpointCIDRs: \"10.0.0.0/33\""),
            "{}",
            condition.message
        );
        for field in ["envoyProxy.tolerations", "envoyProxy.affinity"] {
            assert!(condition.message.contains(field), "{}", condition.message);
        }
    }
}
