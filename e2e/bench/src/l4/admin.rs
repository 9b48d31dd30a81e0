//! What the processes under test say of themselves: readiness and counters, over plain HTTP on loopback.

use std::time::Duration;

use anyhow::Result;

use super::process::Running;
use super::wait::{Beat, until};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A page; none if nobody answers with success.
pub async fn page(port: u16, path: &str) -> Option<String> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .ok()?;
    let answer = client
        .get(format!("http://127.0.0.1:{port}{path}"))
        .send()
        .await
        .ok()?;
    answer.error_for_status().ok()?.text().await.ok()
}

/// Waits until a process says that it is ready.
///
/// # Errors
/// When it ends, or does not say so.
pub async fn ready(what: &str, process: &mut Running, port: u16) -> Result<()> {
    until(what, Beat::Quick, async || {
        process.check()?;
        Ok(page(port, "/readyz").await.map(drop))
    })
    .await
}

/// The value of a counter over all of its labels; none where there is no such counter.
pub async fn counter(port: u16, name: &str) -> Option<f64> {
    sum(&page(port, "/metrics").await?, name)
}

fn sum(metrics: &str, name: &str) -> Option<f64> {
    let values: Vec<f64> = metrics
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let of_this_name = rest.starts_with([' ', '{']);
            let (_, value) = rest.rsplit_once(' ')?;
            value.parse().ok().filter(|_| of_this_name)
        })
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let text = "# HELP a_total All\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_of_others 9\nb 1\n";
        assert_eq!(sum(text, "a_total"), Some(5.0));
        assert_eq!(sum(text, "b"), Some(1.0));
        assert_eq!(sum(text, "c"), None);
    }
}
