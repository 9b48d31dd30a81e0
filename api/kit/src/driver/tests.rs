use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::metrics::Metrics;

const MS: Duration = Duration::from_millis(1);

#[derive(Debug, thiserror::Error)]
#[error("no")]
struct Failure {
    retry: bool,
}

impl ReconcileError for Failure {
    fn reason(&self) -> &'static str {
        "No"
    }

    fn is_retryable(&self) -> bool {
        self.retry
    }
}

/// Runs `reconcile` with the number of runs so far, for `time`, after hints about `keys`.
async fn runs<R>(keys: &[u32], time: Duration, reconcile: impl Fn(u32, usize) -> R) -> (Vec<u32>, Metrics)
where
    R: Future<Output = Result<Outcome, Failure>> + Send + 'static,
{
    let metrics = Metrics::new();
    let driver = Driver::new(
        "test",
        Settings::default(),
        &ReconcileMetrics::new(&metrics, "t").unwrap(),
    );
    keys.iter().for_each(|key| driver.trigger(*key));
    let (stop, seen) = (CancellationToken::new(), Mutex::new(Vec::new()));
    let stopping = stop.clone();
    let work = driver.run(stop, |key| {
        let mut seen = seen.lock().unwrap();
        seen.push(key);
        reconcile(key, seen.len())
    });
    tokio::join!(work, async move {
        tokio::time::sleep(time).await;
        stopping.cancel();
    });
    (seen.into_inner().unwrap(), metrics)
}

#[tokio::test(start_paused = true)]
async fn many_hints_about_one_key_make_one_run() {
    let (seen, metrics) = runs(&[1, 1, 2, 1], 500 * MS, |_, _| async { Ok(Outcome::done()) }).await;
    assert_eq!(seen, [1, 2]);
    let text = metrics.text().unwrap();
    assert!(
        text.contains(r#"t_reconcile_total{controller="test",result="success"} 2"#),
        "{text}"
    );
    assert!(
        text.contains(r#"t_reconcile_queued{controller="test"} 0"#),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_hints_nothing_runs() {
    assert!(
        runs(&[], Duration::from_secs(3600), |_, _| async {
            Ok(Outcome::done())
        })
        .await
        .0
        .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_is_tried_again_until_it_succeeds() {
    let work = |_, n| async move {
        if n < 4 {
            Err(Failure { retry: true })
        } else {
            Ok(Outcome::done())
        }
    };
    let (seen, metrics) = runs(&[1], Duration::from_secs(60), work).await;
    assert_eq!(seen.len(), 4);
    let text = metrics.text().unwrap();
    assert!(
        text.contains(r#"t_reconcile_failures_total{controller="test",reason="No"} 3"#),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn retries_become_rarer() {
    let work = |_, _| async { Err(Failure { retry: true }) };
    let (seen, _) = runs(&[1], Duration::from_secs(600), work).await;
    assert!((20..250).contains(&seen.len()), "{}", seen.len());
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_waits_for_the_next_hint() {
    let work = |_, _| async { Err(Failure { retry: false }) };
    let (seen, metrics) = runs(&[1], Duration::from_secs(60), work).await;
    assert_eq!(seen.len(), 1);
    assert!(metrics.text().unwrap().contains(r#"result="permanent"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_contained_and_only_its_key_is_tried_again() {
    let work = |key, n| async move {
        assert!(key != 1 || n > 3, "bad object");
        Ok(Outcome::done())
    };
    let (seen, metrics) = runs(&[1, 2], Duration::from_secs(60), work).await;
    assert_eq!(seen.iter().filter(|key| **key == 2).count(), 1);
    assert!(seen.iter().filter(|key| **key == 1).count() > 1);
    assert!(
        metrics
            .text()
            .unwrap()
            .contains(r#"failures_total{controller="test",reason="Panic"}"#)
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_may_ask_for_another_one_later() {
    let work = |_, _| async { Ok(Outcome::requeue(Duration::from_secs(60))) };
    assert_eq!(runs(&[1], Duration::from_secs(150), work).await.0.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn keys_run_beside_each_other_up_to_the_limit_and_a_key_never_beside_itself() {
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let keys: Vec<u32> = (0..20).collect();
    let work = |_, _| async {
        MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(100 * MS).await;
        NOW.fetch_sub(1, Ordering::SeqCst);
        Ok(Outcome::done())
    };
    let (mut seen, _) = runs(&keys, Duration::from_secs(5), work).await;
    seen.sort_unstable();
    assert_eq!(
        (seen, MOST.load(Ordering::SeqCst)),
        (keys, Settings::default().concurrency)
    );
}

#[tokio::test(start_paused = true)]
async fn work_in_hand_ends_before_the_driver_does() {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    let work = |_, _| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        ENDED.fetch_add(1, Ordering::SeqCst);
        Ok(Outcome::done())
    };
    runs(&[1], Duration::from_secs(1), work).await;
    assert_eq!(ENDED.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_end_in_the_time_of_grace_is_dropped() {
    let work = |_, _| async { std::future::pending().await };
    let (_, metrics) = runs(&[1], Duration::from_secs(1), work).await;
    assert!(metrics.text().unwrap().contains(r#"result="aborted"} 1"#));
}
