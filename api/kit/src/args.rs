//! Command-line arguments that the binaries share, under the names that are known from earlier versions.

mod address;
mod consistent;

use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

pub use address::{AddressError, BindAddress};
pub use consistent::refuse_without;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people at a terminal.
    Text,
}

/// Logging.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// Format of log lines.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Log at debug level. RUST_LOG wins over this.
    #[arg(long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub debug: bool,
}

/// Probes and metrics.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Probes and metrics")]
pub struct AdminArgs {
    /// Address of /metrics; "0" turns it off.
    #[arg(long)]
    pub metrics_addr: Option<BindAddress>,
    /// Address of /livez, /readyz and /log-level; "0" turns it off.
    #[arg(long, default_value = ":8081")]
    pub health_probe_bind_address: BindAddress,
}

impl AdminArgs {
    /// Where metrics are served: as told, or on this port.
    pub fn metrics_or(&self, default_port: u16) -> BindAddress {
        self.metrics_addr
            .clone()
            .unwrap_or(BindAddress::Any(default_port))
    }
}

crate::consistent!(LeaseConsistency:
    "enable_leader_election" => [
        "leader_election_lease_duration",
        "leader_election_renew_deadline",
        "leader_election_retry_period",
    ],
);

/// Leader election.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Leader election")]
pub struct LeaseArgs {
    /// Flags that contradict each other are refused.
    #[command(flatten)]
    pub consistency: LeaseConsistency,
    /// Only the replica that holds a lease writes. Without this, the process takes itself for the only one.
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub enable_leader_election: bool,
    /// Namespace of the lease; the namespace of the pod unless told.
    #[arg(long, env = "POD_NAMESPACE")]
    pub leader_election_namespace: Option<String>,
    /// Who this replica is; the name of the pod unless told.
    #[arg(long, env = "POD_NAME")]
    pub leader_election_identity: Option<String>,
    /// Others wait this long after the last renewal before they take over.
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub leader_election_lease_duration: Duration,
    /// The holder stops leading when it could not renew for this long.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub leader_election_renew_deadline: Duration,
    /// How often the lease is renewed, or tried to be got.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub leader_election_retry_period: Duration,
}

/// Reads a duration as Go and Kubernetes write it: `15s`, `1m30s`, `250ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (value, unit, tail) = component(rest).ok_or_else(|| bad_duration(text))?;
        total = total
            .checked_add(unit.checked_mul(value).ok_or_else(|| bad_duration(text))?)
            .ok_or_else(|| bad_duration(text))?;
        rest = tail;
    }
    if text.is_empty() {
        Err(bad_duration(text))
    } else {
        Ok(total)
    }
}

fn component(text: &str) -> Option<(u32, Duration, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (value, rest) = text.split_at(digits);
    let units = [
        ("ms", Duration::from_millis(1)),
        ("s", Duration::from_secs(1)),
        ("m", Duration::from_secs(60)),
        ("h", Duration::from_secs(3600)),
    ];
    let (name, unit) = units.into_iter().find(|(name, _)| rest.starts_with(name))?;
    Some((value.parse().ok()?, unit, &rest[name.len()..]))
}

fn bad_duration(text: &str) -> String {
    format!("{text:?} is no duration such as 15s, 1m30s or 250ms")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        log: LogArgs,
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        lease: LeaseArgs,
    }

    #[test]
    fn flags_are_read_as_go_programs_read_them() {
        let args = [
            "x",
            "--metrics-addr=:9445",
            "--enable-leader-election=false",
            "--debug",
        ];
        let cli = Cli::try_parse_from(args).unwrap();
        assert!(cli.log.debug);
        assert!(!cli.lease.enable_leader_election);
        assert_eq!(cli.admin.metrics_or(1), BindAddress::Any(9445));
        assert_eq!(cli.admin.health_probe_bind_address, BindAddress::Any(8081));
    }

    #[test]
    fn leader_election_has_the_usual_timing_unless_told() {
        let cli = Cli::try_parse_from(["x", "--enable-leader-election"]).unwrap();
        assert!(cli.lease.enable_leader_election);
        assert_eq!(cli.lease.leader_election_lease_duration, Duration::from_secs(15));
        assert_eq!(cli.lease.leader_election_renew_deadline, Duration::from_secs(10));
        assert_eq!(cli.lease.leader_election_retry_period, Duration::from_secs(2));
    }

    #[test]
    fn timing_without_leader_election_is_refused() {
        let refusal = |flags: &[&str]| {
            let parsed = Cli::try_parse_from([&["x"][..], flags].concat());
            parsed.err().map(|error| error.to_string()).unwrap_or_default()
        };
        for flag in [
            "--leader-election-lease-duration",
            "--leader-election-renew-deadline",
            "--leader-election-retry-period",
        ] {
            let timing = format!("{flag}=3s");
            let said = refusal(&["--enable-leader-election=false", &timing]);
            assert!(
                said.contains(&format!(
                    "{flag} has no meaning with --enable-leader-election=false"
                )),
                "{said}"
            );
            assert_eq!(refusal(&[&timing]), "");
        }
        assert_eq!(
            refusal(&["--enable-leader-election=false", "--leader-election-identity=me"]),
            ""
        );
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "15", "s", "3 s", "1d", "99999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
