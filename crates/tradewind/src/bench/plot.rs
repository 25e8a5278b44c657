//! The figures as a picture.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::bench::figures::{Figures, Mode, Row};

/// What is shown, from the top of the legend down.
const SHOWN: [(Mode, RGBColor); 6] = [
    (Mode::Bare, RGBColor(120, 120, 120)),
    (Mode::Place, RGBColor(0, 90, 181)),
    (Mode::Confirm, RGBColor(220, 50, 32)),
    (Mode::Product, RGBColor(0, 130, 100)),
    (Mode::Order, RGBColor(170, 90, 200)),
    (Mode::List, RGBColor(200, 130, 0)),
];
const SIZE: (u32, u32) = (1000, 460);

/// Requests a second and the 99th percentile, over the number of connections.
pub fn svg(figures: &Figures) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let (left, right) = area.split_horizontally(SIZE.0 / 2);
        draw(&left, "requests a second", figures, |row| row.per_second).map_err(failed)?;
        draw(&right, "p99 in milliseconds", figures, |row| row.p99_ms).map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the plot cannot be drawn: {error}")
}

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    title: &str,
    figures: &Figures,
    value: impl Fn(&Row) -> f64,
) -> Drawn<'a> {
    let rows = || figures.rows.iter().filter(|row| row.preloaded == 0);
    let shown = || rows().filter(|row| SHOWN.iter().any(|(mode, _)| *mode == row.mode));
    let connections = shown().map(|row| row.connections).max().unwrap_or(1).max(2);
    let most = shown().map(&value).fold(0.1, f64::max);
    let least = shown().map(&value).fold(most, f64::min);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d((1..connections).log_scale(), (least / 1.5..most * 1.5).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("connections")
        .light_line_style(TRANSPARENT)
        .y_label_formatter(&|value| {
            if *value >= 1.0 {
                format!("{value:.0}")
            } else {
                format!("{value}")
            }
        })
        .draw()?;
    for (mode, colour) in SHOWN {
        let points: Vec<(u32, f64)> = rows()
            .filter(|row| row.mode == mode)
            .map(|row| (row.connections, value(row)))
            .collect();
        if points.is_empty() {
            continue;
        }
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
            .label(mode.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(TRANSPARENT)
        .position(SeriesLabelPosition::LowerRight)
        .draw()
}
