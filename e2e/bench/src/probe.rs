//! Requests for one host after another: how long until it is served, and whether anything answered otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use reqwest::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Time from one request to the next where milliseconds count.
pub const BEAT: Duration = Duration::from_millis(5);
/// How long a host may take to be served.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between requests to hosts that are served already.
const WATCH_BEAT: Duration = Duration::from_millis(10);

/// Answers that should not have been there, by what they were.
pub type Unexpected = BTreeMap<String, u64>;

/// A client that keeps its connections.
///
/// # Errors
/// When it cannot be made.
pub fn client() -> Result<Client> {
    Ok(Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()?)
}

/// What came back, in one word: a status code, or that nothing did.
pub async fn ask(client: &Client, address: &str, host: &str) -> String {
    match client
        .get(format!("http://{address}/"))
        .header("Host", host)
        .send()
        .await
    {
        Ok(response) => {
            let status = response.status().as_u16().to_string();
            // The body is read, or the connection could not be used again.
            match response.bytes().await {
                Ok(_) => status,
                Err(_) => "broken answer".to_owned(),
            }
        }
        Err(error) if error.is_timeout() => "no answer in time".to_owned(),
        Err(_) => "no answer".to_owned(),
    }
}

/// Asks once in every `pause` until the answer is 200, and tells when it came. Answers but 404 are added to `unexpected`.
pub async fn until_served(
    client: &Client,
    address: &str,
    host: &str,
    pause: Duration,
    unexpected: &mut Unexpected,
) -> Option<Instant> {
    let begin = Instant::now();
    let mut beat = tokio::time::interval(pause);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while begin.elapsed() < PATIENCE {
        beat.tick().await;
        match ask(client, address, host).await.as_str() {
            "200" => return Some(Instant::now()),
            "404" => {}
            other => *unexpected.entry(other.to_owned()).or_default() += 1,
        }
    }
    None
}

/// Requests, one after another, to hosts that are served already: they must go on being served.
pub struct Watch {
    served: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    worker: JoinHandle<(u64, Unexpected)>,
}

impl Watch {
    /// Begins; there is nothing to ask for until [`Watch::served`] says so. `host` names the host of an index.
    #[must_use]
    pub fn begin(client: Client, address: String, host: fn(usize) -> String) -> Self {
        let served = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = watch::channel(false);
        let count = Arc::clone(&served);
        let worker = tokio::spawn(async move {
            let (mut asked, mut unexpected) = (0_u64, Unexpected::new());
            let mut beat = tokio::time::interval(WATCH_BEAT);
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while !*stopped.borrow() {
                beat.tick().await;
                let hosts = count.load(Ordering::Relaxed);
                if hosts == 0 {
                    continue;
                }
                // A prime step visits all hosts in an order that has nothing to do with their age.
                let index = usize::try_from(asked).unwrap_or_default().wrapping_mul(7919) % hosts;
                asked += 1;
                let answer = ask(&client, &address, &host(index)).await;
                if answer != "200" {
                    *unexpected.entry(answer).or_default() += 1;
                }
            }
            (asked, unexpected)
        });
        Self { served, stop, worker }
    }

    /// The first `count` hosts are served.
    pub fn served(&self, count: usize) {
        self.served.store(count, Ordering::Relaxed);
    }

    /// Ends it: how many were asked, and what was not 200.
    ///
    /// # Errors
    /// When the worker broke.
    pub async fn end(self) -> Result<(u64, Unexpected)> {
        let _ = self.stop.send(true);
        Ok(self.worker.await?)
    }
}
