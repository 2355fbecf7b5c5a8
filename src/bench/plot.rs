//! Sections of a report as pictures, SVG and PNG.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use super::error::{BenchError, Result};
use super::measure::Summary;
use super::number::number;
use super::report::{Section, SuiteReport};

const SIZE: (u32, u32) = (960, 540);
/// What all text is drawn in, by the name that is registered.
const FONT: &str = "sans-serif";
/// Where distributions keep a font that is widely there.
const FONTS: &[&str] = &[
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
];
/// Values that differ by more than this are drawn on a logarithmic scale.
const SPREAD: f64 = 30.0;
/// What of the room between two rows bars take.
const BARS: f64 = 0.8;

type Drawn<DB> = std::result::Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// Loads the font that pictures are drawn with, once.
///
/// # Errors
///
/// [`BenchError::Lacks`] where the machine has none.
pub fn prepare() -> Result<()> {
    static LOADED: OnceLock<bool> = OnceLock::new();
    let load = || {
        let bytes = FONTS.iter().find_map(|path| fs::read(path).ok())?;
        register_font(FONT, FontStyle::Normal, Vec::leak(bytes)).ok()
    };
    if *LOADED.get_or_init(|| load().is_some()) {
        return Ok(());
    }
    let lacks = format!("no font for pictures: none of {} can be read", FONTS.join(", "));
    Err(BenchError::Lacks(format!("{lacks}; install fonts-dejavu-core")))
}

/// The name of a section's picture, without what tells its format.
pub(super) fn name(suite: &SuiteReport, section: &Section) -> String {
    let mut name = suite.name.to_owned();
    for word in section.title.split(|c: char| !c.is_ascii_alphanumeric()) {
        if !word.is_empty() {
            name.push('-');
            name.push_str(&word.to_ascii_lowercase());
        }
    }
    name
}

/// Draws each section of a suite into a directory. [`prepare`] comes first.
///
/// # Errors
///
/// Where a file cannot be written.
pub fn draw(suite: &SuiteReport, directory: &Path) -> Result<()> {
    for section in suite.sections.iter().filter(|section| !is_empty(section)) {
        let path = |format| directory.join(format!("{}.{format}", name(suite, section)));
        let (svg, png) = (path("svg"), path("png"));
        let drawn = picture(&SVGBackend::new(&svg, SIZE).into_drawing_area(), section);
        drawn.map_err(|error| failed(&svg, &error))?;
        let drawn = picture(&BitMapBackend::new(&png, SIZE).into_drawing_area(), section);
        drawn.map_err(|error| failed(&png, &error))?;
    }
    Ok(())
}

fn failed(path: &Path, error: &dyn std::error::Error) -> BenchError {
    let source = std::io::Error::other(error.to_string());
    BenchError::Io { action: "draw", path: path.to_owned(), source }
}

/// Whether there is nothing to draw.
pub(super) fn is_empty(section: &Section) -> bool {
    section.points.iter().all(|point| point.measured.iter().all(|one| one.summary.is_none()))
}

/// The values of a contestant, with the place of their row.
struct Series<'a> {
    name: &'a str,
    values: Vec<(usize, Summary)>,
}

fn series(section: &Section) -> Vec<Series<'_>> {
    let mut all: Vec<Series<'_>> = Vec::new();
    for (row, point) in section.points.iter().enumerate() {
        for measured in &point.measured {
            let Some(summary) = measured.summary.map(|all| shown(section, all)) else { continue };
            match all.iter_mut().find(|series| series.name == measured.contestant) {
                Some(series) => series.values.push((row, summary)),
                None => {
                    let name = measured.contestant.as_str();
                    all.push(Series { name, values: vec![(row, summary)] });
                }
            }
        }
    }
    all
}

fn shown(section: &Section, summary: Summary) -> Summary {
    let shown = |value| section.unit.shown(value);
    Summary {
        min: shown(summary.min),
        lower_quartile: shown(summary.lower_quartile),
        median: shown(summary.median),
        upper_quartile: shown(summary.upper_quartile),
        max: shown(summary.max),
    }
}

/// How values become heights.
#[derive(Clone, Copy)]
struct Scale {
    is_logarithmic: bool,
    low: f64,
    high: f64,
}

