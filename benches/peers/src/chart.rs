//! The chart for the documents: a panel for each of the workloads that readers ask for first.

use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;

use crate::job::Work;
use crate::plan::{Table, median};

const PANELS: [(Work, &str); 3] = [
    (Work::OneWay { size: 110, senders: 1 }, "One way, 110 bytes: million messages a second"),
    (Work::Calls { size: 110, in_flight: 256 }, "256 calls in flight, 110 bytes: million calls a second"),
    (Work::Calls { size: 110, in_flight: 1 }, "One call at a time: thousand calls a second"),
];
const BAR: i32 = 22;
const TITLE: i32 = 46;
const NAMES: i32 = 250;
const WIDTH: i32 = 900;
const BOWLINE: RGBColor = RGBColor(20, 110, 160);
const RAW: RGBColor = RGBColor(150, 150, 150);
const PEER: RGBColor = RGBColor(215, 150, 60);

/// Draws the panels that were measured as horizontal bars, one under the other.
pub fn draw(tables: &[Table], path: &Path) -> Result<()> {
    let panels: Vec<_> = PANELS
        .iter()
        .filter_map(|(work, title)| Some((tables.iter().find(|table| table.work == *work)?, *title)))
        .collect();
    let height: i32 = panels.iter().map(|(table, _)| TITLE + BAR * table.rows.len() as i32).sum();
    let area = SVGBackend::new(path, (WIDTH as u32, (height + 20) as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut top = 0;
    for (table, title) in panels {
        draw_panel(&area, table, title, top)?;
        top += TITLE + BAR * table.rows.len() as i32;
    }
    area.present().with_context(|| format!("cannot write {}", path.display()))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_panel(area: &Area<'_>, table: &Table, title: &str, top: i32) -> Result<()> {
    let unit = if matches!(table.work, Work::Calls { in_flight: 1, .. }) { 1e3 } else { 1e6 };
    let mut rows: Vec<_> = table
        .rows
        .iter()
        .filter_map(|row| Some((row.name.as_str(), median(&row.values(|f| Some(f.rate)))? / unit)))
        .collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    let most = rows.first().map_or(1.0, |row| row.1);
    area.draw(&Text::new(title.to_owned(), (10, top + 16), ("sans-serif", 18)))?;
    for (place, (name, value)) in rows.into_iter().enumerate() {
        let y = top + TITLE - 8 + BAR * place as i32;
        let end = NAMES + (f64::from(WIDTH - NAMES - 80) * value / most) as i32;
        let colour = match name {
            name if name.starts_with("Bowline") => BOWLINE,
            name if name.starts_with("raw") || name.starts_with("tokio actor") => RAW,
            _ => PEER,
        };
        area.draw(&Text::new(name.to_owned(), (10, y + 3), ("sans-serif", 14)))?;
        area.draw(&Rectangle::new([(NAMES, y), (end.max(NAMES + 1), y + BAR - 6)], colour.filled()))?;
        area.draw(&Text::new(format!("{value:.2}"), (end + 6, y + 3), ("sans-serif", 14)))?;
    }
    Ok(())
}
