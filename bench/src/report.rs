//! What a benchmark has to say: goals, a table, a plot, and one line of JSON.

use std::fmt;

use serde::Serialize;
use serde_json::json;

use crate::harness::Scale;
use crate::plot::Plot;

/// One figure of ours beside one of another side.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    /// What is compared.
    pub(crate) what: String,
    /// The unit of both figures; less is better.
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    /// The other side's name.
    pub(crate) against: &'static str,
    pub(crate) other: f64,
    /// The goal: the most that `ours / other` is to be.
    pub(crate) limit_ratio: f64,
}

impl Goal {
    fn ratio(&self) -> f64 {
        self.ours / self.other
    }

    fn is_reached(&self) -> bool {
        self.ratio() <= self.limit_ratio
    }
}

/// Rows of figures under their headings.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Table {
    pub(crate) headings: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { headings: headings.iter().map(|&heading| heading.to_owned()).collect(), rows: Vec::new() }
    }

    /// A row of a name and figures.
    pub(crate) fn add(&mut self, name: impl fmt::Display, figures: &[f64]) {
        let figures = figures.iter().map(|figure| rounded(*figure));
        self.rows.push([name.to_string()].into_iter().chain(figures).collect());
    }
}

/// All of it. The first goal is the one that stands at the head of the line of JSON.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) goals: Vec<Goal>,
    pub(crate) table: Table,
    pub(crate) plot: Plot,
}

impl Report {
    pub(crate) fn to_line(&self, bench: &str, scale: Scale, load_average: f64) -> serde_json::Result<String> {
        let goals = self.goals.iter().map(|goal| {
            let mut value = serde_json::to_value(goal)?;
            value["ratio"] = json!(goal.ratio());
            value["reached"] = json!(goal.is_reached());
            Ok(value)
        });
        let goals = goals.collect::<serde_json::Result<Vec<_>>>()?;
        let mut line = json!({ "bench": bench });
        for field in ["what", "unit", "ours", "against", "other", "ratio", "limit_ratio", "reached"] {
            line[field] = goals[0][field].clone();
        }
        line["goals"] = json!(goals);
        line["table"] = json!(self.table);
        line["is_quick"] = json!(scale == Scale::Quick);
        line["is_release"] = json!(!cfg!(debug_assertions));
        line["load_average"] = json!(load_average);
        serde_json::to_string(&line)
    }
}

/// As Markdown.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_row(f, &self.table.headings)?;
        write_row(f, &vec!["---".to_owned(); self.table.headings.len()])?;
        for row in &self.table.rows {
            let mut row = row.clone();
            row.resize(self.table.headings.len(), String::new());
            write_row(f, &row)?;
        }
        writeln!(f, "\n| goal | ours | against | | ours / other | at most | |\n|---|---|---|---|---|---|---|")?;
        for goal in &self.goals {
            let Goal { what, unit, against, .. } = goal;
            let [ours, other, ratio, limit] = [goal.ours, goal.other, goal.ratio(), goal.limit_ratio].map(rounded);
            let reached = if goal.is_reached() { "reached" } else { "**not reached**" };
            writeln!(f, "| {what} | {ours} {unit} | {against} | {other} {unit} | {ratio} | {limit} | {reached} |")?;
        }
        Ok(())
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, cells: &[String]) -> fmt::Result {
    writeln!(f, "| {} |", cells.join(" | "))
}

/// Three digits that count.
pub(crate) fn rounded(figure: f64) -> String {
    if figure == 0.0 || !figure.is_finite() {
        return figure.to_string();
    }
    #[expect(clippy::cast_possible_truncation, reason = "the number of digits is small")]
    let decimals = 2 - figure.abs().log10().floor() as i32;
    let text = format!("{figure:.*}", usize::try_from(decimals).unwrap_or_default());
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits() {
        let shown = [0.0, 0.012_345, 0.1, 1.0, 12.34, 99.95, 1234.5].map(rounded);
        assert_eq!(shown, ["0", "0.0123", "0.1", "1", "12.3", "100", "1234"]);
    }

    #[test]
    fn a_goal_is_reached_up_to_its_limit() {
        let goal = |ours| Goal { what: String::new(), unit: "ms", ours, against: "", other: 10.0, limit_ratio: 0.5 };
        assert_eq!([5.0, 5.1].map(|ours| goal(ours).is_reached()), [true, false]);
    }
}
