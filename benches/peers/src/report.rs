//! Figures as a table for readers.

use crate::job::Work;
use crate::plan::{Row, Table, median};
use crate::runner::Figures;

/// Prints a table: medians with minimum and maximum, and the ratio to the first row.
pub fn print(table: &Table) {
    let rounds = table.rows.iter().map(|row| row.rounds.len()).max().unwrap_or_default();
    println!("\n{}, {rounds} rounds, to {}", table.title(), table.rows[0].name);
    let timed = matches!(table.work, Work::Paced { .. } | Work::Idle { .. } | Work::Mixed { .. });
    print!("{:<42} {:>12} {:>12} {:>12} {:>6} {:>9}", "", "median /s", "min", "max", "ratio", "CPU s/M");
    println!("{}", if timed { "    p50 µs    p99 µs  p99.9 µs" } else { "" });
    for row in &table.rows {
        print_row(row, &table.rows[0], timed);
        if let Some(failure) = &row.failure {
            println!("    failed: {failure}");
        }
    }
}

fn print_row(row: &Row, baseline: &Row, timed: bool) {
    let of = |get: fn(&Figures) -> Option<f64>| median(&row.values(get)).unwrap_or(f64::NAN);
    let rates = row.values(|f| Some(f.rate));
    let (min, max) = rates.iter().fold((f64::MAX, 0_f64), |(min, max), &rate| (min.min(rate), max.max(rate)));
    let ratio = row.ratio_to(baseline, |f| Some(f.rate)).unwrap_or(f64::NAN);
    let (rate, cpu) = (of(|f| Some(f.rate)), of(|f| Some(f.cpu)));
    print!("{:<42} {rate:>12.0} {min:>12.0} {max:>12.0} {ratio:>6.2} {cpu:>9.3}", row.name);
    if timed {
        print!(" {:>9.1}", of(|f| Some(f.latency?.p50)));
        print!(" {:>9.1}", of(|f| Some(f.latency?.p99)));
        print!(" {:>9.1}", of(|f| Some(f.latency?.p999)));
    }
    if let (Some(server), Some(client)) =
        (median(&row.values(|f| Some(f.resident?[0]))), median(&row.values(|f| Some(f.resident?[1]))))
    {
        print!("  bytes each: server {server:.0}, client {client:.0}");
    }
    if let (Some(server), Some(client)) = (
        median(&row.values(|f| Some(f.resident_used?[0]))),
        median(&row.values(|f| Some(f.resident_used?[1]))),
    ) {
        print!("; after a call: server {server:.0}, client {client:.0}");
    }
    if row.block > 0 {
        print!("  blocks of {}", row.block);
    }
    println!();
}

/// The tables in Markdown, for `docs/performance.md`.
pub fn markdown(tables: &[Table]) -> String {
    let mut text = String::new();
    for table in tables {
        let rounds = table.rows.iter().map(|row| row.rounds.len()).max().unwrap_or_default();
        text += &format!("**{}**, {rounds} rounds, to {}:\n\n", table.title(), table.rows[0].name);
        text += "| | median /s | min | max | ratio | CPU s / M | |\n|---|---|---|---|---|---|---|\n";
        for row in &table.rows {
            text += &markdown_row(row, &table.rows[0]);
        }
        text += "\n";
    }
    text
}

fn markdown_row(row: &Row, baseline: &Row) -> String {
    let of = |get: fn(&Figures) -> Option<f64>| median(&row.values(get));
    let rates = row.values(|f| Some(f.rate));
    let whole = |value: f64| with_commas(value.round() as u64);
    let (min, max) = rates.iter().fold((f64::MAX, 0_f64), |(min, max), &rate| (min.min(rate), max.max(rate)));
    let mut more = Vec::new();
    if row.block > 0 {
        more.push(format!("blocks of {}", with_commas(row.block as u64)));
    }
    if let (Some(p50), Some(p99)) = (of(|f| Some(f.latency?.p50)), of(|f| Some(f.latency?.p99))) {
        more.push(format!("p50 {p50:.1} µs, p99 {p99:.1} µs"));
    }
    for (when, server, client) in [
        ("idle", of(|f| Some(f.resident?[0])), of(|f| Some(f.resident?[1]))),
        ("after a call", of(|f| Some(f.resident_used?[0])), of(|f| Some(f.resident_used?[1]))),
    ] {
        if let (Some(server), Some(client)) = (server, client) {
            more.push(format!("{when}: server {} B, client {} B", whole(server), whole(client)));
        }
    }
    let (Some(rate), Some(cpu)) = (of(|f| Some(f.rate)), of(|f| Some(f.cpu))) else {
        return format!(
            "| {} | failed | | | | | {} |\n",
            row.name,
            row.failure.as_deref().unwrap_or_default()
        );
    };
    let ratio = row.ratio_to(baseline, |f| Some(f.rate)).unwrap_or(f64::NAN);
    let (rate, min, max, more) = (whole(rate), whole(min), whole(max), more.join("; "));
    format!("| {} | {rate} | {min} | {max} | {ratio:.2} | {cpu:.3} | {more} |\n", row.name)
}

fn with_commas(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
