//! The results as a picture: a block of bars for each point, one bar for each server.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::measure::Cell;
use crate::servers::Kind;
use crate::table::Results;

/// Height of a bar with its gap, of a block's title, and the widths of names and bars, in pixels.
const BAR: i32 = 20;
const TITLE: i32 = 40;
const NAMES: i32 = 150;
const BARS: i32 = 560;
const FIGURES: i32 = 150;

/// Draws the rates, with whiskers from the worst round to the best.
pub(crate) fn draw(results: &Results, to: &Path) -> Result<()> {
    let blocks: Vec<_> = results.engines.iter().flat_map(|engine| results.points.iter().map(move |point| (engine, point))).collect();
    let height = blocks.len() as i32 * (TITLE + BAR * results.servers.len() as i32) + TITLE;
    let size = ((NAMES + BARS + FIGURES) as u32, height as u32);
    let area = SVGBackend::new(to, size).into_drawing_area();
    let failed = |e: &dyn std::fmt::Display| anyhow!("could not draw {}: {e}", to.display());
    area.fill(&WHITE).map_err(|e| failed(&e))?;
    let mut y = 0;
    for (engine, point) in blocks {
        let title = format!("{point}, thousand echoes a second ({engine} generator)");
        area.draw(&Text::new(title, (10, y + 16), ("sans-serif", 16))).map_err(|e| failed(&e))?;
        y += TITLE;
        let cells: Vec<_> = results.servers.iter().map(|s| (s.kind, results.cell(&s.name, point, engine))).collect();
        let most = cells.iter().filter_map(|(_, cell)| Some(range((*cell)?)?.2)).fold(1.0, f64::max);
        for (kind, cell) in cells {
            if let Some(cell) = cell {
                bar(&area, kind, cell, most, y).map_err(|e| failed(&e))?;
            }
            y += BAR;
        }
    }
    area.present().map_err(|e| failed(&e))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn bar(area: &Area<'_>, kind: Kind, cell: &Cell, most: f64, y: i32) -> Result<(), Box<dyn std::error::Error>> {
    area.draw(&Text::new(cell.server.clone(), (10, y + 3), ("sans-serif", 13)))?;
    let Some((least, median, greatest)) = range(cell) else {
        area.draw(&Text::new("failed", (NAMES, y + 3), ("sans-serif", 13)))?;
        return Ok(());
    };
    let x = |rate: f64| NAMES + (rate / most * f64::from(BARS)) as i32;
    let color = match kind {
        Kind::Limit => RGBColor(150, 150, 150),
        Kind::Peer => RGBColor(110, 160, 210),
        Kind::Ours => RGBColor(220, 120, 60),
    };
    area.draw(&Rectangle::new([(NAMES, y + 2), (x(median), y + BAR - 2)], color.filled()))?;
    area.draw(&PathElement::new([(x(least), y + BAR / 2), (x(greatest), y + BAR / 2)], BLACK))?;
    area.draw(&Text::new(format!("{:.1}", median / 1e3), (x(greatest.max(median)) + 6, y + 3), ("sans-serif", 13)))?;
    Ok(())
}

/// The least rate, the median and the greatest; `None` if the server failed.
fn range(cell: &Cell) -> Option<(f64, f64, f64)> {
    let median = cell.median(|s| s.rate).filter(|_| cell.error.is_none())?;
    let rates = || cell.samples.iter().map(|s| s.rate);
    Some((rates().fold(f64::INFINITY, f64::min), median.value, rates().fold(0.0, f64::max)))
}
