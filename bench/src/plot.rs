//! Plots as SVG.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::coord::combinators::IntoLogRange as _;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

/// Width and height, pixels.
const SIZE: (u32, u32) = (1000, 380);
/// Where the lines' names begin, right of what they are about.
const NAMES: u32 = 760;
/// First and next name, from above.
const NAME: (i32, usize) = (60, 18);
/// One after the other for the lines of a plot; told apart by the colour-blind, too (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 86, 86),
];

/// How an axis grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    /// By powers; all values are above zero.
    Logarithmic,
}

/// What is on an axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) scale: Scale,
}

/// One line of a plot.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lines over two axes.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// Part of the file's name.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
}

impl Plot {
    /// # Errors
    /// When there is nothing to draw or the file cannot be written.
    pub(crate) fn draw(&self, file: &Path) -> Result<()> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = bounds(points().map(|point| point.0), self.x.scale).context("a plot without points")?;
        let y = bounds(points().map(|point| point.1), self.y.scale).context("a plot without points")?;
        let drawn = match (self.x.scale, self.y.scale) {
            (Scale::Linear, Scale::Linear) => self.paint(file, x.0..x.1, y.0..y.1),
            (Scale::Linear, Scale::Logarithmic) => self.paint(file, x.0..x.1, (y.0..y.1).log_scale()),
            (Scale::Logarithmic, Scale::Linear) => self.paint(file, (x.0..x.1).log_scale(), y.0..y.1),
            (Scale::Logarithmic, Scale::Logarithmic) => {
                self.paint(file, (x.0..x.1).log_scale(), (y.0..y.1).log_scale())
            }
        };
        drawn.map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))
    }

    fn paint<X, Y>(&self, file: &Path, x: X, y: Y) -> Result<(), Box<dyn std::error::Error>>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let (place, names) = area.split_horizontally(NAMES);
        let mut chart = ChartBuilder::on(&place)
            .caption(&self.title, ("sans-serif", 17))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)?;
        chart.configure_mesh().x_desc(self.x.label).y_desc(self.y.label).light_line_style(WHITE).draw()?;
        let heights = (NAME.0..).step_by(NAME.1);
        for ((line, colour), height) in self.lines.iter().zip(COLOURS.iter().cycle()).zip(heights) {
            chart.draw_series(LineSeries::new(line.points.clone(), colour.stroke_width(2)).point_size(3))?;
            names.draw(&PathElement::new([(8, height), (26, height)], colour.stroke_width(2)))?;
            names.draw(&Text::new(line.name.as_str(), (34, height - 6), ("sans-serif", 12)))?;
        }
        Ok(area.present()?)
    }
}

/// From where to where an axis goes.
fn bounds(values: impl Iterator<Item = f64>, scale: Scale) -> Option<(f64, f64)> {
    let (low, high) = values.fold(None, |seen: Option<(f64, f64)>, value| {
        Some(seen.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
    })?;
    match scale {
        Scale::Linear => Some((0.0, if high > 0.0 { high * 1.05 } else { 1.0 })),
        Scale::Logarithmic => Some((low / 1.2, high * 1.2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(lines: Vec<Line>) -> Plot {
        let axis = |label, scale| Axis { label, scale };
        let (x, y) = (axis("pods", Scale::Logarithmic), axis("of the base", Scale::Linear));
        Plot { name: "pods", title: "Cost of a packet".to_owned(), x, y, lines }
    }

    #[test]
    fn a_plot_names_its_axes_and_its_lines() {
        let file = std::env::temp_dir().join(format!("sortie-plot-{}.svg", std::process::id()));
        let line = Line { name: "marks".to_owned(), points: vec![(10.0, 1.2), (1000.0, 1.3)] };
        plot(vec![line]).draw(&file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        for word in ["pods", "of the base", "Cost of a packet", "marks", "<polyline"] {
            assert!(text.contains(word), "{word}");
        }
    }

    #[test]
    fn a_plot_without_points_is_refused() {
        assert!(plot(Vec::new()).draw(Path::new("/dev/null")).is_err());
    }
}
