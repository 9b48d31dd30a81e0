//! The figures as a table with their goals. Pure.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::burst::Burst;
use crate::hops::Hops;
use crate::l4::figures::Section;
use crate::probe::Unexpected;
use crate::propagation::Propagation;
use crate::switch::Switch;

/// Where it was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor, as it calls itself.
    pub processor: String,
    /// Cores that all clusters, Envoys and the load share.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// Version of the hub's API server.
    pub kubernetes: String,
    /// Version of the product.
    pub product: String,
}

/// All that was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// P9.
    pub propagation: Vec<Propagation>,
    /// P10.
    pub burst: Option<Burst>,
    /// P11.
    pub hops: Option<Hops>,
    /// Backend switches under traffic.
    pub switch: Option<Switch>,
    /// P1 to P8, with the machine that they were measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l4: Option<Section>,
}

/// A figure and its goal.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What was measured.
    pub what: String,
    /// Through the product.
    pub delegated: String,
    /// Directly on the hub.
    pub raw: String,
    /// The goal of the delegated way; empty where there is none.
    pub goal: &'static str,
    /// Whether it was reached.
    pub reached: Option<bool>,
}

impl Line {
    /// What a table shows of it; the last says in a word how the goal stands.
    #[must_use]
    pub fn cells(&self) -> [&str; 5] {
        let Self {
            what,
            delegated,
            raw,
            goal,
            reached,
        } = self;
        let mark = match reached {
            Some(true) => "ok",
            Some(false) => "MISSED",
            None => "",
        };
        [what, delegated, raw, goal, mark]
    }
}

impl Report {
    /// These figures, and those of `before` that were not measured again. Where nothing beside Envoy Gateway was, its
    /// machine stays the one that is known.
    #[must_use]
    pub fn over(self, before: Self) -> Self {
        let Self {
            machine,
            propagation,
            burst,
            hops,
            switch,
            l4,
        } = self;
        let measured = !propagation.is_empty() || burst.is_some() || hops.is_some() || switch.is_some();
        let mut all = before.propagation;
        for found in propagation {
            match all.iter_mut().find(|former| former.series == found.series) {
                Some(former) => *former = found,
                None => all.push(found),
            }
        }
        Self {
            machine: if measured { machine } else { before.machine },
            propagation: all,
            burst: burst.or(before.burst),
            hops: hops.or(before.hops),
            switch: switch.or(before.switch),
            l4: match l4 {
                Some(section) => Some(section.over(before.l4)),
                None => before.l4,
            },
        }
    }

    /// The figures that are compared.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        self.propagation.iter().for_each(|p| propagation(p, &mut lines));
        self.burst.iter().for_each(|b| burst(b, &mut lines));
        self.switch.iter().for_each(|s| switch(s, &mut lines));
        lines
    }

    /// The table, and whether every goal was reached.
    #[must_use]
    pub fn table(&self) -> (String, bool) {
        let lines = self.lines();
        let mut text = format!("{:<64} {:>20} {:>20}  {}\n", "", "delegated", "raw", "goal");
        for line in &lines {
            let [what, delegated, raw, goal, mark] = line.cells();
            let _ = writeln!(text, "{what:<64} {delegated:>20} {raw:>20}  {goal} {mark}");
        }
        if let Some(hops) = &self.hops {
            text.push_str(&hops_table(hops));
        }
        (text, lines.iter().all(|line| line.reached != Some(false)))
    }
}

fn propagation(of: &Propagation, lines: &mut Vec<Line>) {
    let Propagation {
        series,
        delegated,
        raw,
        overhead,
        relayed,
    } = of;
    let routes = delegated.milliseconds.count;
    let title = |what: &str| format!("P9 {series}, {routes} routes: {what}");
    let mut pair = |what: &str, delegated: String, raw: String, goal, reached| {
        lines.push(Line {
            what: title(what),
            delegated,
            raw,
            goal,
            reached,
        });
    };
    let (with, without) = (delegated.milliseconds, raw.milliseconds);
    pair(
        "applied to 200, p50 / p99",
        ms(with.p50, with.p99),
        ms(without.p50, without.p99),
        "",
        None,
    );
    pair(
        "overhead of p50 and of p99",
        ms(with.p50 - without.p50, with.p99 - without.p99),
        String::new(),
        "<= 50 / 150 ms",
        Some(with.p50 - without.p50 <= 50.0 && with.p99 - without.p99 <= 150.0),
    );
    pair(
        "overhead route by route, p50 / p99",
        ms(overhead.p50, overhead.p99),
        String::new(),
        "",
        None,
    );
    if let Some(relayed) = relayed.as_ref().map(|way| way.milliseconds) {
        pair(
            "a bare relay in its place, p50 / p99",
            ms(relayed.p50, relayed.p99),
            String::new(),
            "",
            None,
        );
        pair(
            "overhead of a bare relay, of p50 and of p99",
            ms(relayed.p50 - without.p50, relayed.p99 - without.p99),
            String::new(),
            "",
            None,
        );
    }
    let strange =
        |way: &crate::propagation::Way| total(&way.unexpected) + total(&way.lost) + way.never_served as u64;
    pair(
        "answers but 404 before and 200 after",
        strange(delegated).to_string(),
        strange(raw).to_string(),
        "0",
        Some(strange(delegated) == 0),
    );
}

