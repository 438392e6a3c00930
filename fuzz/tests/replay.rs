//! Replays every corpus on stable Rust, and some thousands of random inputs.

use std::path::Path;

use bowline_fuzz::{TARGETS, Target};

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("readable")).collect()
}

/// The corpus, and inputs derived from it by changing, cutting and joining.
fn replay(name: &str, target: Target, made_up: u64) {
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "no corpus for {name}");
    for input in &corpus {
        target(input);
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap_or(0)
    };
    for _ in 0..made_up {
        let mut input = corpus[random(corpus.len())].clone();
        for _ in 0..=random(8) {
            let at = random(input.len() + 1);
            match random(4) {
                0 => input.insert(at, random(256) as u8),
                1 => input.truncate(at),
                2 => input.extend_from_slice(&corpus[random(corpus.len())]),
                _ => {
                    if let Some(byte) = input.get_mut(at) {
                        *byte ^= 1 << random(8);
                    }
                }
            }
        }
        input.truncate(4096);
        target(&input);
    }
}

#[test]
fn every_target_has_its_corpus_replayed() {
    for (name, target) in TARGETS {
        let made_up = if name.ends_with("_ops") { 300 } else { 5_000 };
        replay(name, *target, made_up);
    }
}
