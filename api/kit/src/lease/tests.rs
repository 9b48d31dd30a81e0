use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::json;
use tokio::task::JoinHandle;

use super::*;
use crate::test_support::{FakeApi, MemoryApi, Reply};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/hub/leases/manager";

fn config(identity: &str) -> LeaseConfig {
    LeaseConfig::new("hub", "manager", identity)
}

struct Candidate {
    leadership: Leadership,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn candidate(client: Client, identity: &str) -> Candidate {
    let (elector, leadership) = Elector::new(client, config(identity)).unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(elector.run(stop.clone()));
    Candidate {
        leadership,
        stop,
        task,
    }
}

async fn seconds(count: u32) {
    tokio::time::sleep(SECOND * count).await;
}

#[tokio::test(start_paused = true)]
async fn of_several_candidates_exactly_one_leads_and_goes_on_leading() {
    let api = MemoryApi::new();
    let all: Vec<_> = (0..4)
        .map(|n| candidate(api.client(), &format!("pod-{n}")))
        .collect();
    let first = tokio::select! {
        (index, _) = first_leader(&all) => index,
        () = seconds(5) => panic!("nobody leads"),
    };
    for _ in 0..600 {
        tokio::time::sleep(SECOND / 10).await;
        let leaders: Vec<_> = (0..4).filter(|n| all[*n].leadership.is_leader()).collect();
        assert_eq!(leaders, [first]);
    }
    assert_eq!(
        all[first].leadership.epoch(),
        Some(1),
        "renewing is not a new term"
    );
}

async fn first_leader(all: &[Candidate]) -> (usize, u64) {
    let waits = all
        .iter()
        .map(|candidate| Box::pin(candidate.leadership.until_leader()));
    let (epoch, index, _) = futures::future::select_all(waits).await;
    (index, epoch)
}

#[tokio::test(start_paused = true)]
async fn when_the_holder_crashes_another_takes_over_after_the_lease_and_never_before_it_stopped_leading() {
    let api = MemoryApi::new();
    let old = candidate(api.client(), "old");
    let epoch = old.leadership.until_leader().await;
    let new = candidate(api.client(), "new");
    seconds(3).await;
    old.task.abort();
    let crashed = Instant::now();
    loop {
        tokio::time::sleep(SECOND / 20).await;
        assert!(
            !(old.leadership.is_leader() && new.leadership.is_leader()),
            "two leaders"
        );
        if new.leadership.is_leader() {
            break;
        }
    }
    let took = crashed.elapsed();
    assert!(took > SECOND * 10 && took < SECOND * 20, "{took:?}");
    assert!(new.leadership.epoch() > Some(epoch));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_taken_at_once() {
    let api = MemoryApi::new();
    let old = candidate(api.client(), "old");
    old.leadership.until_leader().await;
    let new = candidate(api.client(), "new");
    seconds(3).await;
    old.stop.cancel();
    old.task.await.unwrap();
    assert!(!old.leadership.is_leader());
    assert!(api.get(LEASE).unwrap()["spec"].get("holderIdentity").is_none());
    tokio::time::timeout(SECOND * 3, new.leadership.until_leader())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_conflict_on_the_write_means_not_leading() {
    let free = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "manager", "namespace": "hub", "resourceVersion": "1"}, "spec": {}});
    let api = FakeApi::new(move |request| match request.method.as_str() {
        "GET" => Reply::ok(free.clone()),
        _ => Reply::error(409, "Conflict"),
    });
    let loser = candidate(api.client(), "loser");
    seconds(30).await;
    assert!(!loser.leadership.is_leader());
    let writes = api.writes();
    assert!(
        writes.len() > 5
            && writes
                .iter()
                .all(|w| w.body["metadata"]["resourceVersion"] == "1")
    );
}

/// A server that can be cut off.
fn with_outage() -> (FakeApi, Arc<AtomicBool>) {
    let (memory, down) = (MemoryApi::new(), Arc::new(AtomicBool::new(false)));
    let flag = down.clone();
    let api = FakeApi::new(move |request| match flag.load(Ordering::SeqCst) {
        true => Reply::error(500, "InternalError"),
        false => memory.reply(request),
    });
    (api, down)
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_stops_leading_before_the_lease_ends_and_leads_again_in_a_new_term() {
    let (api, down) = with_outage();
    let holder = candidate(api.client(), "holder");
    let epoch = holder.leadership.until_leader().await;
    down.store(true, Ordering::SeqCst);
    let cut = Instant::now();
    holder.leadership.until_lost(epoch).await;
    assert!(cut.elapsed() <= SECOND * 10, "{:?}", cut.elapsed());
    assert!(!holder.leadership.is_leader());
    down.store(false, Ordering::SeqCst);
    assert!(holder.leadership.until_leader().await > epoch);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_sees_another_holder_stops_leading_at_once() {
    let api = MemoryApi::new();
    let holder = candidate(api.client(), "holder");
    let epoch = holder.leadership.until_leader().await;
    let mut lease = api.get(LEASE).unwrap();
    lease["spec"]["holderIdentity"] = "usurper".into();
    api.put("/apis/coordination.k8s.io/v1/namespaces/hub/leases", lease);
    tokio::time::timeout(SECOND * 3, holder.leadership.until_lost(epoch))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_frozen_process_does_not_take_itself_for_the_leader_when_it_wakes_up() {
    let (seat, leadership) = leadership::pair();
    seat.hold(1, Instant::now() + SECOND * 10);
    assert!(leadership.is_leader());
    tokio::time::advance(SECOND * 11).await;
    assert!(!leadership.is_leader());
    tokio::time::timeout(SECOND, leadership.until_lost(1))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restarted_container_of_the_same_pod_gets_its_lease_back_in_a_new_term() {
    let api = MemoryApi::new();
    let before = candidate(api.client(), "pod");
    let epoch = before.leadership.until_leader().await;
    before.task.abort();
    let after = candidate(api.client(), "pod");
    let next = tokio::time::timeout(SECOND * 3, after.leadership.until_leader())
        .await
        .unwrap();
    assert!(next > epoch);
}

#[tokio::test(start_paused = true)]
async fn the_wall_clock_of_the_holder_does_not_matter() {
    let api = MemoryApi::new();
    let spec = json!({"holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": "2001-01-01T00:00:00.000000Z"});
    api.put("/apis/coordination.k8s.io/v1/namespaces/hub/leases", json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "manager"}, "spec": spec,
    }));
    let waiting = candidate(api.client(), "waiting");
    seconds(14).await;
    assert!(!waiting.leadership.is_leader(), "15 seconds have not passed here");
    tokio::time::timeout(SECOND * 5, waiting.leadership.until_leader())
        .await
        .unwrap();
}

#[tokio::test]
async fn without_an_election_the_process_always_leads() {
    assert!(Leadership::always().is_leader());
    assert_eq!(Leadership::always().until_leader().await, 0);
}

#[tokio::test]
async fn timing_that_allows_two_leaders_is_refused() {
    let client = MemoryApi::new().client();
    let timing = |lease, renew, retry| LeaseConfig {
        lease_duration: SECOND * lease,
        renew_deadline: SECOND * renew,
        retry_period: SECOND * retry,
        ..config("x")
    };
    for bad in [timing(10, 10, 2), timing(15, 2, 2), timing(15, 10, 0)] {
        assert!(matches!(
            Elector::new(client.clone(), bad),
            Err(LeaseError::Timing)
        ));
    }
    assert!(matches!(
        Elector::new(client, config("")),
        Err(LeaseError::Identity)
    ));
}