fn burst(of: &Burst, lines: &mut Vec<Line>) {
    let Burst {
        routes,
        delegated,
        raw,
    } = of;
    let mut pair = |what: &str, delegated: String, raw: String, goal, reached| {
        lines.push(Line {
            what: format!("P10 {routes} routes at once: {what}"),
            delegated,
            raw,
            goal,
            reached,
        });
    };
    pair(
        "all attached",
        seconds(delegated.attached),
        seconds(raw.attached),
        "<= 3 s",
        Some(delegated.attached.is_some_and(|time| time <= 3.0)),
    );
    pair(
        "Gateway writes",
        delegated.gateway_writes.to_string(),
        raw.gateway_writes.to_string(),
        "< 50",
        Some(delegated.gateway_writes < 50),
    );
    pair(
        "all served",
        seconds(delegated.served),
        seconds(raw.served),
        "",
        None,
    );
    pair(
        "all detached",
        seconds(delegated.detached),
        seconds(raw.detached),
        "",
        None,
    );
}

fn switch(of: &Switch, lines: &mut Vec<Line>) {
    let Switch {
        changes,
        delegated,
        raw,
    } = of;
    let lost =
        |outcome: &crate::load::Outcome| format!("{} of {}", total(&outcome.unexpected), outcome.requests);
    lines.push(Line {
        what: format!("{changes} backend switches: answers but 200"),
        delegated: lost(delegated),
        raw: lost(raw),
        goal: "0",
        reached: Some(total(&delegated.unexpected) == 0 && delegated.requests > 0),
    });
}

fn hops_table(of: &Hops) -> String {
    let mut text = format!("\n{:<64} {:>20} {:>20}\n", "P11", "one hop", "two hops");
    for [what, one, two] in hops(of) {
        let _ = writeln!(text, "{what:<64} {one:>20} {two:>20}");
    }
    text
}

/// What was measured of P11, through one hop and through two.
#[must_use]
pub fn hops(of: &Hops) -> Vec<[String; 3]> {
    let Hops { one, two } = of;
    let row = |what: &str, of: fn(&crate::hops::Path) -> String| [what.to_owned(), of(one), of(two)];
    vec![
        row("requests per second and core of Envoy", |p| {
            format!("{:.0}", p.per_core)
        }),
        row("requests per second", |p| format!("{:.0}", p.full.per_second)),
        row("p50 / p99 at that", |p| {
            ms(p.full.milliseconds.p50, p.full.milliseconds.p99)
        }),
        row("cores of Envoy at that", |p| format!("{:.2}", p.envoy_cores)),
        row("requests per second, paced", |p| {
            format!("{:.0}", p.paced.per_second)
        }),
        row("p50 / p99 at that pace", |p| {
            ms(p.paced.milliseconds.p50, p.paced.milliseconds.p99)
        }),
        row("answers but 200", |p| {
            (total(&p.full.unexpected) + total(&p.paced.unexpected)).to_string()
        }),
    ]
}

fn ms(p50: f64, p99: f64) -> String {
    format!("{p50:.1} / {p99:.1} ms")
}

fn seconds(time: Option<f64>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| format!("{time:.2} s"))
}

fn total(unexpected: &Unexpected) -> u64 {
    unexpected.values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::Way;

    fn way(attached: Option<f64>, writes: u64) -> Way {
        Way {
            creation: 1.0,
            attached,
            served: Some(4.0),
            gateway_writes: writes,
            unexpected: Unexpected::new(),
            detached: None,
        }
    }

    fn reached(delegated: Way) -> bool {
        let burst = Burst {
            routes: 1000,
            delegated,
            raw: way(Some(60.0), 2000),
        };
        Report {
            burst: Some(burst),
            ..Report::default()
        }
        .table()
        .1
    }

    #[test]
    fn only_the_delegated_way_has_goals() {
        assert!(reached(way(Some(2.9), 49)));
        assert!(!reached(way(Some(2.9), 50)));
        assert!(!reached(way(Some(3.1), 10)));
        assert!(!reached(way(None, 10)));
    }

    #[test]
    fn one_part_measured_again_leaves_the_others_as_they_were() {
        let burst = |writes| Burst {
            routes: 1000,
            delegated: way(None, writes),
            raw: way(None, 1),
        };
        let machine = |cores| Machine {
            cores,
            ..Machine::default()
        };
        let before = || Report {
            machine: machine(2),
            burst: Some(burst(7)),
            ..Report::default()
        };
        let l4 = Report {
            l4: Some(Section::default()),
            ..Report::default()
        };
        let merged = l4.over(before());
        assert!(merged.l4.is_some());
        assert_eq!(merged.machine.cores, 2);
        assert_eq!(merged.burst.map(|burst| burst.delegated.gateway_writes), Some(7));
        let again = Report {
            machine: machine(4),
            burst: Some(burst(8)),
            ..Report::default()
        };
        let merged = again.over(before());
        assert_eq!(merged.machine.cores, 4);
        assert_eq!(merged.burst.map(|burst| burst.delegated.gateway_writes), Some(8));
    }

    #[test]
    fn a_missed_goal_is_seen_in_the_table() {
        let burst = Burst {
            routes: 1000,
            delegated: way(None, 10),
            raw: way(Some(60.0), 2000),
        };
        let (text, _) = Report {
            burst: Some(burst),
            ..Report::default()
        }
        .table();
        assert!(
            text.contains("never") && text.contains("<= 3 s MISSED") && text.contains("< 50 ok"),
            "{text}"
        );
    }
}
