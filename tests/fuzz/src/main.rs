//! Feeds made-up and mutated bytes to every parser: `tidemark-fuzz [--seconds N] [--seed N] [TARGET…]`.
//!
//! Each target is a plain function that must return for any bytes. A panic ends the process; its hook writes the input
//! that did it to a file, and `--replay FILE TARGET` runs it again. The mutator is small on purpose: it needs no
//! other toolchain than the project does. Longer runs with coverage use the same functions through cargo-fuzz.

mod mutate;
mod targets;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use mutate::Mutator;
use targets::TARGETS;

/// An input that takes longer than this is a finding.
const INPUT_TIME_MAX: Duration = Duration::from_secs(1);

/// Runs of an input that took longer: the shortest counts.
const RUNS_OF_SLOW: usize = 3;

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
    std::panic::set_hook(Box::new(|panic| {
        println!("{panic}");
        report();
    }));
    for target in chosen {
        let started = Instant::now();
        let mut mutator = Mutator::new(seed, (target.seeds)());
        let mut inputs = 0u64;
        while started.elapsed() < Duration::from_secs(seconds) {
            CURRENT.replace((target.name, mutator.next()));
            let took = || {
                let begun = Instant::now();
                CURRENT.with_borrow(|(_, input)| (target.run)(input));
                begun.elapsed()
            };
            // On a machine that does other things the time of one run says little.
            if took() > INPUT_TIME_MAX
                && let Some(took) = (0..RUNS_OF_SLOW).map(|_| took()).min()
                && took > INPUT_TIME_MAX
            {
                println!("{}: input {inputs} of seed {seed} takes {took:?}", target.name);
                report();
                std::process::exit(1);
            }
            inputs += 1;
        }
        println!("{}: {inputs} inputs in {seconds} s, clean", target.name);
    }
}

thread_local! {
    /// The target that runs, and its input.
    static CURRENT: RefCell<(&'static str, Vec<u8>)> = const { RefCell::new(("", Vec::new())) };
}

/// Keeps the input that is a finding.
fn report() {
    CURRENT.with_borrow(|(name, input)| {
        let file = std::env::temp_dir().join(format!("tidemark-fuzz-{name}-{}", std::process::id()));
        match std::fs::write(&file, input) {
            Ok(()) => println!("replay with --replay {} {name}", file.display()),
            Err(error) => println!("the finding of {name} cannot be written: {error}"),
        }
    });
}
