//! What a run of measurements found.
//!
//! ```text
//! Report ─┬─ Machine
//!         └─ SuiteReport ─┬─ notes: VMs, what was pinned where
//!                         └─ Section (a table, a plot) ── Point (a row)
//!                                        ├─ Measured (a column): samples, summary, failures
//!                                        ├─ Ratio (a column)
//!                                        └─ Cost (a column)
//! ```

use serde::Serialize;

use super::machine::Machine;
use super::measure::{Outcome, Rounds, Summary};

/// All that a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// How often.
    pub rounds: Rounds,
    /// What, in the order of the run.
    pub suites: Vec<SuiteReport>,
}

impl Report {
    /// What of the project's own went wrong: suites that ended early, images
    /// that did not restore, saves that failed.
    pub fn defects(&self) -> Vec<String> {
        self.suites.iter().flat_map(SuiteReport::defects).collect()
    }
}

/// What a suite found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SuiteReport {
    /// Its name on the command line.
    pub name: &'static str,
    /// Under which circumstances.
    pub notes: Vec<String>,
    /// What was measured.
    pub sections: Vec<Section>,
    /// What ended it early.
    pub error: Option<String>,
}

impl SuiteReport {
    /// Adds a circumstance, once.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn defects(&self) -> Vec<String> {
        let mut defects = Vec::new();
        let name = self.name;
        if let Some(error) = &self.error {
            defects.push(format!("{name}: {error}"));
        }
        for section in &self.sections {
            for point in &section.points {
                let place = format!("{name}: {}, {}", section.title, point.label);
                if let Some(Restored::Failed(why)) = &point.restored {
                    defects.push(format!("{place}: images did not restore: {why}"));
                }
                for measured in point.measured.iter().filter(|measured| measured.is_ours()) {
                    if let Some(failure) = measured.failures.first() {
                        let count = measured.failures.len();
                        defects.push(format!("{place}: {count} failed: {failure}"));
                    }
                }
            }
        }
        // What failed stands in each section of the same runs.
        let mut seen = std::collections::HashSet::new();
        defects.retain(|defect| seen.insert(defect.clone()));
        defects
    }
}

/// How values are shown. All are kept in base units: seconds, bytes per second,
/// operations per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Seconds, shown in milliseconds.
    Seconds,
    /// Bytes per second, shown in GB/s.
    BytesPerSecond,
    /// Operations per second.
    PerSecond,
    /// A number of things.
    Count,
}

impl Unit {
    /// Its name where values are shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seconds => "ms",
            Self::BytesPerSecond => "GB/s",
            Self::PerSecond => "1/s",
            Self::Count => "number",
        }
    }

    /// A value as it is shown.
    pub fn shown(self, value: f64) -> f64 {
        match self {
            Self::Seconds => value * 1e3,
            Self::BytesPerSecond => value / 1e9,
            Self::PerSecond | Self::Count => value,
        }
    }
}

/// One table.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// What is measured.
    pub title: String,
    /// What the rows differ in.
    pub axis: String,
    /// Of all values.
    pub unit: Unit,
    /// The rows.
    pub points: Vec<Point>,
}

impl Section {
    /// A table without rows.
    pub fn new(title: impl Into<String>, axis: impl Into<String>, unit: Unit) -> Self {
        Self { title: title.into(), axis: axis.into(), unit, points: Vec::new() }
    }

    /// Adds the ratio of the medians of two contestants to each row.
    #[must_use]
    pub fn comparing(mut self, of: &str, to: &str) -> Self {
        for point in &mut self.points {
            if let (Some(dividend), Some(divisor)) = (point.median(of), point.median(to)) {
                let name = format!("{of} / {to}");
                point.ratios.push(Ratio { name, value: dividend / divisor });
            }
        }
        self
    }

    /// Adds each median's ratio to that of the same contestant in the first row.
    #[must_use]
    pub fn against_first(mut self) -> Self {
        let Some((first, others)) = self.points.split_first_mut() else { return self };
        for point in others {
            let mut ratios = Vec::new();
            for measured in &point.measured {
                let base = first.median(&measured.contestant);
                if let (Some(summary), Some(base)) = (measured.summary, base) {
                    let name = format!("{} / {}", measured.contestant, first.label);
                    ratios.push(Ratio { name, value: summary.median / base });
                }
            }
            point.ratios.extend(ratios);
        }
        self
    }

    /// Adds to each row what one more of its axis costs, by the medians of this row
    /// and the one above. Where that stays the same the cost is linear.
    #[must_use]
    pub fn with_costs(mut self) -> Self {
        for index in 1..self.points.len() {
            let (above, rest) = self.points.split_at_mut(index);
            let (above, point) = (&above[index - 1], &mut rest[0]);
            let (Some(from), Some(to)) = (above.x, point.x) else { continue };
            let cost = |measured: &Measured| {
                let more = measured.summary?.median - above.median(&measured.contestant)?;
                let name = format!("{}, each more", measured.contestant);
                Some(Cost { name, value: more / (to - from) })
            };
            point.costs = point.measured.iter().filter_map(cost).collect();
        }
        self
    }
}

/// One row of a table.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// What it is called.
    pub label: String,
    /// Where it lies on the axis, if that has numbers.
    pub x: Option<f64>,
    /// Each contestant's samples.
    pub measured: Vec<Measured>,
    /// What compares them.
    pub ratios: Vec<Ratio>,
    /// What one more costs, since the row above.
    pub costs: Vec<Cost>,
    /// Whether images that were saved in the same way restored.
    pub restored: Option<Restored>,
}

