//! `understudy sim`: the machines on a seeded network with faults.

use crate::node::Planted;
use crate::sim::{self, Failed, Passed};
use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How many stories are told at a time: they are independent of each other.
const THREADS: usize = 2;
/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// What `understudy sim` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Tries the seeds from A up to, but not including, B
    #[arg(long, value_name = "A..B", value_parser = parse_seeds, default_value = "0..1000",
          conflicts_with = "seed")]
    seeds: Range<u64>,
    /// Tries one seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Prints a line for each event
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Prints the result as one line of JSON
    #[arg(long)]
    json: bool,
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let parse = |text: &str| text.parse::<u64>().ok();
    match text.split_once("..").and_then(|(from, to)| parse(from).zip(parse(to))) {
        Some((from, to)) if from < to => Ok(from..to),
        Some((from, to)) => Err(format!("{from}..{to} holds no seed: write the lower one first")),
        None => Err("write two numbers with two dots between them, such as 0..1000".into()),
    }
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let seeds = arguments.seed.map_or(arguments.seeds, |seed| seed..seed + 1);
    if arguments.trace {
        let told = sim::trace(seeds.start, Planted::default(), |line| println!("{line}"));
        return report(told.map(|passed| Summary::default().with(&passed)), &seeds, arguments.json);
    }
    let begun = Instant::now();
    let told = try_all(&seeds).map(|summary| Summary { elapsed: begun.elapsed(), ..summary });
    report(told, &seeds, arguments.json)
}

/// What many stories came to.
#[derive(Default)]
struct Summary {
    stories: u64,
    steps: u64,
    answers: u64,
    elapsed: Duration,
}

impl Summary {
    fn with(self, passed: &Passed) -> Self {
        let (steps, answers) = (self.steps + passed.steps, self.answers + passed.answers);
        Self { stories: self.stories + 1, steps, answers, ..self }
    }
}

/// Tries seeds in order, a few at a time, up to the first one that fails.
fn try_all(seeds: &Range<u64>) -> Result<Summary, Failed> {
    let next = AtomicU64::new(seeds.start);
    let (sender, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || sender.send(sim::run(seed, Planted::default())).is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(sender);
        collect(seeds, results)
    })
}

fn collect(
    seeds: &Range<u64>,
    results: mpsc::Receiver<Result<Passed, Failed>>,
) -> Result<Summary, Failed> {
    let mut summary = Summary::default();
    let shows_progress = std::io::stderr().is_terminal();
    let mut shown = Instant::now();
    for result in results {
        summary = summary.with(&result?);
        if shows_progress && shown.elapsed() >= PROGRESS_INTERVAL {
            shown = Instant::now();
            let (done, all) = (summary.stories, seeds.end - seeds.start);
            eprint!("\r{done} of {all} seeds, {} steps", summary.steps);
            // A terminal that is gone is no reason to stop.
            let _ = std::io::stderr().flush();
        }
    }
    if shows_progress {
        eprint!("\r\x1b[K");
    }
    Ok(summary)
}

fn report(told: Result<Summary, Failed>, seeds: &Range<u64>, json: bool) -> ExitCode {
    match told {
        Ok(Summary { stories, steps, answers, elapsed }) => {
            let elapsed_ms = elapsed.as_millis();
            if json {
                let line = serde_json::json!({
                    "passed": true, "first_seed": seeds.start, "seeds": stories, "steps": steps,
                    "answers": answers, "elapsed_ms": elapsed_ms as u64,
                });
                println!("{line}");
            } else {
                let first = seeds.start;
                println!(
                    "{stories} seeds from {first} on passed: {steps} steps, {answers} answers, \
                     {elapsed_ms} ms"
                );
            }
            ExitCode::SUCCESS
        }
        Err(failed) => {
            if json {
                let line = serde_json::json!({
                    "passed": false, "seed": failed.seed, "check": failed.check.to_string(),
                    "what": failed.what, "steps": failed.steps, "last_events": failed.last_events,
                });
                println!("{line}");
            } else {
                failed.last_events.iter().for_each(|line| println!("{line}"));
                println!("{failed}");
                println!("replay it: understudy sim --seed {} --trace", failed.seed);
            }
            ExitCode::FAILURE
        }
    }
}
