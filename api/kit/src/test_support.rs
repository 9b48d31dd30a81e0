//! For tests: an API server in memory that records what it is asked, and a clock that stands still.
//!
//! Only compiled for tests and with the feature `test-support`.

mod memory;
mod patch;
mod path;
mod real;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::body::Body;
use futures::stream::BoxStream;
use http::{Request, Response, StatusCode};
use kube::{Client, core::Status};
use serde::Serialize;
use serde_json::{Value, json};

pub use memory::MemoryApi;
pub use real::envoy_binary;

/// A request as the API server sees it; serialize it for snapshots.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recorded {
    /// `GET`, `PATCH` and so on.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query parameters; `fieldManager` and `force` among them.
    pub query: BTreeMap<String, String>,
    /// Content type, which says what kind of patch it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// JSON body, null if there is none.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub body: Value,
}

impl Recorded {
    /// Whether it asks to change something.
    pub fn is_write(&self) -> bool {
        self.method != "GET"
    }

    /// Method and path, for short assertions.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// An answer.
pub struct Reply {
    status: u16,
    body: ReplyBody,
}

enum ReplyBody {
    Json(Value),
    Lines(BoxStream<'static, Value>),
}

impl Reply {
    /// 200 with an object.
    pub fn ok(body: Value) -> Self {
        Self {
            status: 200,
            body: ReplyBody::Json(body),
        }
    }

    /// A failure as the API server reports it.
    pub fn error(code: u16, reason: &str) -> Self {
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": reason, "reason": reason, "code": code,
        });
        Self {
            status: code,
            body: ReplyBody::Json(body),
        }
    }

    /// 200 with events of a watch, one a line, for as long as the stream goes on.
    pub fn events(events: BoxStream<'static, Value>) -> Self {
        Self {
            status: 200,
            body: ReplyBody::Lines(events),
        }
    }

    fn into_response(self) -> Response<Body> {
        use futures::StreamExt;
        let body = match self.body {
            ReplyBody::Json(value) => Body::from(value.to_string()),
            ReplyBody::Lines(lines) => {
                Body::from_stream(lines.map(|line| Ok::<_, std::convert::Infallible>(format!("{line}\n"))))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
    }
}

type Handler = dyn Fn(&Recorded) -> Reply + Send + Sync;

/// Answers by a function and records every request. Clones share the record.
#[derive(Clone)]
pub struct FakeApi {
    handler: Arc<Handler>,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

impl FakeApi {
    /// Answers as `handler` says.
    pub fn new(handler: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Self {
        Self {
            handler: Arc::new(handler),
            requests: Arc::default(),
        }
    }

    /// A client of this server, in the namespace `default`.
    pub fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { api.answer(request).await }
        });
        Client::new(service, "default")
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Recorded> {
        self.lock().clone()
    }

    /// Every request so far that was a write.
    pub fn writes(&self) -> Vec<Recorded> {
        self.lock()
            .iter()
            .filter(|request| request.is_write())
            .cloned()
            .collect()
    }

    /// Method and path of every write so far.
    pub fn write_lines(&self) -> Vec<String> {
        self.lock()
            .iter()
            .filter(|request| request.is_write())
            .map(Recorded::line)
            .collect()
    }

    /// Forgets what was asked so far.
    pub fn clear(&self) {
        self.lock().clear();
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Result<Response<Body>, kube::Error> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await?;
        let recorded = Recorded {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: path::query(parts.uri.query().unwrap_or_default()),
            content_type: header(&parts, http::header::CONTENT_TYPE),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        };
        self.lock().push(recorded.clone());
        Ok((self.handler)(&recorded).into_response())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Recorded>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn header(parts: &http::request::Parts, name: http::HeaderName) -> Option<String> {
    let value = parts.headers.get(name)?.to_str().ok()?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// The error a client returns for a failure with this HTTP status.
pub fn api_error(code: u16) -> kube::Error {
    api_error_saying(code, "")
}

/// The same, with the API server's words.
pub fn api_error_saying(code: u16, message: &str) -> kube::Error {
    kube::Error::Api(Box::new(Status {
        code,
        message: message.to_owned(),
        ..Status::default()
    }))
}

/// The moment at which tests take place: 2026-01-01T00:00:00Z.
pub const NOW: jiff::Timestamp = jiff::Timestamp::constant(1_767_225_600, 0);

#[cfg(test)]
mod tests;
