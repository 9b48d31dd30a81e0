//! One sign of life a minute: the only write that is not caused by a change.

use std::time::Duration;

use api::meta::DEFAULT_NAME;
use api::v1alpha1::{Heartbeat, TenantState};
use controller_kit::CancellationToken;
use controller_kit::backoff::jitter;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::Context;
use crate::hub::fault::chain;
use crate::{FIELD_MANAGER, VERSION};

/// Time between two heartbeats.
const PERIOD: Duration = Duration::from_secs(60);
/// Time between two looks at whether writing is allowed.
const WAIT: Duration = Duration::from_secs(1);

/// Writes the heartbeat while this process may write to the hub.
pub async fn run(context: Context, cluster_uid: String, stop: CancellationToken) {
    let api: Api<TenantState> = Api::namespaced(context.hub.clone(), &context.hub_namespace);
    loop {
        let mut pause = WAIT;
        if context.gate.may_write_hub() {
            pause = PERIOD;
            if let Err(error) = beat(&api, &cluster_uid, Timestamp::now()).await {
                tracing::warn!(
                    tenant = &*context.hub_namespace,
                    error = chain(&error),
                    "heartbeat not written"
                );
                pause = Duration::from_secs(10);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(jitter(pause, 0.05)) => {}
        }
    }
}

async fn beat(api: &Api<TenantState>, cluster_uid: &str, now: Timestamp) -> Result<(), kube::Error> {
    let time = Time(now);
    let heartbeat = Heartbeat {
        time,
        version: VERSION.to_owned(),
        cluster_uid: cluster_uid.to_owned(),
    };
    // A merge patch of the spec only: nothing else of this object is ours, and apply would make it if it is gone.
    let patch = Patch::Merge(json!({"spec": {"heartbeat": heartbeat}}));
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch(DEFAULT_NAME, &params, &patch).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use controller_kit::test_support::{MemoryApi, NOW};

    use super::*;

    #[tokio::test]
    async fn a_heartbeat_is_a_merge_patch_of_the_spec_only() {
        let hub = MemoryApi::new();
        hub.put(
            "/apis/kubelb.k8c.io/v1alpha1/namespaces/tenant-a/tenantstates",
            json!({"apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "TenantState",
                "metadata": {"namespace": "tenant-a", "name": "default"}, "spec": {}, "status": {"tenant": "a"}}),
        );
        let api: Api<TenantState> = Api::namespaced(hub.client(), "tenant-a");
        beat(&api, "uid-1", NOW).await.unwrap();
        let writes = hub.fake().writes();
        assert_eq!(writes.len(), 1);
        assert_eq!(
            writes[0].content_type.as_deref(),
            Some("application/merge-patch+json")
        );
        let body = json!({"spec": {"heartbeat": {"time": "2026-01-01T00:00:00Z", "version": VERSION, "clusterUID": "uid-1"}}});
        assert_eq!(writes[0].body, body);
    }
}
