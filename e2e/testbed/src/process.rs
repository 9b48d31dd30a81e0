//! A process that was started by us, recorded so that only it is ever ended: by id and start time, never by name.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::command::Run;
use crate::error::Result;
use crate::progress::eventually;

/// A recorded process.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since boot: ids are reused, pairs are not.
    pub started: u64,
}

impl Process {
    /// Records a running process.
    pub fn record(pid: u32) -> Option<Self> {
        Some(Self {
            pid,
            started: start_time(pid)?,
        })
    }

    /// Whether this very process still runs.
    pub fn runs(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Asks it to end and waits; ends it for good if it does not.
    pub fn end(&self, patience: Duration) -> Result<()> {
        for (signal, patience) in [("TERM", patience), ("KILL", Duration::from_secs(10))] {
            if !self.runs() {
                return Ok(());
            }
            // It may end between the look and the signal.
            let _ = Run::new("kill")
                .args(["-s", signal, "--"])
                .arg(self.pid.to_string())
                .run();
            let look = || {
                if self.runs() {
                    Err("it runs".to_owned())
                } else {
                    Ok(())
                }
            };
            let ended = eventually(
                &format!("process {} to end", self.pid),
                patience,
                Duration::from_millis(100),
                look,
            );
            if ended.is_ok() || signal == "KILL" {
                return ended;
            }
        }
        Ok(())
    }
}

fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_start_time(&stat)
}

/// Field 22, counted after the program's name, which may hold anything; a zombie counts as gone.
fn parse_start_time(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_id_and_start_time() {
        let me = Process::record(std::process::id());
        assert!(me.as_ref().is_some_and(Process::runs));
        let another = me.map(|p| Process {
            started: p.started + 1,
            ..p
        });
        assert!(another.is_some_and(|p| !p.runs()));
    }

    #[test]
    fn names_may_hold_anything() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 0";
        assert_eq!(parse_start_time(stat), Some(4242));
        assert_eq!(parse_start_time(&stat.replace(") S", ") Z")), None);
    }
}