impl Point {
    /// The row of one figure, of those who have it and those who have none at all.
    pub fn of(
        label: impl Into<String>,
        x: Option<f64>,
        outcomes: &[Outcome],
        figure: &str,
    ) -> Self {
        let competes =
            |outcome: &&Outcome| outcome.samples.contains_key(figure) || outcome.samples.is_empty();
        let measured = |outcome: &Outcome| {
            let samples = outcome.samples.get(figure).cloned().unwrap_or_default();
            Measured {
                contestant: outcome.name.clone(),
                summary: Summary::of(&samples),
                samples,
                failures: outcome.failures.clone(),
            }
        };
        Self {
            label: label.into(),
            x,
            measured: outcomes.iter().filter(competes).map(measured).collect(),
            ratios: Vec::new(),
            costs: Vec::new(),
            restored: None,
        }
    }

    /// A row in which the figures of one contestant stand side by side.
    pub fn of_figures(
        label: impl Into<String>,
        x: Option<f64>,
        outcome: &Outcome,
        figures: &[&str],
    ) -> Self {
        let named = |figure: &&str| Self::of("", None, std::slice::from_ref(outcome), figure);
        let measured = figures.iter().flat_map(|figure| {
            let mut measured = named(figure).measured;
            for one in &mut measured {
                one.contestant = format!("{}, {figure}", outcome.name);
            }
            measured
        });
        let measured = measured.collect();
        Self {
            label: label.into(),
            x,
            measured,
            ratios: Vec::new(),
            costs: Vec::new(),
            restored: None,
        }
    }

    /// The row, with what became of its images.
    #[must_use]
    pub fn proven(mut self, restored: Restored) -> Self {
        self.restored = Some(restored);
        self
    }

    /// The median of a contestant.
    pub fn median(&self, contestant: &str) -> Option<f64> {
        let measured = self.measured.iter().find(|measured| measured.contestant == contestant);
        measured?.summary.map(|summary| summary.median)
    }
}

/// One cell of a table.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Whose.
    pub contestant: String,
    /// What is told of the samples; `None` where there are none.
    pub summary: Option<Summary>,
    /// All of them, in the order of the runs.
    pub samples: Vec<f64>,
    /// What the runs that failed said.
    pub failures: Vec<String>,
}

impl Measured {
    fn is_ours(&self) -> bool {
        self.contestant.starts_with(super::OURS)
    }
}

/// A quotient of two medians.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// Of what to what.
    pub name: String,
    /// The quotient.
    pub value: f64,
}

/// What one more of something costs.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Whose, and of which figure.
    pub name: String,
    /// In the unit of the section.
    pub value: f64,
}

/// What became of images when they were restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Restored {
    /// The process ran, with what it had.
    Right,
    /// It did not, and this is why.
    Failed(String),
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A section with two contestants, of which one fails once.
    pub fn sample() -> Section {
        let mut section = Section::new("Time to save", "load", Unit::Seconds);
        for (label, ours, theirs) in [("idle", 0.010, 0.020), ("cpu", 0.011, 0.050)] {
            let outcome = |name: &str, value: f64| Outcome {
                name: name.to_owned(),
                samples: [("seconds", vec![value, value * 2.0, value / 2.0])].into(),
                failures: Vec::new(),
            };
            let mut outcomes = [outcome(super::super::OURS, ours), outcome("CRIU", theirs)];
            if label == "cpu" {
                outcomes[1].failures.push("no".to_owned());
            }
            section.points.push(Point::of(label, None, &outcomes, "seconds"));
        }
        section.comparing(super::super::OURS, "CRIU").against_first()
    }

    #[test]
    fn ratios_are_those_of_the_medians() {
        let ratios = |point: &Point| {
            point.ratios.iter().map(|r| (r.name.clone(), r.value)).collect::<Vec<_>>()
        };
        let section = sample();
        assert_eq!(ratios(&section.points[0]), [("ovmigrate / CRIU".to_owned(), 0.5)]);
        let [(_, to_criu), (ours, slowdown), (theirs, slower)] = &ratios(&section.points[1])[..]
        else {
            panic!("three ratios: {section:?}")
        };
        assert!((to_criu - 0.22).abs() < 1e-9);
        assert_eq!((ours.as_str(), theirs.as_str()), ("ovmigrate / idle", "CRIU / idle"));
        assert!((slowdown - 1.1).abs() < 1e-9 && (slower - 2.5).abs() < 1e-9);
    }

    #[test]
    fn costs_are_told_from_row_to_row() {
        let mut section = sample();
        section.points[0].x = Some(1.0);
        section.points[1].x = Some(11.0);
        let section = section.with_costs();
        assert!(section.points[0].costs.is_empty());
        let [ours, theirs] = &section.points[1].costs[..] else { panic!("two: {section:?}") };
        assert_eq!(ours.name, "ovmigrate, each more");
        assert!((ours.value - 0.0001).abs() < 1e-9 && (theirs.value - 0.003).abs() < 1e-9);
    }

    #[test]
    fn only_what_is_our_fault_is_a_defect() {
        let mut suite = SuiteReport { sections: vec![sample()], ..SuiteReport::default() };
        assert_eq!(suite.defects(), Vec::<String>::new());
        suite.sections[0].points[1].measured[0].failures.push("stuck".to_owned());
        suite.sections[0].points[0].restored = Some(Restored::Failed("dead".to_owned()));
        assert_eq!(suite.defects().len(), 2, "{:?}", suite.defects());
    }
}
