//! What can go wrong in the testbed, with enough said to act on it.

use std::path::Path;

/// Every failure of the testbed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or process could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A program ran and failed.
    #[error("{line}\n  failed with {status}:\n{output}")]
    Command {
        /// The command line.
        line: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// Something did not happen in its time.
    #[error("gave up after {seconds} s waiting for {what}; last seen: {last}")]
    TimedOut {
        /// What was awaited.
        what: String,
        /// The bound.
        seconds: u64,
        /// What was seen at the last look.
        last: String,
    },
    /// A document could not be read.
    #[error("{what} is not what was expected: {reason}")]
    Malformed {
        /// Which document.
        what: String,
        /// Why.
        reason: String,
    },
    /// The machine lacks something that the testbed cannot supply.
    #[error("{0}")]
    Unsupported(String),
}

/// The testbed's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds what was being done to an I/O error.
pub trait Doing<T> {
    /// Turns an I/O error into ours.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;

    /// The same for an action on a file.
    fn on(self, action: &str, path: &Path) -> Result<T>
    where
        Self: Sized,
    {
        self.doing(|| format!("{action} {}", path.display()))
    }
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}

/// Reads a JSON document, naming it when it is wrong.
pub fn json<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| malformed(what, error))
}

/// A document that is not what it should be.
pub fn malformed(what: &str, reason: impl ToString) -> Error {
    Error::Malformed {
        what: what.to_owned(),
        reason: reason.to_string(),
    }
}
