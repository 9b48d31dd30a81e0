//! How long shadow Services, and certificate authorities on the hub, stay when nobody needs them any more.
//!
//! The hub says that it does without one when its Envoys are told so; the last of them may still be a moment
//! behind, and what it sends meanwhile would be refused. A backend that its Envoys know for a while longer is asked
//! for its certificate as long, and a route that waits for a moment will need again what it needed.

use std::collections::BTreeSet;
use std::time::Duration;

use api::meta::COMPONENT_LABEL;
use api::v1alpha1::SyncSecretType;
use controller_kit::diff::Plan;
use controller_kit::linger::Linger;
use controller_kit::{Object, ObjectKey};
use gateway_semantics::{SERVICE_NAME_LABEL, SHADOW_COMPONENT};
use tokio::time::Instant;

/// Nobody must have needed a shadow for so long, without interruption.
const LINGER: Duration = Duration::from_secs(10);
/// The same for authorities. The hub keeps backends for ten seconds.
const AUTHORITIES_LINGER: Duration = Duration::from_secs(15);

/// What is there for nobody.
#[derive(Debug)]
pub struct Lingering {
    shadows: Linger,
    authorities: Linger,
}

impl Default for Lingering {
    fn default() -> Self {
        Self {
            shadows: Linger::new(LINGER),
            authorities: Linger::new(AUTHORITIES_LINGER),
        }
    }
}

impl Lingering {
    /// Leaves out of what is to be removed the shadows that nobody needs only since lately, with their slices, and
    /// tells when the next one is due. Forgets those that are needed again.
    pub(super) fn hold_back(&self, services: &mut Plan, slices: &mut Plan, now: Instant) -> Option<Duration> {
        let keys = |services: &[Object]| -> BTreeSet<ObjectKey> {
            services.iter().map(|service| service.id().key.clone()).collect()
        };
        let unneeded = keys(&services.delete);
        let due_in = self
            .shadows
            .hold_back(&mut services.delete, |_| true, is_shadow, now);
        let going = keys(&services.delete);
        // Slices of a shadow that stays for longer go at once: what they name is gone.
        let stays = |service: ObjectKey| unneeded.contains(&service) && !going.contains(&service);
        slices.delete.retain(|slice| !stays(service_of(slice)));
        due_in
    }

    /// Leaves out of the SyncSecrets that are to be removed those with authorities that nobody needs only since
    /// lately, and tells when the next one is due. What holds a key goes at once.
    pub(super) fn hold_back_authorities(&self, secrets: &mut Plan, now: Instant) -> Option<Duration> {
        (self.authorities).hold_back(&mut secrets.delete, |_| true, holds_authorities, now)
    }

    /// It is not known what is needed.
    pub(super) fn forget(&self) {
        self.shadows.forget();
        self.authorities.forget();
    }
}

fn holds_authorities(secret: &Object) -> bool {
    secret.value()["spec"]["type"] == SyncSecretType::Opaque.as_str()
}

fn is_shadow(service: &Object) -> bool {
    service.label(COMPONENT_LABEL) == Some(SHADOW_COMPONENT)
}

fn service_of(slice: &Object) -> ObjectKey {
    let namespace = &slice.id().key.namespace;
    ObjectKey::new(namespace, slice.label(SERVICE_NAME_LABEL).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::SyncSecret;
    use gateway_semantics::GATEWAY_COMPONENT;
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use serde_json::json;

    use super::*;

    fn service(name: &str, component: &str) -> Object {
        let service =
            json!({"metadata": {"namespace": "shop", "name": name, "labels": {COMPONENT_LABEL: component}}});
        Object::typed(&serde_json::from_value::<Service>(service).unwrap()).unwrap()
    }

    fn slice(service: &str) -> Object {
        let slice = json!({"metadata": {"namespace": "shop", "name": "e", "labels": {SERVICE_NAME_LABEL: service}},
            "addressType": "IPv4", "endpoints": []});
        Object::typed(&serde_json::from_value::<EndpointSlice>(slice).unwrap()).unwrap()
    }

    /// One run that finds these unneeded. Says how many of them go, and when the next one may.
    fn run(
        lingering: &Lingering,
        services: &[Object],
        slices: &[Object],
        now: Instant,
    ) -> (usize, Option<u64>) {
        let plan = |delete: &[Object]| Plan {
            delete: delete.to_vec(),
            ..Plan::default()
        };
        let (mut services, mut slices) = (plan(services), plan(slices));
        let due_in = lingering.hold_back(&mut services, &mut slices, now);
        (
            services.delete.len() + slices.delete.len(),
            due_in.map(|due| due.as_secs()),
        )
    }

    #[test]
    fn a_shadow_and_its_slices_go_after_a_time_and_together() {
        let lingering = Lingering::default();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let (services, slices) = ([service("s", SHADOW_COMPONENT)], [slice("s")]);
        assert_eq!(run(&lingering, &services, &slices, at(0)), (0, Some(10)));
        assert_eq!(run(&lingering, &services, &slices, at(7)), (0, Some(3)));
        assert_eq!(run(&lingering, &services, &slices, at(10)), (2, None));
        assert_eq!(run(&lingering, &[], &[], at(11)), (0, None));
    }

    #[test]
    fn a_shadow_that_is_needed_in_between_or_may_be_stays_for_the_whole_time_again() {
        let lingering = Lingering::default();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let services = [service("s", SHADOW_COMPONENT)];
        assert_eq!(run(&lingering, &services, &[], at(0)), (0, Some(10)));
        assert_eq!(run(&lingering, &[], &[], at(9)), (0, None));
        assert_eq!(run(&lingering, &services, &[], at(12)), (0, Some(10)));
        lingering.forget();
        assert_eq!(run(&lingering, &services, &[], at(22)), (0, Some(10)));
    }

    #[test]
    fn slices_of_a_shadow_that_stays_and_services_of_gateways_go_at_once() {
        let lingering = Lingering::default();
        let services = [service("s", SHADOW_COMPONENT), service("g", GATEWAY_COMPONENT)];
        let slices = [slice("needed"), slice("g"), slice("s")];
        assert_eq!(run(&lingering, &services, &slices, Instant::now()), (3, Some(10)));
    }

    #[test]
    fn authorities_stay_longer_than_the_hubs_backends_and_keys_go_at_once() {
        let secret = |name: &str, type_: &str| {
            let secret = json!({"metadata": {"namespace": "tenant-a", "name": name}, "spec": {"type": type_, "data": {}}});
            Object::typed(&serde_json::from_value::<SyncSecret>(secret).unwrap()).unwrap()
        };
        let lingering = Lingering::default();
        let start = Instant::now();
        let run = |seconds: u64| {
            let mut plan = Plan {
                delete: vec![secret("ca", "Opaque"), secret("cert", "kubernetes.io/tls")],
                ..Plan::default()
            };
            let due_in = lingering.hold_back_authorities(&mut plan, start + Duration::from_secs(seconds));
            (plan.delete.len(), due_in.map(|due| due.as_secs()))
        };
        assert_eq!(run(0), (1, Some(15)));
        assert_eq!(run(14), (1, Some(1)));
        assert_eq!(run(15), (2, None));
    }
}