impl Scale {
    fn of(series: &[Series<'_>]) -> Self {
        let all = || series.iter().flat_map(|series| &series.values);
        let least = all().map(|(_, summary)| summary.min).fold(f64::INFINITY, f64::min);
        let most = all().map(|(_, summary)| summary.max).fold(0.0, f64::max).max(1e-9);
        let is_logarithmic = least > 0.0 && most / least > SPREAD;
        let (low, high) = match is_logarithmic {
            true => ((least / 1.5).log10(), (most * 1.5).log10()),
            false => (0.0, most * 1.1),
        };
        Self { is_logarithmic, low, high }
    }

    fn height(&self, value: f64) -> f64 {
        let height = if self.is_logarithmic { value.log10() } else { value };
        height.clamp(self.low, self.high)
    }

    fn label(&self, height: f64) -> String {
        number(if self.is_logarithmic { 10f64.powf(height) } else { height })
    }
}

/// Rows with a number are points on lines, others are groups of bars. Strokes go
/// from the smallest sample to the largest.
fn picture<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, section: &Section) -> Drawn<DB> {
    let all = series(section);
    let scale = Scale::of(&all);
    let rows = section.points.len();
    let are_lines = section.points.iter().all(|point| point.x.is_some());
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(&section.title, (FONT, 20))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(-0.5..rows as f64 - 0.5, scale.low..scale.high)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_desc(section.unit.name())
        .x_desc(&section.axis)
        .y_label_formatter(&|height| scale.label(*height))
        .label_style((FONT, 13))
        .light_line_style(WHITE)
        .draw()?;
    let centred = (FONT, 13).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
    for (row, point) in section.points.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(row as f64, scale.low));
        // Relative to the whole picture, unlike what is drawn in the chart.
        let (left, top) = area.get_base_pixel();
        area.draw(&Text::new(point.label.as_str(), (x - left, y - top + 6), centred.clone()))?;
    }
    for (index, series) in all.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        let width = BARS / all.len() as f64;
        let middle = |row: usize| match are_lines {
            true => row as f64,
            false => row as f64 - BARS / 2.0 + width * (index as f64 + 0.5),
        };
        let values = &series.values;
        let body: Vec<_> = match are_lines {
            true => {
                let points =
                    values.iter().map(|(row, all)| (middle(*row), scale.height(all.median)));
                vec![PathElement::new(points.collect::<Vec<_>>(), color.stroke_width(2)).into_dyn()]
            }
            false => values
                .iter()
                .map(|(row, all)| {
                    let (x, top) = (middle(*row), scale.height(all.median));
                    let corners = [(x - width / 2.0, scale.low), (x + width / 2.0, top)];
                    Rectangle::new(corners, color.filled()).into_dyn()
                })
                .collect(),
        };
        chart
            .draw_series(body)?
            .label(series.name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], color.filled()));
        let stroke = if are_lines { color } else { BLACK.to_rgba() };
        chart.draw_series(values.iter().map(|(row, all)| {
            let (x, low, high) = (middle(*row), scale.height(all.min), scale.height(all.max));
            PathElement::new(vec![(x, low), (x, high)], stroke.stroke_width(1))
        }))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 13))
        .draw()?;
    area.present()
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn a_suite_becomes_pictures_with_all_names_in_them() {
        prepare().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut lines = sample();
        lines.title = "By size: 64 MiB".to_owned();
        for (index, point) in lines.points.iter_mut().enumerate() {
            point.x = Some(index as f64);
        }
        let sections = vec![sample(), lines];
        let suite = SuiteReport { name: "load", sections, ..SuiteReport::default() };
        draw(&suite, directory.path()).unwrap();
        for name in ["load-time-to-save", "load-by-size-64-mib"] {
            let svg = fs::read_to_string(directory.path().join(format!("{name}.svg"))).unwrap();
            for text in ["ovmigrate", "CRIU", "idle", "cpu", "ms", "load"] {
                assert!(svg.contains(text), "{name}: no {text}");
            }
            let png = fs::read(directory.path().join(format!("{name}.png"))).unwrap();
            assert!(png.starts_with(b"\x89PNG"), "{name}");
        }
    }

    #[test]
    fn values_far_apart_are_drawn_on_a_logarithmic_scale() {
        let summary = |value| Summary::of(&[value]).unwrap();
        let series = |values: &[f64]| {
            let values = values.iter().map(|value| (0, summary(*value))).collect();
            [Series { name: "", values }]
        };
        let near = Scale::of(&series(&[1.0, 10.0]));
        assert!(!near.is_logarithmic && near.low == 0.0);
        let far = Scale::of(&series(&[1.0, 1000.0]));
        assert!(far.is_logarithmic && far.low < 0.0);
        assert_eq!(far.label(far.height(100.0)), "100");
        assert!(!Scale::of(&series(&[0.0, 1000.0])).is_logarithmic);
    }
}
