//! Runs the xDS server as soon as its certificate is there, and takes new certificates into use while it runs.

use std::time::Duration;

use controller_kit::CancellationToken;
use controller_kit::args::BindAddress;
use controller_kit::ready::Readiness;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use l4_xds::identity::{Tls, TlsError};
use l4_xds::server::{ControlPlane, Limits, ServeError};
use l4_xds::{Cache, Metrics, ReportHub};

use crate::context::Context;
use crate::controller::pki::material;
use crate::pki::{CA_SECRET, SERVER_SECRET};

/// How often the stores are asked for certificates. It costs no request.
const LOOK: Duration = Duration::from_secs(1);

/// Envoys of one fleet that are served. The Config lets a fleet have a thousand, and while they are replaced there are
/// twice as many.
const STREAMS: usize = 2000;

/// What the server shares with the controllers.
pub struct Plane {
    /// What to serve.
    pub cache: Cache,
    /// What Envoys said.
    pub reports: ReportHub,
    /// Metrics.
    pub metrics: Metrics,
}

/// The xDS server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum XdsError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address} for xDS")]
    Bind {
        /// Where.
        address: BindAddress,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error("cannot use the xDS server's certificate")]
    Tls(#[from] TlsError),
    /// Serving ended with an error.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// When it cannot listen, or ends by itself.
pub async fn run(
    ctx: &Context,
    plane: Plane,
    address: &BindAddress,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> Result<(), XdsError> {
    let mut ready = readiness.register("xds");
    let bound = address.bind().await;
    let listener = bound.map_err(|source| XdsError::Bind {
        address: address.clone(),
        source,
    })?;
    let first = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        first = first_material(ctx) => first,
    };
    let tls = Tls::new(&first)?;
    let Some(listener) = listener else {
        ready.ready();
        stop.cancelled().await;
        return Ok(());
    };
    let Plane {
        cache,
        reports,
        metrics,
    } = plane;
    let server = ControlPlane {
        tls: tls.clone(),
        cache,
        reports,
        metrics,
        limits: Limits {
            streams_per_fleet: STREAMS,
            ..Limits::default()
        },
    };
    ready.ready();
    tokio::select! {
        served = server.serve(listener, stop.clone()) => Ok(served?),
        () = keep_fresh(ctx, &tls) => Ok(()),
    }
}

async fn first_material(ctx: &Context) -> l4_xds::TlsMaterial {
    ctx.stores.synced().await;
    loop {
        match material(ctx) {
            Ok(Some(material)) => return material,
            Ok(None) => tracing::debug!("waiting for the xDS server's certificate"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "certificate not usable"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Never ends.
async fn keep_fresh(ctx: &Context, tls: &Tls) {
    let mut current = versions(ctx);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = versions(ctx);
        if now == current {
            continue;
        }
        current = now;
        let Ok(Some(material)) = material(ctx) else {
            continue;
        };
        match tls.reload(&material) {
            Ok(()) => tracing::info!("took new certificates into use"),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "kept the old certificates"
            ),
        }
    }
}

fn versions(ctx: &Context) -> [Option<String>; 2] {
    [CA_SECRET, SERVER_SECRET].map(|name| {
        let secret = ctx.stores.secrets.get(&ctx.options.namespace, name);
        secret.and_then(|s: std::sync::Arc<Secret>| s.resource_version())
    })
}
