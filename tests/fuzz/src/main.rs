//! Feeds made-up and mutated bytes to every parser: `tidemark-fuzz [--seconds N] [--seed N] [TARGET…]`.
//!
//! Each target is a plain function that must return for any bytes. A panic ends the process; the input that did it is
//! written to a file first, and `--replay FILE TARGET` runs it again. The mutator is small on purpose: it needs no
//! other toolchain than the project does. Longer runs with coverage use the same functions through cargo-fuzz.

mod mutate;
mod targets;

use std::time::{Duration, Instant};

use mutate::Mutator;
use targets::TARGETS;

/// An input that takes longer than this is a finding.
const INPUT_TIME_MAX: Duration = Duration::from_secs(1);

fn main() {
    let mut seconds = 10;
    let mut seed = 1;
    let mut names = Vec::new();
    let mut replay = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect("a number follows");
        match argument.as_str() {
            "--seconds" => seconds = number(),
            "--seed" => seed = number(),
            "--replay" => replay = arguments.next(),
            name => names.push(name.to_owned()),
        }
    }
    if let Some(file) = replay {
        let bytes = std::fs::read(&file).expect("the input can be read");
        for target in TARGETS.iter().filter(|target| names.iter().any(|name| name == target.name)) {
            (target.run)(&bytes);
        }
        return;
    }
    let chosen: Vec<_> = TARGETS
        .iter()
        .filter(|target| names.is_empty() || names.iter().any(|name| name == target.name))
        .collect();
    assert!(!chosen.is_empty(), "no such target; there are: {:?}", TARGETS.map(|target| target.name));
    for target in chosen {
        let started = Instant::now();
        let mut mutator = Mutator::new(seed, (target.seeds)());
        let mut inputs = 0u64;
        while started.elapsed() < Duration::from_secs(seconds) {
            let input = mutator.next();
            let begun = Instant::now();
            let outcome = std::panic::catch_unwind(|| (target.run)(&input));
            if outcome.is_err() || begun.elapsed() > INPUT_TIME_MAX {
                let file = std::env::temp_dir().join(format!("tidemark-fuzz-{}-{inputs}", target.name));
                std::fs::write(&file, &input).expect("the finding can be written");
                println!("{}: input {inputs} of seed {seed} fails; replay with", target.name);
                println!("  --replay {} {}", file.display(), target.name);
                std::process::exit(1);
            }
            inputs += 1;
        }
        println!("{}: {inputs} inputs in {seconds} s, clean", target.name);
    }
}
