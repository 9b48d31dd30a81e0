//! Processes that the bench starts: each has a log, tells what it used, and ends with the bench.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

/// How long a process may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(20);
/// The unit of CPU time in `/proc`, the same on every Linux.
const TICK: Duration = Duration::from_millis(10);
/// How much of a log an error shows.
const SHOWN: usize = 3000;

/// A process of ours. Dropped, it is killed.
pub struct Running {
    name: String,
    child: Child,
    pid: u32,
    log: PathBuf,
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// CPU time, of all threads.
    pub cpu: Duration,
    /// Memory that is in use now, in MiB.
    pub memory: f64,
    /// The most that was in use at any time, in MiB.
    pub peak: f64,
}

impl Running {
    /// Starts a program. What it prints goes to `<dir>/<name>.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        name: &str,
        dir: &Path,
        args: impl IntoIterator<Item = A>,
        envs: &[(&str, String)],
    ) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        let child = Command::new(program)
            .args(args)
            .envs(envs.iter().map(|(key, value)| (key, value)))
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C is for the bench alone, which then ends what it started.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let pid = child
            .id()
            .with_context(|| format!("{name} ended as it was started"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            pid,
            log,
        })
    }

    /// Fails when it runs no more, with the end of its log.
    ///
    /// # Errors
    /// As said.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let from = log.floor_char_boundary(log.len().saturating_sub(SHOWN));
        bail!("{} ended with {status}: {}", self.name, log[from..].trim())
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When it is gone.
    pub fn usage(&self) -> Result<Usage> {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", self.pid);
            std::fs::read_to_string(path).with_context(|| format!("what {} uses", self.name))
        };
        let usage = usage(&read("stat")?, &read("status")?);
        usage.with_context(|| format!("/proc tells nothing of {}", self.name))
    }

    /// Asks it to end and waits; kills it if it does not.
    ///
    /// # Errors
    /// When it cannot even be killed.
    pub async fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // It is not waited for yet, so the number is still its own.
        let asked = Command::new("kill")
            .args(["-s", "TERM", "--", &self.pid.to_string()])
            .status()
            .await;
        asked.context("asking a process to end")?;
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.kill().await?;
        }
        Ok(())
    }

    /// Kills it, as a fault would.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        let killed = self.child.kill().await;
        killed.with_context(|| format!("killing {}", self.name))
    }
}

/// Lets this process, and what it starts from now on, have as many open files as it may: a thousand, which is what a
/// shell often gives, are fewer than the connections of P8. A pod has no such limit.
///
/// # Errors
/// When the limit cannot be read or set.
pub fn raise_file_limit() -> Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits").context("reading /proc/self/limits")?;
    let most = hard_file_limit(&limits).context("/proc/self/limits is of no use")?;
    let raised = testbed::command::Run::new("prlimit")
        .args(["--pid", &std::process::id().to_string()])
        .arg(format!("--nofile={most}:"))
        .run();
    raised.context("raising the limit of open files")
}

/// CPU time of this process and of all its children that have ended.
///
/// # Errors
/// When `/proc` is not there.
pub fn own_cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("reading /proc/self/stat")?;
    ticks(&stat, 4).context("/proc/self/stat is of no use")
}

/// Time that all processors of this machine were busy, since it started.
///
/// # Errors
/// When `/proc` is not there.
pub fn machine_cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    busy(&stat).context("/proc/stat is of no use")
}

/// The soft limit comes first, then the hard one.
fn hard_file_limit(limits: &str) -> Option<&str> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)
}

fn usage(stat: &str, status: &str) -> Option<Usage> {
    let memory = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib / 1024.0)
    };
    Some(Usage {
        cpu: ticks(stat, 2)?,
        memory: memory("VmRSS:")?,
        peak: memory("VmHWM:")?,
    })
}

/// The sum of `count` fields from the 14th: user and system time, then those of children. Counted after the program's
/// name, which may hold anything.
fn ticks(stat: &str, count: usize) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields = after_name.split_whitespace().skip(11).take(count);
    let ticks: u32 = fields
        .map(|field| field.parse::<u32>().ok())
        .sum::<Option<u32>>()?;
    Some(TICK * ticks)
}

/// User, nice, system, and interrupts: all but idle, waiting and stolen time.
fn busy(stat: &str) -> Option<Duration> {
    let fields: Vec<u64> = stat
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))?
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let busy: u64 = [0, 1, 2, 5, 6]
        .iter()
        .map(|at| fields.get(*at))
        .sum::<Option<u64>>()?;
    Some(Duration::from_millis(10 * busy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_whatever_the_program_is_called() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 300 45 6 7 20 0 9 0 4242 0";
        assert_eq!(ticks(stat, 2), Some(Duration::from_millis(3450)));
        assert_eq!(ticks(stat, 4), Some(Duration::from_millis(3580)));
        let status = "Name:\ta\nVmHWM:\t   4096 kB\nVmRSS:\t   2048 kB\n";
        let found = usage(stat, status);
        assert_eq!(found.map(|usage| (usage.memory, usage.peak)), Some((2.0, 4.0)));
        assert_eq!(usage(stat, "Name:\ta\n"), None);
    }

    #[test]
    fn the_hard_limit_of_open_files_is_the_second() {
        let limits = "Limit Soft Hard Units\nMax open files            1024                 524288               files\n";
        assert_eq!(hard_file_limit(limits), Some("524288"));
        raise_file_limit().unwrap();
    }

    #[test]
    fn idle_waiting_and_stolen_time_is_not_busy() {
        let stat = "cpu  100 10 50 9999 777 3 2 555 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy(stat), Some(Duration::from_millis(1650)));
    }

    #[tokio::test]
    async fn a_process_is_watched_and_ended_and_its_log_tells_why_it_ended_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let mut running = Running::start(Path::new("sleep"), "sleep", dir.path(), ["60"], &[]).unwrap();
        running.check().unwrap();
        assert!(running.usage().unwrap().memory > 0.0);
        running.end().await.unwrap();
        assert!(running.check().is_err());
        let script = ["-c", "echo a reason; exit 3"];
        let mut broken = Running::start(Path::new("sh"), "broken", dir.path(), script, &[]).unwrap();
        broken.child.wait().await.unwrap();
        let said = broken.check().unwrap_err().to_string();
        assert!(
            said.contains("broken ended") && said.contains("a reason"),
            "{said}"
        );
    }
}
