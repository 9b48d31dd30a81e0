//! One token that is cancelled when the process is asked to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A signal handler could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for {name}")]
pub struct ShutdownError {
    name: &'static str,
    #[source]
    source: std::io::Error,
}

/// Cancelled on the first SIGTERM or SIGINT. A second signal ends the process at once.
///
/// Must be called inside a tokio runtime.
pub fn on_signal() -> Result<CancellationToken, ShutdownError> {
    let mut term = listen(SignalKind::terminate(), "SIGTERM")?;
    let mut int = listen(SignalKind::interrupt(), "SIGINT")?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        next(&mut term, &mut int).await;
        tracing::info!("asked to stop");
        stop.cancel();
        next(&mut term, &mut int).await;
        tracing::warn!("asked to stop twice: leaving at once");
        std::process::exit(1);
    });
    Ok(token)
}

fn listen(kind: SignalKind, name: &'static str) -> Result<Signal, ShutdownError> {
    signal(kind).map_err(|source| ShutdownError { name, source })
}

async fn next(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
