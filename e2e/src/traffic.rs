//! Requests to addresses of the lab, bounded in count and time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::Value;

/// Longest time for one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// A request that was not answered as wanted.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// No answer.
    #[error("no answer from {url}: {source}")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// Cause.
        source: reqwest::Error,
    },
    /// An answer with another status.
    #[error("{url} answered {status}: {body}")]
    Status {
        /// What was asked.
        url: String,
        /// Status code.
        status: u16,
        /// Begin of the body.
        body: String,
    },
    /// A body that an echo server does not send.
    #[error("{url} answered with a body that is not the echo server's: {body}")]
    NotEcho {
        /// What was asked.
        url: String,
        /// Begin of the body.
        body: String,
    },
}

/// What an echo server says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// Pod that answered.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
}

/// Asks `url` with the given Host header.
///
/// # Errors
/// When there is no answer, or one that is not 200 with an echo server's body.
pub fn get(url: &str, host: Option<&str>) -> Result<Echo, TrafficError> {
    let (status, body) = status_and_body(&client(false)?, url, host)?;
    if status != 200 {
        return Err(TrafficError::Status {
            url: url.to_owned(),
            status,
            body: head(&body),
        });
    }
    echo_of(url, &body)
}

/// Asks `url` and gives the status code, whatever it is.
///
/// # Errors
/// When there is no answer.
pub fn status(url: &str, host: Option<&str>) -> Result<u16, TrafficError> {
    Ok(status_and_body(&client(false)?, url, host)?.0)
}

fn status_and_body(client: &Client, url: &str, host: Option<&str>) -> Result<(u16, String), TrafficError> {
    let no_answer = |source| TrafficError::NoAnswer {
        url: url.to_owned(),
        source,
    };
    let mut request = client.get(url);
    if let Some(host) = host {
        request = request.header("Host", host);
    }
    let response = request.send().map_err(no_answer)?;
    let status = response.status().as_u16();
    Ok((status, response.text().map_err(no_answer)?))
}

fn client(keep_alive: bool) -> Result<Client, TrafficError> {
    Client::builder()
        .timeout(REQUEST_LIMIT)
        .no_proxy()
        .pool_max_idle_per_host(usize::from(keep_alive))
        .build()
        .map_err(|source| TrafficError::NoAnswer {
            url: "(client)".to_owned(),
            source,
        })
}

fn echo_of(url: &str, body: &str) -> Result<Echo, TrafficError> {
    let not_echo = || TrafficError::NotEcho {
        url: url.to_owned(),
        body: head(body),
    };
    let value: Value = serde_json::from_str(body).map_err(|_| not_echo())?;
    let field = |name: &str| value[name].as_str().map(str::to_owned).ok_or_else(not_echo);
    Ok(Echo {
        pod: field("pod")?,
        namespace: field("namespace")?,
    })
}

fn head(body: &str) -> String {
    body.chars().take(200).collect()
}

/// Requests that go on until they are stopped: `pause` between two, each on a connection of its own, so that
/// every one also tests that new connections are taken.
#[derive(Debug)]
pub struct Stream {
    stop: StopWhenDropped,
    count: Arc<AtomicU64>,
    worker: JoinHandle<Vec<String>>,
}

/// How a [`Stream`] went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamReport {
    /// Requests sent.
    pub sent: u64,
    /// What went wrong, the first twenty.
    pub failures: Vec<String>,
}

/// A story that fails leaves no traffic behind for the next one.
#[derive(Debug)]
struct StopWhenDropped(Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Stream {
    /// Begins. It ends by itself after `limit`.
    #[must_use]
    pub fn begin(url: String, host: Option<String>, pause: Duration, limit: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let worker = thread::spawn({
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            move || stream(&url, host.as_deref(), pause, limit, &stop, &count)
        });
        Self {
            stop: StopWhenDropped(stop),
            count,
            worker,
        }
    }

    /// Requests sent until now.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends it and tells how it went.
    #[must_use]
    pub fn end(self) -> StreamReport {
        let Self { stop, count, worker } = self;
        drop(stop);
        let failures = worker
            .join()
            .unwrap_or_else(|_| vec!["the worker broke".to_owned()]);
        StreamReport {
            sent: count.load(Ordering::Relaxed),
            failures,
        }
    }
}

fn stream(
    url: &str,
    host: Option<&str>,
    pause: Duration,
    limit: Duration,
    stop: &AtomicBool,
    count: &AtomicU64,
) -> Vec<String> {
    let mut failures = Vec::new();
    let client = match client(false) {
        Ok(client) => client,
        Err(error) => return vec![error.to_string()],
    };
    let (_keep, ticks) = mpsc::channel::<()>();
    let begin = Instant::now();
    while !stop.load(Ordering::Relaxed) && begin.elapsed() < limit {
        let failure = match status_and_body(&client, url, host) {
            Ok((200, _)) => None,
            Ok((status, body)) => Some(format!("status {status}: {}", head(&body))),
            Err(error) => Some(format!("{error:?}")),
        };
        count.fetch_add(1, Ordering::Relaxed);
        if let Some(failure) = failure
            && failures.len() < 20
        {
            failures.push(format!("after {} ms: {failure}", begin.elapsed().as_millis()));
        }
        // Nothing is ever sent on this channel: it only bounds the rate.
        let _ = ticks.recv_timeout(pause);
    }
    failures
}
