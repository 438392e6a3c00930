//! Two builds of this program in turn.

use std::process::Command;

/// Rounds, and what is run in each: runtime, work, messages.
const WORKS: [(usize, [&str; 3]); 6] = [
    (25, ["tokio", "casts", "6000000"]),
    (25, ["smol", "casts", "6000000"]),
    (15, ["tokio", "calls", "768000"]),
    (15, ["smol", "calls", "768000"]),
    (15, ["tokio", "bursts", "2048000"]),
    (15, ["threads", "calls", "76800"]),
];

/// Runs both, by turns first, and prints for each work the medians and the ratio.
pub fn run(old: &str, new: &str) {
    for (rounds, work) in WORKS {
        let (mut old_rates, mut new_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let first_old = (round % 2 == 1).then(|| rate(old, work));
            let new_rate = rate(new, work);
            let old_rate = first_old.unwrap_or_else(|| rate(old, work));
            ratios.push(new_rate / old_rate);
            old_rates.push(old_rate);
            new_rates.push(new_rate);
        }
        let [low, high] = interval(&ratios);
        println!(
            "{} {}: {:.0} before, {:.0} now, ratio {:.3} (95 %: {low:.3} to {high:.3})",
            work[0],
            work[1],
            median(&old_rates),
            median(&new_rates),
            median(&ratios),
        );
    }
}

fn rate(program: &str, work: [&str; 3]) -> f64 {
    let output = Command::new(program).arg("run").args(work).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("{program}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The 95 % interval of the median, by drawing samples of the ratios again.
fn interval(ratios: &[f64]) -> [f64; 2] {
    let mut seed = 1_u64;
    let mut draw = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ratios[(seed >> 33) as usize % ratios.len()]
    };
    let mut medians: Vec<f64> =
        (0..2_000).map(|_| median(&ratios.iter().map(|_| draw()).collect::<Vec<_>>())).collect();
    medians.sort_by(f64::total_cmp);
    [medians[50], medians[1_949]]
}
