//! The audit log of an API server: who asked for what. The bench itself and the API server are not in it.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

/// What is logged: every answer to anybody but the bench and the API server itself. A watch is logged as it begins.
pub const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [bench, 'system:apiserver', 'system:anonymous']
- level: None
  nonResourceURLs: ['/*']
- level: Metadata
";

/// The log's file.
#[derive(Debug, Clone)]
pub struct Audit {
    path: PathBuf,
}

/// A place in the log: what is behind it came later.
#[derive(Debug, Clone, Copy)]
pub struct Mark(u64);

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Who asked.
    pub user: String,
    /// `get`, `patch` and so on.
    pub verb: String,
    /// Kind of object, with its subresource: `services/status`.
    pub resource: String,
}

impl Request {
    /// Whether it changes something that is not a lease.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch") && self.resource != "leases"
    }
}

/// How often each was asked.
pub type Requests = BTreeMap<Request, u64>;

impl Audit {
    /// The log in this file.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The end of the log as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn mark(&self) -> Result<Mark> {
        let file = std::fs::metadata(&self.path);
        Ok(Mark(file.with_context(|| self.reading())?.len()))
    }

    /// What was asked since then.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn since(&self, Mark(at): Mark) -> Result<Requests> {
        let mut file = std::fs::File::open(&self.path).with_context(|| self.reading())?;
        file.seek(SeekFrom::Start(at)).with_context(|| self.reading())?;
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(|| self.reading())?;
        Ok(requests(&text))
    }

    fn reading(&self) -> String {
        format!("reading {}", self.path.display())
    }
}

/// How many of these were made by users whose name has `user` in it, and for which `wanted` holds.
#[must_use]
pub fn count(requests: &Requests, user: &str, wanted: impl Fn(&Request) -> bool) -> u64 {
    let matching = requests
        .iter()
        .filter(|(request, _)| request.user.contains(user) && wanted(request));
    matching.map(|(_, times)| times).sum()
}

#[derive(Deserialize)]
struct Event {
    stage: String,
    verb: String,
    user: User,
    #[serde(rename = "objectRef")]
    object: Option<ObjectRef>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct ObjectRef {
    resource: String,
    subresource: Option<String>,
}

/// Reads complete lines; what is being written at the end counts next time.
fn requests(text: &str) -> Requests {
    let mut all = Requests::new();
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Event>(line) else {
            continue;
        };
        // A watch is logged twice: as it begins and as it ends.
        let Some(object) = event.object.filter(|_| counts(&event.stage, &event.verb)) else {
            continue;
        };
        let resource = match object.subresource {
            None => object.resource,
            Some(subresource) => format!("{}/{subresource}", object.resource),
        };
        let request = Request {
            user: event.user.username,
            verb: event.verb,
            resource,
        };
        *all.entry(request).or_default() += 1;
    }
    all
}

fn counts(stage: &str, verb: &str) -> bool {
    let counted = if verb == "watch" {
        "ResponseStarted"
    } else {
        "ResponseComplete"
    };
    stage == counted
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"stage":"ResponseComplete","verb":"patch","user":{"username":"system:serviceaccount:kubelb:kubelb-manager"},"objectRef":{"resource":"services","subresource":"status"}}
{"stage":"ResponseComplete","verb":"patch","user":{"username":"system:serviceaccount:kubelb:kubelb-manager"},"objectRef":{"resource":"services","subresource":"status"}}
{"stage":"ResponseStarted","verb":"watch","user":{"username":"system:serviceaccount:tenant-a:kubelb-ccm"},"objectRef":{"resource":"tenants"}}
{"stage":"ResponseComplete","verb":"watch","user":{"username":"system:serviceaccount:tenant-a:kubelb-ccm"},"objectRef":{"resource":"tenants"}}
{"stage":"ResponseComplete","verb":"update","user":{"username":"system:serviceaccount:kubelb:kubelb-manager"},"objectRef":{"resource":"leases"}}
{"stage":"ResponseComplete","verb":"pat"#;

    #[test]
    fn requests_are_counted_by_who_asked_for_what() {
        let all = requests(LOG);
        assert_eq!(count(&all, ":kubelb-manager", |_| true), 3);
        assert_eq!(count(&all, ":kubelb-ccm", |r| r.verb == "watch"), 1);
        assert_eq!(
            count(&all, ":kubelb-manager", |r| r.resource == "services/status"),
            2
        );
    }

    #[test]
    fn leases_and_reads_are_no_writes() {
        assert_eq!(count(&requests(LOG), "", Request::is_write), 2);
    }

    #[test]
    fn only_what_came_after_a_mark_counts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let audit = Audit::at(file.path().to_owned());
        std::fs::write(file.path(), LOG).unwrap();
        let mark = audit.mark().unwrap();
        assert_eq!(audit.since(mark).unwrap(), Requests::new());
        std::fs::write(file.path(), format!("{LOG}\n{LOG}")).unwrap();
        assert_eq!(count(&audit.since(mark).unwrap(), "", |_| true), 4);
    }
}
