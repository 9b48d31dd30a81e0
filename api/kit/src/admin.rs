//! The HTTP side door: probes, metrics and the log level.
//!
//! Probes and metrics have addresses of their own. Only the probe address takes the log level, and it shows no
//! content of objects.

use std::{future::IntoFuture, io};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{args::BindAddress, metrics::Metrics, ready::Readiness, telemetry::LogControl};

/// The side door cannot be opened, or broke.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address} for {purpose}")]
    Bind {
        /// Where.
        address: BindAddress,
        /// What for.
        purpose: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Serving ended with an error.
    #[error("cannot serve {purpose}")]
    Serve {
        /// What.
        purpose: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What the side door shows.
#[derive(Clone)]
pub struct Admin {
    /// What the process still waits for.
    pub readiness: Readiness,
    /// What is served as metrics.
    pub metrics: Metrics,
    /// How the log level is changed; without it that is not offered.
    pub log: Option<LogControl>,
}

impl Admin {
    /// Listens on both addresses and serves until `stop` is cancelled. Where both are the same address, one
    /// server answers everything.
    pub async fn serve(
        self,
        probes: &BindAddress,
        metrics: &BindAddress,
        stop: &CancellationToken,
    ) -> Result<(), AdminError> {
        if probes == metrics {
            let listener = bind(probes, "probes and metrics").await?;
            let app = self.probe_router().merge(self.metrics_router());
            return serve(listener, app, "probes and metrics", stop).await;
        }
        let (probe_listener, metrics_listener) =
            (bind(probes, "probes").await?, bind(metrics, "metrics").await?);
        tokio::try_join!(
            serve(probe_listener, self.probe_router(), "probes", stop),
            serve(metrics_listener, self.metrics_router(), "metrics", stop),
        )?;
        Ok(())
    }

    /// `/livez`, `/healthz`, `/readyz` and `/log-level`.
    pub fn probe_router(&self) -> Router {
        let router = Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz).with_state(self.readiness.clone()));
        match &self.log {
            None => router,
            Some(log) => router.route(
                "/log-level",
                put(set_log_level).get(log_level).with_state(log.clone()),
            ),
        }
    }

    /// `/metrics`.
    pub fn metrics_router(&self) -> Router {
        Router::new().route("/metrics", get(metrics_text).with_state(self.metrics.clone()))
    }
}

async fn bind(address: &BindAddress, purpose: &'static str) -> Result<Option<TcpListener>, AdminError> {
    address.bind().await.map_err(|source| AdminError::Bind {
        address: address.clone(),
        purpose,
        source,
    })
}

async fn serve(
    listener: Option<TcpListener>,
    app: Router,
    purpose: &'static str,
    stop: &CancellationToken,
) -> Result<(), AdminError> {
    let Some(listener) = listener else {
        stop.cancelled().await;
        return Ok(());
    };
    // Connections that are still open at the end are dropped, not waited for: a scraper may hold one for ever.
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        end = axum::serve(listener, app).into_future() => end.map_err(|source| AdminError::Serve { purpose, source }),
    }
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let waiting = readiness.waiting();
    if waiting.is_empty() {
        return "ok\n".into_response();
    }
    let text: String = waiting
        .iter()
        .map(|name| format!("waiting for {name}\n"))
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics_text(State(metrics): State<Metrics>) -> Response {
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn log_level(State(log): State<LogControl>) -> String {
    format!("{}\n", log.current())
}

async fn set_log_level(State(log): State<LogControl>, directives: String) -> Response {
    match log.set(directives.trim()) {
        Ok(()) => format!("{}\n", log.current()).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests;
