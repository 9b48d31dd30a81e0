//! All custom resource definitions, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::v1alpha1::{Addresses, Config, LoadBalancer, Route, SyncSecret, Tenant, TenantState};

/// Every definition, by name.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        Addresses::crd(),
        Config::crd(),
        LoadBalancer::crd(),
        Route::crd(),
        SyncSecret::crd(),
        Tenant::crd(),
        TenantState::crd(),
    ]
}
