//! How contestants are measured: turn by turn, after a warm-up.

use std::collections::BTreeMap;

use serde::Serialize;

use super::error::{BenchError, Result};

/// What one run gave: figures by name, in the base units of
/// [`Unit`](super::report::Unit).
pub type Figures = Vec<(&'static str, f64)>;

/// How often contestants run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rounds {
    /// Runs of each that do not count.
    pub warm_up: usize,
    /// Runs of each that do.
    pub counted: usize,
}

/// One of several that do the same.
pub struct Contestant<'a> {
    name: String,
    run: Box<dyn FnMut() -> Result<Figures> + 'a>,
}

impl<'a> Contestant<'a> {
    /// A contestant that does one run in each call of `run`.
    pub fn new(name: impl Into<String>, run: impl FnMut() -> Result<Figures> + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// What the runs of a contestant gave.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whose.
    pub name: String,
    /// The samples of each figure, in the order of the runs.
    pub samples: BTreeMap<&'static str, Vec<f64>>,
    /// What the runs that failed said.
    pub failures: Vec<String>,
}

/// Runs contestants in alternating order: A B, B A, A B and so on, so that what
/// changes on the machine meanwhile, and what one leaves to the next, is shared
/// by all.
///
/// # Errors
///
/// [`BenchError::Interrupted`] only: other failures of a run are counted.
pub fn race(rounds: Rounds, contestants: &mut [Contestant<'_>]) -> Result<Vec<Outcome>> {
    let named = |contestant: &Contestant<'_>| Outcome {
        name: contestant.name.clone(),
        ..Outcome::default()
    };
    let mut outcomes: Vec<Outcome> = contestants.iter().map(named).collect();
    for round in 0..rounds.warm_up + rounds.counted {
        for index in order(round, contestants.len()) {
            let figures = match (contestants[index].run)() {
                Err(BenchError::Interrupted) => return Err(BenchError::Interrupted),
                // What fails once cold may work warm.
                Err(_) if round < rounds.warm_up => continue,
                Err(error) => {
                    outcomes[index].failures.push(error.to_string());
                    continue;
                }
                Ok(figures) => figures,
            };
            if round >= rounds.warm_up {
                for (figure, value) in figures {
                    outcomes[index].samples.entry(figure).or_default().push(value);
                }
            }
        }
    }
    Ok(outcomes)
}

/// Who runs when in a round: forward and backward in turn.
fn order(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |index| if round.is_multiple_of(2) { index } else { count - 1 - index })
}

/// What is told of samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The smallest.
    pub min: f64,
    /// A quarter is below.
    pub lower_quartile: f64,
    /// Half is below.
    pub median: f64,
    /// Three quarters are below.
    pub upper_quartile: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// Of samples; `None` without any.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            min: *sorted.first()?,
            lower_quartile: quantile(&sorted, 0.25),
            median: quantile(&sorted, 0.5),
            upper_quartile: quantile(&sorted, 0.75),
            max: *sorted.last()?,
        })
    }
}

/// With a linear course between two samples (type 7 of Hyndman and Fan, what R
/// and NumPy do).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * position.fract()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const ROUNDS: Rounds = Rounds { warm_up: 1, counted: 3 };

    #[test]
    fn contestants_take_turns_at_going_first_and_warm_up_does_not_count() {
        let runs = RefCell::new(String::new());
        let run = |name: &'static str| {
            let runs = &runs;
            Contestant::new(name, move || {
                runs.borrow_mut().push_str(name);
                Ok(vec![("length", runs.borrow().len() as f64)])
            })
        };
        let outcomes = race(ROUNDS, &mut [run("A"), run("B"), run("C")]).unwrap();
        assert_eq!(*runs.borrow(), "ABCCBAABCCBA");
        assert_eq!(outcomes[0].samples["length"], [6.0, 7.0, 12.0]);
        assert_eq!(outcomes[2].samples["length"], [4.0, 9.0, 10.0]);
    }

    #[test]
    fn failures_are_counted_and_an_interruption_ends_all() {
        let mut run = 0;
        let failing = Contestant::new("A", || {
            run += 1;
            if run == 3 { Err(BenchError::Lacks("luck".into())) } else { Ok(vec![("x", 1.0)]) }
        });
        let outcomes = race(ROUNDS, &mut [failing]).unwrap();
        assert_eq!(outcomes[0].samples["x"].len(), 2);
        assert_eq!(outcomes[0].failures, ["luck"]);
        let stopped = Contestant::new("A", || Err(BenchError::Interrupted));
        assert!(matches!(race(ROUNDS, &mut [stopped]), Err(BenchError::Interrupted)));
    }

    #[test]
    fn summaries_are_those_of_the_textbook() {
        let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        let Summary { min, lower_quartile, median, upper_quartile, max } = summary;
        assert_eq!([min, lower_quartile, median, upper_quartile, max], [1.0, 1.75, 2.5, 3.25, 4.0]);
        assert_eq!(Summary::of(&[7.0]).unwrap().upper_quartile, 7.0);
        assert_eq!(Summary::of(&[]), None);
    }
}
