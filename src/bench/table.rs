//! A report as text.

use std::fmt::Write as _;

use super::number::number;
use super::plot;
use super::report::{Measured, Point, Report, Restored, Section, SuiteReport};

/// How tables are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Aligned columns, for a terminal.
    Plain,
    /// Markdown, with links to the pictures beside it.
    Markdown,
}

/// The whole report.
pub fn text(report: &Report, style: Style) -> String {
    let mut text = String::new();
    heading(&mut text, style, 1, "ovmigrate bench");
    let rounds = report.rounds;
    bullets(&mut text, style, &report.machine.lines());
    let runs = format!(
        "each value is the median of {} runs (smallest – largest) after {} to warm up, in \
         alternating order",
        rounds.counted, rounds.warm_up
    );
    bullets(&mut text, style, &[runs]);
    for suite in &report.suites {
        add_suite(&mut text, suite, style);
    }
    text
}

fn add_suite(text: &mut String, suite: &SuiteReport, style: Style) {
    heading(text, style, 2, suite.name);
    bullets(text, style, &suite.notes);
    for section in &suite.sections {
        heading(text, style, 3, &format!("{}, {}", section.title, section.unit.name()));
        table(text, &rows(section), style);
        if style == Style::Markdown && !plot::is_empty(section) {
            let name = plot::name(suite, section);
            let _ = writeln!(text, "\n![{}]({name}.svg)\n", section.title);
        }
        bullets(text, style, &failures(section));
    }
    if let Some(error) = &suite.error {
        bullets(text, style, &[format!("ended early: {error}")]);
    }
}

fn heading(text: &mut String, style: Style, level: usize, title: &str) {
    let line = match style {
        Style::Markdown => format!("{} {title}\n", "#".repeat(level)),
        Style::Plain if level == 3 => format!("{title}\n"),
        Style::Plain => {
            let rule = if level == 1 { "=" } else { "-" };
            format!("{title}\n{}\n", rule.repeat(title.chars().count()))
        }
    };
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&line);
    if style == Style::Markdown {
        text.push('\n');
    }
}

fn bullets(text: &mut String, style: Style, lines: &[String]) {
    let mark = if style == Style::Markdown { "* " } else { "  " };
    for line in lines {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{mark}{line}");
    }
}

/// The cells of a section, its head first.
fn rows(section: &Section) -> Vec<Vec<String>> {
    let mut contestants: Vec<&str> = Vec::new();
    let mut ratios: Vec<&str> = Vec::new();
    let mut costs: Vec<&str> = Vec::new();
    for point in &section.points {
        let names = point.measured.iter().map(|measured| measured.contestant.as_str());
        add_new(&mut contestants, names);
        add_new(&mut ratios, point.ratios.iter().map(|ratio| ratio.name.as_str()));
        add_new(&mut costs, point.costs.iter().map(|cost| cost.name.as_str()));
    }
    let are_restored = section.points.iter().any(|point| point.restored.is_some());
    let mut head = vec![section.axis.clone()];
    head.extend(contestants.iter().chain(&ratios).chain(&costs).map(|name| (*name).to_owned()));
    head.extend(are_restored.then(|| "restored".to_owned()));
    let mut rows = vec![head];
    for point in &section.points {
        let mut row = vec![point.label.clone()];
        row.extend(contestants.iter().map(|name| {
            let measured = point.measured.iter().find(|one| one.contestant == *name);
            measured.map_or_else(String::new, |measured| cell(section, measured))
        }));
        row.extend(ratios.iter().map(|name| {
            let ratio = point.ratios.iter().find(|ratio| ratio.name == *name);
            ratio.map_or_else(String::new, |ratio| format!("{:.2}", ratio.value))
        }));
        row.extend(costs.iter().map(|name| {
            let cost = point.costs.iter().find(|cost| cost.name == *name);
            cost.map_or_else(String::new, |cost| number(section.unit.shown(cost.value)))
        }));
        row.extend(are_restored.then(|| fate(point)));
        rows.push(row);
    }
    rows
}

fn add_new<'a>(names: &mut Vec<&'a str>, more: impl Iterator<Item = &'a str>) {
    for name in more {
        if !names.contains(&name) {
            names.push(name);
        }
    }
}

fn cell(section: &Section, measured: &Measured) -> String {
    let shown = |value| number(section.unit.shown(value));
    let mut cell = match measured.summary {
        Some(all) => format!("{} ({} – {})", shown(all.median), shown(all.min), shown(all.max)),
        None => "–".to_owned(),
    };
    if !measured.failures.is_empty() {
        let _ = write!(cell, ", {} failed", measured.failures.len());
    }
    cell
}

fn fate(point: &Point) -> String {
    match point.restored {
        Some(Restored::Right) => "yes".to_owned(),
        Some(Restored::Failed(_)) => "NO".to_owned(),
        None => String::new(),
    }
}

/// What failed, and why it did so first.
fn failures(section: &Section) -> Vec<String> {
    let mut lines = Vec::new();
    for point in &section.points {
        for measured in &point.measured {
            if let Some(first) = measured.failures.first() {
                let (who, count) = (&measured.contestant, measured.failures.len());
                let line = format!("{}, {who}: {count} failed, the first: {first}", point.label);
                lines.push(line);
            }
        }
        if let Some(Restored::Failed(why)) = &point.restored {
            lines.push(format!("{}: the images did not restore: {why}", point.label));
        }
    }
    lines
}

fn table(text: &mut String, rows: &[Vec<String>], style: Style) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        if style == Style::Plain {
            let _ = writeln!(text, "{}", cells.join("  ").trim_end());
            continue;
        }
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if index == 0 {
            let rule = |column: usize| if column == 0 { "---" } else { "---:" };
            let rules: Vec<&str> = (0..columns).map(rule).collect();
            let _ = writeln!(text, "| {} |", rules.join(" | "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn a_table_shows_medians_spread_ratios_and_failures() {
        let mut plain = String::new();
        table(&mut plain, &rows(&sample()), Style::Plain);
        let expected = "\
load           ovmigrate                         CRIU  ovmigrate / CRIU  ovmigrate / idle  CRIU / idle
idle  10.0 (5.00 – 20.0)           20.0 (10.0 – 40.0)              0.50
cpu   11.0 (5.50 – 22.0)  50.0 (25.0 – 100), 1 failed              0.22              1.10         2.50
";
        assert_eq!(plain, expected);
        assert_eq!(failures(&sample()), ["cpu, CRIU: 1 failed, the first: no"]);
        let mut markdown = String::new();
        table(&mut markdown, &rows(&sample()), Style::Markdown);
        assert_eq!(markdown.lines().nth(1), Some("| --- | ---: | ---: | ---: | ---: | ---: |"));
    }
}
