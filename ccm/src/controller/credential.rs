//! Looks after the hub credential: asks [`Exchange`] whenever TenantState is read.

use std::time::Duration;

use controller_kit::CancellationToken;
use controller_kit::backoff::jitter;
use controller_kit::events::Notice as Event;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use super::Context;
use crate::hub::credential::{CredentialError, Exchange};
use crate::hub::fault::chain;
use crate::notice::reason;

/// Time between two looks. A credential lives for days.
const PERIOD: Duration = Duration::from_secs(60);

/// Exchanges the credential in time, as long as this process may write.
pub async fn run(
    context: Context,
    exchange: Exchange,
    about: Option<ObjectReference>,
    stop: CancellationToken,
) {
    let answers = context.gate.answers();
    let mut last: Option<&'static str> = None;
    loop {
        let state = answers.borrow().state.clone();
        if let Some(state) = state.filter(|_| context.gate.may_write_hub()) {
            match exchange.run(&state, Timestamp::now()).await {
                Ok(false) => last = None,
                Ok(true) => {
                    last = None;
                    tracing::info!(
                        tenant = &*context.hub_namespace,
                        "hub credential exchanged for a newer one"
                    );
                }
                Err(error) => report(&context, about.as_ref(), &error, &mut last).await,
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(jitter(PERIOD, 0.2)) => {}
        }
    }
}

/// Counts each failure and says a new one.
async fn report(
    context: &Context,
    about: Option<&ObjectReference>,
    error: &CredentialError,
    last: &mut Option<&'static str>,
) {
    context.hub_metrics.error(error.reason());
    if last.replace(error.reason()) == Some(error.reason()) {
        return;
    }
    let text = format!("{}; the credential in use stays", chain(error));
    tracing::error!(
        tenant = &*context.hub_namespace,
        reason = error.reason(),
        "{text}"
    );
    if let Some(about) = about {
        context
            .recorder
            .say(
                &Event::warning(reason::CREDENTIAL, "ExchangeCredential", text),
                about,
            )
            .await;
    }
}
