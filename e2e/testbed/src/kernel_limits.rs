//! Raises the machine's inotify limits where they are too low for several nodes on one kernel (kind's documentation asks
//! for the same). Never lowers one; a higher limit harms nothing, so it stays when the lab goes.

use std::fs;

use crate::error::{Doing, Result};
use crate::host;
use crate::progress::Progress;

/// Limits and what a lab needs of each: systemd, containerd, kubelet and the pods of every node take instances.
const NEEDED: [(&str, u64); 2] = [("max_user_instances", 1024), ("max_user_watches", 524_288)];

/// Raises what is too low, as root; otherwise says what may have to be raised.
pub fn ensure(progress: &Progress) -> Result<()> {
    for (limit, needed) in NEEDED {
        let path = format!("/proc/sys/fs/inotify/{limit}");
        let text = fs::read_to_string(&path).unwrap_or_default();
        if !too_low(&text, needed) {
            continue;
        }
        let had = text.trim();
        if host::is_root() {
            progress.say(format!("raising fs.inotify.{limit} from {had} to {needed}"));
            fs::write(&path, needed.to_string()).doing(|| format!("raising {path}"))?;
        } else {
            progress.say(format!("fs.inotify.{limit} is {had}; nodes that do not start may need it raised: sudo sysctl fs.inotify.{limit}={needed}"));
        }
    }
    Ok(())
}

/// A limit that cannot be read is another machine's (a daemon in a virtual machine): not for us to judge.
fn too_low(text: &str, needed: u64) -> bool {
    text.trim().parse::<u64>().is_ok_and(|has| has < needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_low_limits_are_raised() {
        assert!(too_low("128\n", 1024));
        assert!(!too_low("8192\n", 1024) && !too_low("", 1024));
    }
}
