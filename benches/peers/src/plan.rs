//! What is measured, and who takes part.

use anyhow::Result;
use serde::Serialize;

use crate::contender;
use crate::job::{Pattern, Work};
use crate::runner::Figures;

/// One workload and those who do it.
#[derive(Debug, Serialize)]
pub struct Table {
    /// `w1` to `w9`.
    pub group: &'static str,
    pub work: Work,
    /// Client and server are threads of one process.
    pub one_process: bool,
    pub rows: Vec<Row>,
    /// Who does not take part, and why.
    pub left_out: Vec<(String, &'static str)>,
}

impl Table {
    pub fn title(&self) -> String {
        let place = if self.one_process { ", one process" } else { "" };
        format!("{} {}{place}", self.group, self.work)
    }

    /// The row of this contender.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}

/// One contender's figures, a round each; a round that failed is missing.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    /// The block length that was found to be its best; 0 where it chooses for itself.
    pub block: usize,
    pub rounds: Vec<Option<Figures>>,
    /// What the last failure was.
    pub failure: Option<String>,
}

impl Row {
    /// One figure of each round that went well.
    pub fn values(&self, of: impl Fn(&Figures) -> Option<f64>) -> Vec<f64> {
        self.rounds.iter().flatten().filter_map(of).collect()
    }

    /// The median of this row's ratios to `other`, round by round.
    pub fn ratio_to(&self, other: &Self, of: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
        let pairs = self.rounds.iter().zip(&other.rounds);
        let ratios = pairs.filter_map(|(own, other)| Some(of(own.as_ref()?)? / of(other.as_ref()?)?));
        median(&ratios.collect::<Vec<_>>())
    }

    /// Takes note of one round.
    pub fn take(&mut self, figures: Result<Figures>) {
        match figures {
            Ok(figures) => self.rounds.push(Some(figures)),
            Err(error) => {
                self.rounds.push(None);
                self.failure = Some(format!("{error:#}"));
            }
        }
    }
}

/// Every workload that is asked for, with every contender that is asked for; whoever is the
/// baseline of a workload takes part whether asked for or not.
pub fn tables(quick: bool, only: Option<&str>, threads: bool) -> Vec<Table> {
    let mut tables = Vec::new();
    for (group, work) in workloads(quick) {
        let one_process = threads || group == ONE_PROCESS;
        let mut table = Table { group, work, one_process, rows: Vec::new(), left_out: Vec::new() };
        let title = table.title();
        for contender in contender::all() {
            let name = contender.name().to_owned();
            if let Err(reason) = contender.fits(&work) {
                table.left_out.push((name, reason));
            } else if table.rows.is_empty() || asked_for(only, &title, &name) {
                table.rows.push(Row { name, block: 0, rounds: Vec::new(), failure: None });
            }
        }
        if table.rows.iter().any(|row| asked_for(only, &title, &row.name)) {
            tables.push(table);
        }
    }
    tables
}

/// Terms of `only`, separated by semicolons, that name this workload choose it with all its contenders; a term with a
/// slash (`w1/smol`) chooses contenders of workloads.
pub fn asked_for(only: Option<&str>, title: &str, name: &str) -> bool {
    let (title, name) = (title.to_lowercase(), name.to_lowercase());
    only.is_none_or(|only| {
        only.to_lowercase().split(';').any(|term| match term.trim().split_once('/') {
            Some((of, who)) => title.contains(of) && name.contains(who),
            None => title.contains(term.trim()) || name.contains(term.trim()),
        })
    })
}

/// Sizes of bodies in bytes: among them both sides of what Bowline keeps without an allocation,
/// which is up to 118 bytes.
const SIZES: &[usize] = &[16, 110, 128, 512, 1024, 64 * 1024];

/// The group of workloads that run in one process, beside the same in two.
const ONE_PROCESS: &str = "w9";

fn workloads(quick: bool) -> Vec<(&'static str, Work)> {
    let mut all = Vec::new();
    for (senders, sizes) in [(1, SIZES), (4, &[110, 64 * 1024])] {
        for &size in sizes {
            all.push(("w1", Work::OneWay { size, senders }));
        }
    }
    for in_flight in [16, 256, 4096] {
        all.push(("w2", Work::Calls { size: 110, in_flight }));
    }
    for &size in SIZES.iter().filter(|&&size| size != 110) {
        // What is in flight must fit what the sockets hold: the raw contenders write before they read.
        let in_flight = if size < 16 * 1024 { 256 } else { 16 };
        all.push(("w2", Work::Calls { size, in_flight }));
    }
    all.push((ONE_PROCESS, Work::OneWay { size: 110, senders: 1 }));
    all.push((ONE_PROCESS, Work::Calls { size: 110, in_flight: 256 }));
    all.push(("w2", Work::Paced { size: 110, per_second: 0.0 }));
    all.push(("w3", Work::Calls { size: 110, in_flight: 1 }));
    all.push(("w4", Work::Idle { connections: if quick { 1_000 } else { 9_900 } }));
    let most = if quick { 1_000 } else { 9_900 };
    for connections in [1, 10, 100, 1_000, 9_900] {
        if connections <= most {
            all.push(("w6", Work::Scale { connections }));
        }
    }
    all.extend(
        [
            Pattern::Push { size: 110 },
            Pattern::Push { size: 64 * 1024 },
            Pattern::Ask,
            Pattern::Publish { subscribers: 100, one_in: 1 },
            Pattern::Publish { subscribers: 100, one_in: 100 },
            Pattern::FanIn { pushers: 100 },
            Pattern::Inproc,
            Pattern::Curve { size: 110 },
            Pattern::Curve { size: 64 * 1024 },
        ]
        .map(|pattern| ("w8", Work::Pattern(pattern))),
    );
    for apart in [true, false] {
        all.push(("w7", Work::Mixed { per_second: 0.0, apart }));
    }
    all
}

/// The value in the middle, if there is any.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
