//! Connections through an Envoy that must not fail: long ones that talk all the time, and new ones all the time.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::task::Task;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two words on a long connection.
const BEAT: Duration = Duration::from_millis(100);
/// New connections on their way at the same time. A machine that cannot do more gets no more: what is to be seen is
/// what fails because of changes, not because of a queue that never ends.
const ON_THEIR_WAY: usize = 1000;
/// What is said, and comes back.
const WORD: &[u8; 8] = b"a word!\n";

/// Something that says back whatever it is told. Dropped, it takes no new connections.
pub struct Echo {
    /// Where.
    pub address: SocketAddr,
    _task: Task,
}

impl Echo {
    /// Listens at this address.
    ///
    /// # Errors
    /// When that is not an address of this machine.
    pub async fn begin(address: Ipv4Addr) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).await;
        let listener = listener.with_context(|| format!("backends at {address}"))?;
        let address = listener.local_addr()?;
        let task = Task::begin(async move {
            let mut connections = JoinSet::new();
            // An error is about one connection, and the next one is another.
            loop {
                if let Ok((mut stream, _)) = listener.accept().await {
                    connections.spawn(async move {
                        let (mut read, mut write) = stream.split();
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                    });
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, _task: task })
    }
}

/// What happened to connections.
#[derive(Debug, Default)]
pub struct Tally {
    /// Words that came back.
    pub words: AtomicU64,
    /// Connections that were opened.
    pub opened: AtomicU64,
    failures: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    /// What went wrong, and how often.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<String, u64> {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn fail(&self, what: &str, why: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        *failures.entry(format!("{what}: {why}")).or_default() += 1;
    }
}

/// Traffic, until it is told to stop.
pub struct Traffic {
    tally: Arc<Tally>,
    stop: CancellationToken,
    workers: JoinSet<()>,
}

impl Traffic {
    /// `long` connections that stay, and `rate` new ones a second, over these ports of loopback in turns.
    #[must_use]
    pub fn begin(ports: &[u16], long: usize, rate: u32) -> Self {
        let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
        let mut workers = JoinSet::new();
        for port in ports.iter().cycle().take(long) {
            workers.spawn(stay(*port, Arc::clone(&tally), stop.clone()));
        }
        workers.spawn(come_and_go(
            ports.to_vec(),
            rate,
            Arc::clone(&tally),
            stop.clone(),
        ));
        Self { tally, stop, workers }
    }

    /// Ends it, when everything that is on its way has come back.
    pub async fn end(mut self) -> Arc<Tally> {
        self.stop.cancel();
        while self.workers.join_next().await.is_some() {}
        self.tally
    }
}

async fn stay(port: u16, tally: Arc<Tally>, stop: CancellationToken) {
    let mut stream = match open(port).await {
        Ok(stream) => stream,
        Err(why) => return tally.fail("long connection not opened", &why),
    };
    tally.opened.fetch_add(1, Ordering::Relaxed);
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        beat.tick().await;
        match talk(&mut stream).await {
            Ok(()) => tally.words.fetch_add(1, Ordering::Relaxed),
            Err(why) => return tally.fail("long connection broken", &why),
        };
    }
}

async fn come_and_go(ports: Vec<u16>, rate: u32, tally: Arc<Tally>, stop: CancellationToken) {
    let mut beat = interval(Duration::from_secs(1) / rate.max(1));
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut visits = JoinSet::new();
    for port in ports.iter().cycle() {
        beat.tick().await;
        while visits.len() >= ON_THEIR_WAY {
            visits.join_next().await;
        }
        if stop.is_cancelled() {
            break;
        }
        visits.spawn(visit(*port, Arc::clone(&tally)));
        while visits.try_join_next().is_some() {}
    }
    while visits.join_next().await.is_some() {}
}

async fn visit(port: u16, tally: Arc<Tally>) {
    let mut stream = match open(port).await {
        Ok(stream) => stream,
        Err(why) => return tally.fail("not opened", &why),
    };
    tally.opened.fetch_add(1, Ordering::Relaxed);
    match talk(&mut stream).await {
        Ok(()) => drop(tally.words.fetch_add(1, Ordering::Relaxed)),
        Err(why) => tally.fail("broken", &why),
    }
}

async fn open(port: u16) -> Result<TcpStream, String> {
    match timeout(PATIENCE, TcpStream::connect(("127.0.0.1", port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(error.kind().to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

async fn talk(stream: &mut TcpStream) -> Result<(), String> {
    let exchange = async {
        stream.write_all(WORD).await?;
        let mut answer = [0; WORD.len()];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match timeout(PATIENCE, exchange).await {
        Ok(Ok(answer)) if &answer == WORD => Ok(()),
        Ok(Ok(_)) => Err("another answer".to_owned()),
        Ok(Err(error)) => Err(error.kind().to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_counted_and_those_that_fail_are_named() {
        let echo = Echo::begin(Ipv4Addr::LOCALHOST).await.unwrap();
        let closed = super::super::cluster::free_port().unwrap();
        let traffic = Traffic::begin(&[echo.address.port()], 3, 100);
        let broken = Traffic::begin(&[closed], 1, 100);
        let begin = tokio::time::Instant::now();
        while traffic.tally.words.load(Ordering::Relaxed) < 10 || broken.tally.failures().len() < 2 {
            assert!(begin.elapsed() < PATIENCE, "no traffic");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (good, bad) = (traffic.end().await, broken.end().await);
        assert_eq!(good.failures(), BTreeMap::new());
        assert!(good.opened.load(Ordering::Relaxed) >= 3);
        assert!(
            bad.failures()
                .contains_key("long connection not opened: connection refused")
        );
    }
}
