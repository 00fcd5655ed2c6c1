//! What was measured.

use serde::Serialize;

/// One value per round, beside what the platform takes for the same, and the figure to reach.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The values' unit.
    pub unit: &'static str,
    /// The values.
    pub rounds: Vec<f64>,
    /// The same without Offprint, measured in the same rounds.
    pub floor: Option<Floor>,
    /// What to reach.
    pub goal: Option<Goal>,
    /// Whether that is to be reached by any machine, at any scale and under any load: nothing is timed.
    pub is_counted: bool,
}

/// What the platform takes.
#[derive(Debug, Serialize)]
pub struct Floor {
    /// What was measured.
    pub name: String,
    /// The values, in the figure's unit.
    pub rounds: Vec<f64>,
}

/// What a figure is to reach.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Goal {
    /// At most so many times the floor.
    Ratio(f64),
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, rounds: Vec<f64>) -> Self {
        Self { name: name.into(), unit, rounds, floor: None, goal: None, is_counted: false }
    }

    pub(crate) fn beside(self, name: impl Into<String>, rounds: Vec<f64>) -> Self {
        Self { floor: Some(Floor { name: name.into(), rounds }), ..self }
    }

    pub(crate) fn with_goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    pub(crate) fn counted(self) -> Self {
        Self { is_counted: true, ..self }
    }
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 if values.is_empty() => f64::NAN,
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_what_is_sorted() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(vec![9.0, 1.0, 5.0, 2.0]), 3.5);
    }
}
