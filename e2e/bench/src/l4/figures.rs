//! What was found of L4: figures, each with the bound that is promised for it. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::report::Machine;
use crate::statistics::Percentiles;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Time.
    Milliseconds,
    /// Time.
    Seconds,
    /// Size.
    Bytes,
    /// Size.
    Mebibytes,
    /// Whole things.
    Count,
    /// Things for each of something.
    Each,
    /// One figure over another.
    Ratio,
}

/// One thing that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is.
    pub what: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: Unit,
    /// What is promised: at most this. Figures without one are for the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

impl Figure {
    /// A figure for the reader.
    #[must_use]
    pub fn plain(what: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            at_most: None,
        }
    }

    /// A figure for which something is promised.
    #[must_use]
    pub fn at_most(what: impl Into<String>, value: f64, unit: Unit, bound: f64) -> Self {
        Self {
            at_most: Some(bound),
            ..Self::plain(what, value, unit)
        }
    }

    /// The median and the 99th percentile of a series of milliseconds.
    #[must_use]
    pub fn percentiles(what: &str, of: Percentiles) -> [Self; 2] {
        [("p50", of.p50), ("p99", of.p99)]
            .map(|(name, value)| Self::plain(format!("{what}, {name}"), value, Unit::Milliseconds))
    }

    /// Whether the promise is kept; none where nothing is promised.
    #[must_use]
    pub fn reached(&self) -> Option<bool> {
        self.at_most.map(|bound| self.value <= bound)
    }

    /// What a table shows: what, how much, the goal, and in a word how it stands.
    #[must_use]
    pub fn cells(&self) -> [String; 4] {
        let goal = match self.at_most {
            None => String::new(),
            Some(0.0) => "0".to_owned(),
            Some(bound) => format!("<= {}", self.unit.show(bound)),
        };
        let mark = match self.reached() {
            Some(true) => "ok",
            Some(false) => "MISSED",
            None => "",
        };
        [
            self.what.clone(),
            self.unit.show(self.value),
            goal,
            mark.to_owned(),
        ]
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes => format!("{value:.0} B"),
            Self::Mebibytes => format!("{value:.1} MiB"),
            Self::Count => format!("{value:.0}"),
            Self::Each | Self::Ratio => format!("{value:.2}"),
        }
    }
}

/// What one part found, and under which conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Cores that processes of somebody else kept busy meanwhile. Where it is not about zero, times are worse than they
    /// would be.
    pub cores_of_others: f64,
    /// Share of the full size; 1 where nothing was made smaller for a quick look.
    pub scale: f64,
    /// What was measured.
    pub figures: Vec<Figure>,
}

/// All parts that were measured, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Where.
    pub machine: Machine,
    /// `p1` to `p8`.
    pub parts: BTreeMap<String, Part>,
}

impl Section {
    /// These parts, and those of `before` that were not measured again.
    #[must_use]
    pub fn over(mut self, before: Option<Self>) -> Self {
        for (name, part) in before.into_iter().flat_map(|section| section.parts) {
            self.parts.entry(name).or_insert(part);
        }
        self
    }

    /// Rows of a table: the part, then [`Figure::cells`].
    pub fn rows(&self) -> impl Iterator<Item = [String; 5]> {
        self.parts.iter().flat_map(|(name, part)| {
            part.figures.iter().map(|figure| {
                let [what, value, goal, mark] = figure.cells();
                [name.to_uppercase(), what, value, goal, mark]
            })
        })
    }

    /// The table, and whether every goal was reached.
    #[must_use]
    pub fn table(&self) -> (String, bool) {
        let mut text = format!("{:<4} {:<84} {:>14}  goal\n", "", "", "");
        for [part, what, value, goal, mark] in self.rows() {
            let _ = writeln!(text, "{part:<4} {what:<84} {value:>14}  {goal} {mark}");
        }
        let mut figures = self.parts.values().flat_map(|part| &part.figures);
        (text, figures.all(|figure| figure.reached() != Some(false)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(figures: Vec<Figure>) -> Part {
        Part {
            seconds: 1.0,
            cores_of_others: 0.0,
            scale: 1.0,
            figures,
        }
    }

    fn section(parts: &[(&str, f64)]) -> Section {
        let parts = parts.iter().map(|(name, value)| {
            let figure = Figure::at_most("writes", *value, Unit::Count, 0.0);
            ((*name).to_owned(), part(vec![figure]))
        });
        Section {
            parts: parts.collect(),
            ..Section::default()
        }
    }

    #[test]
    fn a_promise_is_kept_up_to_its_bound_and_not_beyond() {
        let ratio = |value| Figure::at_most("p99", value, Unit::Ratio, 2.0).cells();
        assert_eq!(ratio(2.0), ["p99", "2.00", "<= 2.00", "ok"]);
        assert_eq!(ratio(2.01)[3], "MISSED");
        let plain = Figure::plain("bytes", 12.0, Unit::Bytes);
        assert_eq!(plain.cells(), ["bytes", "12 B", "", ""]);
        assert_eq!(plain.reached(), None);
    }

    #[test]
    fn a_series_is_told_by_its_median_and_its_99th_percentile() {
        let [p50, p99] = Figure::percentiles("write to update", Percentiles::of(&[1.0, 3.0, 9.0]));
        assert_eq!((p50.what.as_str(), p50.value), ("write to update, p50", 3.0));
        assert_eq!((p99.what.as_str(), p99.value), ("write to update, p99", 9.0));
    }

    #[test]
    fn parts_that_were_not_measured_again_stay() {
        let merged = section(&[("p1", 0.0)]).over(Some(section(&[("p1", 7.0), ("p2", 1.0)])));
        assert_eq!(merged.parts.len(), 2);
        assert_eq!(merged.parts["p1"].figures[0].value, 0.0);
        assert_eq!(merged.parts["p2"].figures[0].value, 1.0);
        assert_eq!(section(&[]).over(None), section(&[]));
    }

    #[test]
    fn one_missed_goal_is_seen_in_the_table_and_in_the_outcome() {
        let (text, reached) = section(&[("p1", 0.0), ("p3", 2.0)]).table();
        assert!(
            !reached && text.contains("P3") && text.contains("MISSED"),
            "{text}"
        );
        assert!(section(&[("p1", 0.0)]).table().1);
    }
}
