//! `lab`: brings up, uses and takes down the project's testbed.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::{IpNet, Ipv4Net};
use testbed::cache::Cache;
use testbed::cluster::Shape;
use testbed::command::Run;
use testbed::host::Host;
use testbed::image::Image;
use testbed::progress::Progress;
use testbed::site::Site;
use testbed::state::{State, StateDir};
use testbed::up::{Daemon, Wish};
use testbed::{address_pool, cluster, daemon, down, environment, load, published, tools, up};

/// Labs of kind clusters: a hub and tenants beside it.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Which lab is meant.
#[derive(Args)]
struct LabName {
    /// The lab's name: several can stand side by side.
    #[arg(long, default_value = "kubelb", env = "KUBELB_LAB")]
    name: String,
}

/// Which cluster of which lab is meant.
#[derive(Args)]
struct ClusterName {
    #[command(flatten)]
    lab: LabName,
    /// The cluster: hub, tenant-a, ...
    #[arg(long, default_value = "hub")]
    cluster: String,
}

#[derive(Subcommand)]
enum Command {
    /// Bring the lab up, or complete or repair it.
    Up(UpArgs),
    /// Take the lab down; the cache stays.
    Down(LabName),
    /// Run a program in the lab, with its environment.
    Exec {
        #[command(flatten)]
        of: ClusterName,
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// A shell in the lab.
    Shell(ClusterName),
    /// Print the lab's environment as shell exports.
    Env(ClusterName),
    /// Load image archives into the nodes of a cluster.
    Load {
        #[command(flatten)]
        of: ClusterName,
        /// The archives.
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Make an image archive from a program.
    Image(ImageArgs),
    /// Build or find the third-party parts and print where they are.
    Tools,
    /// Print what this machine is.
    Doctor,
    /// Print the writes that a cluster's API server saw, one JSON document a line.
    Audit(ClusterName),
    /// Collect logs of the lab and its clusters into a folder.
    Logs {
        #[command(flatten)]
        lab: LabName,
        /// The folder.
        #[arg(long)]
        to: PathBuf,
    },
    /// Serve the address pool; runs inside the hub.
    #[command(hide = true)]
    AddressPool {
        /// A pool; each family can have one.
        #[arg(long = "pool", required = true)]
        pools: Vec<IpNet>,
    },
}

#[derive(Args)]
struct UpArgs {
    #[command(flatten)]
    lab: LabName,
    /// The tenants' letters.
    #[arg(long, value_delimiter = ',', default_value = "a,b")]
    tenants: Vec<String>,
    /// How many workers tenant-a has beside its control plane, which takes pods too.
    #[arg(long, default_value_t = 2)]
    tenant_a_workers: usize,
    /// Clusters with IPv6 beside IPv4, if the lab can have it.
    #[arg(long, value_delimiter = ',', default_value = "hub,tenant-b")]
    dual_stack: Vec<String>,
    /// The address range: a /18 or more.
    #[arg(long)]
    range: Option<Ipv4Net>,
    /// The published node image, where Docker runs and can have it.
    #[arg(long, default_value_t = published::default_name(), env = "KUBELB_NODE_IMAGE")]
    node_image: String,
    /// Which Docker daemon to use.
    #[arg(long, value_enum, default_value_t = DaemonArg::Auto, env = "KUBELB_LAB_DOCKER")]
    docker: DaemonArg,
}

#[derive(Clone, Copy, ValueEnum)]
enum DaemonArg {
    Auto,
    Own,
    Existing,
}

#[derive(Args)]
struct ImageArgs {
    /// The image's name with its tag; may be given more than once.
    #[arg(long = "name", required = true)]
    names: Vec<String>,
    /// The program.
    #[arg(long)]
    binary: PathBuf,
    /// A further file, as SOURCE:DESTINATION.
    #[arg(long = "file")]
    files: Vec<String>,
    /// What the image runs; the program, unless given.
    #[arg(long)]
    entrypoint: Vec<String>,
    /// Who it runs as.
    #[arg(long, default_value = "65532:65532")]
    user: String,
    /// The archive to write.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let progress = Progress::default();
    match cli.command {
        Command::Up(args) => bring_up(&args, &progress),
        Command::Down(lab) => Ok(down::down(&lab.name, &progress)?),
        Command::Exec { of, words } => exec(&of, &words),
        Command::Shell(of) => {
            let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
            exec(&of, &[shell])
        }
        Command::Env(of) => print_env(&of),
        Command::Load { of, archives } => load_archives(&of, &archives, &progress),
        Command::Image(args) => make_image(args),
        Command::Tools => print_tools(&progress),
        Command::Doctor => print_machine(),
        Command::Audit(of) => print_audit(&of),
        Command::Logs { lab, to } => collect_logs(&lab.name, &to),
        Command::AddressPool { pools } => serve_pools(&pools),
    }
}

fn bring_up(args: &UpArgs, progress: &Progress) -> anyhow::Result<()> {
    let name = &args.lab.name;
    let size = |tenant: &str| {
        if tenant == "a" {
            1 + args.tenant_a_workers
        } else {
            1
        }
    };
    let shaped = |name: String, size: usize| {
        let dual_stack = args.dual_stack.contains(&name);
        (name, Shape { size, dual_stack })
    };
    let tenants = args.tenants.iter().filter(|t| !t.is_empty());
    let tenants = tenants.map(|t| shaped(format!("tenant-{t}"), size(t)));
    let clusters = std::iter::once(shaped("hub".to_owned(), 1))
        .chain(tenants)
        .collect();
    let daemon = match args.docker {
        DaemonArg::Auto => Daemon::Auto,
        DaemonArg::Own => Daemon::Own,
        DaemonArg::Existing => Daemon::Existing,
    };
    let wish = Wish {
        name: name.clone(),
        range: args.range,
        clusters,
        daemon,
        node_image: args.node_image.clone(),
    };
    let logs = StateDir::of(name)?.logs();
    up::up(&wish, progress).with_context(|| {
        format!(
            "the lab did not come up; logs are in {} (`lab logs` collects more)",
            logs.display()
        )
    })?;
    Ok(())
}

fn standing(name: &str) -> anyhow::Result<(State, StateDir)> {
    let dir = StateDir::of(name)?;
    let Some(state) = dir.load()? else {
        bail!("there is no lab {name}: `lab up` makes it")
    };
    if !daemon::runs(&state) {
        bail!("lab {name} stands still, its Docker daemon has ended: `lab up` starts it again");
    }
    Ok((state, dir))
}

fn standing_with(of: &ClusterName) -> anyhow::Result<(State, StateDir)> {
    let (state, dir) = standing(&of.lab.name)?;
    if state.clusters.contains_key(&of.cluster) {
        return Ok((state, dir));
    }
    bail!(
        "there is no cluster {}; there are {:?}",
        of.cluster,
        state.clusters.keys()
    )
}

fn exec(of: &ClusterName, words: &[String]) -> anyhow::Result<()> {
    let (state, dir) = standing_with(of)?;
    let cluster = &of.cluster;
    let Some((program, args)) = words.split_first() else {
        bail!("no program given")
    };
    let run = Site::of(&state, &dir).run(program).args(args);
    let run = environment::variables(&state, &dir, cluster)?
        .into_iter()
        .fold(run, |run, (k, v)| run.env(k, v));
    let error = run.command().exec();
    Err(error).with_context(|| format!("running {program}"))
}

fn print_env(of: &ClusterName) -> anyhow::Result<()> {
    let (state, dir) = standing_with(of)?;
    for (variable, value) in environment::variables(&state, &dir, &of.cluster)? {
        println!("export {variable}='{value}'");
    }
    Ok(())
}

fn load_archives(of: &ClusterName, archives: &[PathBuf], progress: &Progress) -> anyhow::Result<()> {
    let (state, dir) = standing_with(of)?;
    let cluster = &of.cluster;
    let Some(known) = state.clusters.get(cluster) else {
        bail!("there is no cluster {cluster}")
    };
    for archive in archives {
        if !load::ensure(&Site::of(&state, &dir), progress, cluster, known, archive)? {
            progress.say(format!("{} is in {cluster} already", archive.display()));
        }
    }
    Ok(())
}

fn make_image(args: ImageArgs) -> anyhow::Result<()> {
    let name = args
        .binary
        .file_name()
        .context("the program has no name")?
        .to_string_lossy()
        .into_owned();
    let place = format!("/usr/local/bin/{name}");
    let entrypoint = if args.entrypoint.is_empty() {
        vec![place.clone()]
    } else {
        args.entrypoint
    };
    let mut image = Image::new(args.names)
        .program(&args.binary, &place)
        .entrypoint(entrypoint)
        .user(&args.user);
    for file in &args.files {
        let (source, to) = file
            .split_once(':')
            .with_context(|| format!("{file} is not SOURCE:DESTINATION"))?;
        image = image.file(source, to, 0o644);
    }
    Ok(image.write(&args.out)?)
}

fn print_tools(progress: &Progress) -> anyhow::Result<()> {
    let cache = Cache::from_env()?;
    let common = tools::common(&cache, progress)?;
    let node = tools::node(&cache, progress)?;
    for built in [
        &common.common,
        &common.kind,
        &node.kubernetes,
        &node.containerd,
        &node.runc,
        &node.crictl,
    ] {
        println!("{}", built.programs().display());
    }
    println!("{}", common.envoy.display());
    Ok(())
}

fn print_machine() -> anyhow::Result<()> {
    let host = Host::detect();
    println!("root:              {}", host.root);
    println!("cgroups:           {}", if host.cgroup_v2 { "v2" } else { "v1" });
    println!(
        "CAP_SYS_RESOURCE:  {}",
        if host.sys_resource {
            "there"
        } else {
            "missing: runc is wrapped"
        }
    );
    println!(
        "IPv6:              {}",
        if host.ipv6 { "there" } else { "missing" }
    );
    println!(
        "Docker daemon:     {}",
        host.docker.as_deref().unwrap_or("none answers")
    );
    println!("cache:             {}", Cache::from_env()?.root().display());
    Ok(())
}

fn print_audit(of: &ClusterName) -> anyhow::Result<()> {
    let (state, dir) = standing_with(of)?;
    let site = Site::of(&state, &dir);
    print!(
        "{}",
        site.in_node(
            &site.control_plane(&of.cluster),
            &format!("cat {}", cluster::AUDIT_LOG)
        )
        .output()?
    );
    Ok(())
}

fn collect_logs(name: &str, to: &std::path::Path) -> anyhow::Result<()> {
    let (state, dir) = standing(name)?;
    std::fs::create_dir_all(to)?;
    Run::new("cp").arg("-r").arg(dir.logs()).arg(to).run()?;
    let site = Site::of(&state, &dir);
    for cluster in state.clusters.keys() {
        let kind = site.kind_name(cluster);
        if let Err(error) = site
            .run("kind")
            .args(["export", "logs", "--name", &kind])
            .arg(to.join(cluster))
            .run()
        {
            eprintln!("lab: logs of {cluster}: {error}");
        }
    }
    println!("{}", to.display());
    Ok(())
}

fn serve_pools(pools: &[IpNet]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(address_pool::serve(pools))?)
}
