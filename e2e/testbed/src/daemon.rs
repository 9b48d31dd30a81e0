//! A Docker daemon of the lab's own, in a network namespace of its own: no packet of a test touches the machine's
//! network. Ends only what it started, by recorded id.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::command::Run;
use crate::error::{Doing, Error, Result};
use crate::host::{self, Host};
use crate::process::Process;
use crate::progress::{Progress, eventually};
use crate::site::{self, Site};
use crate::state::{Docker, State, StateDir};
use crate::{packages, runc_wrapper};

const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the daemon unless it runs.
pub fn ensure(host: &Host, progress: &Progress, dir: &StateDir, state: &mut State) -> Result<()> {
    let Docker::Own { namespace, daemon } = &state.docker else {
        return Ok(());
    };
    if daemon.as_ref().is_some_and(Process::runs) && Site::of(state, dir).docker().arg("info").succeeds() {
        return Ok(());
    }
    packages::ensure_for_daemon(progress)?;
    let namespace = namespace.clone();
    ensure_namespace(&namespace)?;
    let started = progress.stage("starting the lab's own Docker daemon", || {
        if let Some(old) = daemon {
            old.end(PATIENCE)?;
        }
        start(host, dir, &namespace)
    })?;
    state.docker = Docker::Own {
        namespace,
        daemon: Some(started),
    };
    dir.save(state)?;
    let site = Site::of(state, dir);
    let look = || {
        site.docker()
            .arg("info")
            .output()
            .map(drop)
            .map_err(|e| e.to_string())
    };
    eventually(
        "the lab's Docker daemon (its log is docker.log)",
        PATIENCE,
        Duration::from_millis(200),
        look,
    )
}

fn ensure_namespace(name: &str) -> Result<()> {
    if !site::namespace_file(name).exists() {
        Run::new("ip").args(["netns", "add", name]).run()?;
    }
    let inside = site::enter(name);
    Run::new("ip")
        .args(["link", "set", "lo", "up"])
        .under(&inside)
        .run()?;
    Run::new("sysctl")
        .args(["-qw", "net.ipv4.ip_forward=1"])
        .under(&inside)
        .run()
}

fn start(host: &Host, dir: &StateDir, namespace: &str) -> Result<Process> {
    let config = dir.file("docker.json");
    let text = configuration(host, dir)?.to_string();
    fs::write(&config, text).on("writing", &config)?;
    forget_dead(dir);
    let log_file = dir.logs().join("docker.log");
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log_file)
        .on("opening", &log_file)?;
    let errors = log.try_clone().on("opening", &log_file)?;
    let run = Run::new("dockerd")
        .arg("--config-file")
        .arg(&config)
        .under(&site::enter(namespace));
    let mut command = run.command();
    command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .current_dir("/");
    let child = command.spawn().doing(|| "starting dockerd".to_owned())?;
    Process::record(child.id())
        .ok_or_else(|| Error::Unsupported(format!("dockerd ended at once: see {}", log_file.display())))
}

/// What a killed daemon left would keep the next one from starting: ids that by now are other processes'.
fn forget_dead(dir: &StateDir) {
    for (file, mention) in [
        ("docker.pid", "docker.json"),
        ("docker-run/containerd/containerd.pid", "docker-run/containerd"),
    ] {
        let file = dir.file(file);
        let Ok(pid) = fs::read_to_string(&file) else {
            continue;
        };
        let line = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        if !line.contains(&*dir.file(mention).to_string_lossy()) {
            let _ = fs::remove_file(file);
        }
    }
}

fn configuration(host: &Host, dir: &StateDir) -> Result<Value> {
    let mut config = json!({
        "data-root": dir.file("docker"),
        "exec-root": dir.file("docker-run"),
        "pidfile": dir.file("docker.pid"),
        "hosts": [format!("unix://{}", site::socket(dir).display())],
        "bip": "192.168.250.1/24",
        "storage-driver": "overlay2",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "cgroup-parent": cgroup(dir),
        "oom-score-adjust": 0,
        "log-level": "warn",
    });
    if !host.sys_resource {
        let real = host::program("runc")
            .ok_or_else(|| Error::Unsupported("there is no runc beside dockerd".to_owned()))?;
        let wrapper = dir.file("runc");
        runc_wrapper::install(&wrapper, &real)?;
        config["runtimes"] = json!({"without-capability": {"path": wrapper}});
        config["default-runtime"] = json!("without-capability");
    }
    Ok(config)
}

fn cgroup(dir: &StateDir) -> String {
    let name = dir.path().file_name().unwrap_or_default().to_string_lossy();
    format!("/kubelb-lab-{name}")
}

/// Ends the daemon and takes away everything that it and its namespace held.
pub fn remove(dir: &StateDir, state: &State) -> Result<()> {
    let Docker::Own { namespace, daemon } = &state.docker else {
        return Ok(());
    };
    if let Some(daemon) = daemon {
        daemon.end(PATIENCE)?;
    }
    unmount_below(dir.path())?;
    if site::namespace_file(namespace).exists() {
        Run::new("ip").args(["netns", "del", namespace]).run()?;
    }
    remove_cgroups(&cgroup(dir));
    Ok(())
}

/// Whether this lab's daemon may hold anything.
pub fn was_started(state: &State) -> bool {
    !matches!(&state.docker, Docker::Own { daemon: None, .. })
}

/// Whether the daemon of this lab runs.
pub fn runs(state: &State) -> bool {
    match &state.docker {
        Docker::Own { daemon, .. } => daemon.as_ref().is_some_and(Process::runs),
        Docker::Existing => true,
    }
}

fn unmount_below(dir: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").doing(|| "reading the mounts".to_owned())?;
    let mut below: Vec<_> = mounts
        .lines()
        .filter_map(|l| l.split(' ').nth(1))
        .filter(|m| Path::new(m).starts_with(dir))
        .collect();
    below.sort_unstable();
    below
        .iter()
        .rev()
        .try_for_each(|mount| Run::new("umount").args(["--lazy", mount]).run())
}

/// Empty cgroups only: a group with processes refuses to go.
fn remove_cgroups(name: &str) {
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let group = hierarchy.path().join(name.trim_start_matches('/'));
        remove_empty_groups(&group);
    }
    remove_empty_groups(&Path::new("/sys/fs/cgroup").join(name.trim_start_matches('/')));
}

fn remove_empty_groups(group: &Path) {
    for child in fs::read_dir(group).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|t| t.is_dir()) {
            remove_empty_groups(&child.path());
        }
    }
    let _ = fs::remove_dir(group);
}
