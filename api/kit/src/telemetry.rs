//! Logs to standard output, with a level that can be changed while the process runs.

use std::{env, sync::Arc};

use tracing_subscriber::{
    EnvFilter, Registry, layer::SubscriberExt, registry, reload, util::SubscriberInitExt,
};

use crate::args::{LogArgs, LogFormat};

/// Logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not valid.
    #[error("{directives:?} is no log filter such as info or info,kube=debug")]
    Filter {
        /// What was given.
        directives: String,
        /// Why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging is set up already.
    #[error("cannot set up logging")]
    Init(#[from] tracing_subscriber::util::TryInitError),
    /// The subscriber is gone.
    #[error("cannot change the log filter")]
    Reload(#[from] reload::Error),
}

/// Changes the log level of a running process.
#[derive(Clone)]
pub struct LogControl {
    set: Arc<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
    get: Arc<dyn Fn() -> String + Send + Sync>,
}

impl LogControl {
    /// Sets the filter, such as `debug` or `info,kube=debug`.
    pub fn set(&self, directives: &str) -> Result<(), TelemetryError> {
        let filter = parse(directives)?;
        (self.set)(filter)?;
        tracing::info!(directives, "log filter changed");
        Ok(())
    }

    /// The filter in force.
    pub fn current(&self) -> String {
        (self.get)()
    }

    fn of(handle: reload::Handle<EnvFilter, Registry>) -> Self {
        let reader = handle.clone();
        Self {
            set: Arc::new(move |filter| handle.reload(filter)),
            get: Arc::new(move || reader.with_current(ToString::to_string).unwrap_or_default()),
        }
    }
}

/// Sets logging up for the whole process; once.
pub fn init(args: &LogArgs) -> Result<LogControl, TelemetryError> {
    let (filter, handle) = reload::Layer::new(parse(&initial(args))?);
    let lines = tracing_subscriber::fmt::layer();
    match args.log_format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            registry().with(filter).with(lines).try_init()?;
        }
        LogFormat::Text => registry().with(filter).with(lines).try_init()?,
    }
    Ok(LogControl::of(handle))
}

/// Without a line for each request that fails: whoever made it says so, once a minute, and why.
const DEFAULT: &str = "info,kube_client::client::builder=off";

fn initial(args: &LogArgs) -> String {
    let from_env = env::var(EnvFilter::DEFAULT_ENV)
        .ok()
        .filter(|text| !text.is_empty());
    from_env.unwrap_or_else(|| if args.debug { "debug" } else { DEFAULT }.to_owned())
}

fn parse(directives: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(directives.trim())
        .map_err(|source| TelemetryError::Filter {
            directives: directives.to_owned(),
            source,
        })
}

/// A control of a filter that nothing logs through, and what keeps it alive.
#[cfg(test)]
pub(crate) fn detached() -> (LogControl, impl Sized) {
    let (layer, handle) = reload::Layer::new(EnvFilter::new("info"));
    (LogControl::of(handle), layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_in_force_can_be_changed_and_read() {
        let (control, _alive) = detached();
        assert_eq!(control.current(), "info");
        control.set("info,kube=debug").unwrap();
        assert_eq!(control.current(), "kube=debug,info");
    }

    #[test]
    fn the_filter_at_the_start_is_one() {
        assert!(parse(DEFAULT).is_ok());
    }

    #[test]
    fn a_bad_filter_is_refused_and_the_old_one_stays() {
        let (control, _alive) = detached();
        let error = control.set("kube=loud").unwrap_err();
        assert!(
            error.to_string().starts_with("\"kube=loud\" is no log filter"),
            "{error}"
        );
        assert_eq!(control.current(), "info");
    }
}
