//! `cargo xtask sim`: runs seeds, reports what they reached, and shrinks one that fails.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use simulation::{Fault, Outcome, Reached, Weather, run, shrink};

/// A fifth of a run goes to the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Of so many seeds the trace is compared with that of another process.
const REPEATED: u64 = 3;
/// With so many seeds every fault and every end of an order should have been reached.
const ENOUGH: u64 = 200;

/// Run the whole shop in one thread under seeds, with faults between any two steps, and check the books afterwards.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask sim")]
struct Arguments {
    /// Run this seed alone: print what happened, and if it fails, the smallest run that still does
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// How many seeds to run
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Stop at the first that is violated
    #[arg(long)]
    first: bool,
    /// Let no other process repeat the first seeds: it is the other one
    #[arg(long, hide = true)]
    is_repetition: bool,
    /// As JSON, with a hash of each seed's trace
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.seed {
        Some(seed) => run_one(seed),
        None => run_many(&arguments),
    }
}

fn run_one(seed: u64) -> ExitCode {
    let outcome = run(seed, &Weather::default(), true);
    let Some(violation) = &outcome.violation else {
        outcome.trace.iter().for_each(|line| println!("{line}"));
        println!("seed {seed}: nothing is violated; trace {}", shown(outcome.trace_hash));
        return ExitCode::SUCCESS;
    };
    eprintln!("seed {seed} is violated; looking for less that is violated too");
    let smallest = shrink(seed, |weather| {
        eprintln!("  still with {} kinds of faults", weather.kinds.len())
    });
    let shrunk = run(seed, &smallest, true);
    shrunk.trace.iter().for_each(|line| println!("{line}"));
    println!("seed {seed}: {violation}");
    if let Some(violation) = &shrunk.violation {
        println!("with {} faults of {:?}: {violation}", smallest.max, smallest.kinds);
    }
    ExitCode::FAILURE
}

fn run_many(arguments: &Arguments) -> ExitCode {
    let bar = ProgressBar::new(arguments.seeds);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds {eta} {msg}") {
        bar.set_style(style);
    }
    let traces = Mutex::new(BTreeMap::new());
    let next = AtomicU64::new(arguments.from);
    let reached = Mutex::new(Reached::default());
    let violated = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let found = arguments.first && !violated.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
                    if found || seed - arguments.from >= arguments.seeds {
                        return;
                    }
                    let Outcome {
                        violation,
                        reached: found,
                        trace_hash,
                        ..
                    } = run(seed, &Weather::default(), arguments.json);
                    if trace_hash.is_some() {
                        traces
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(seed, shown(trace_hash));
                    }
                    reached.lock().unwrap_or_else(PoisonError::into_inner).add(&found);
                    if let Some(violation) = violation {
                        bar.suspend(|| eprintln!("seed {seed}: {violation}"));
                        violated
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(seed, violation);
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let reached = reached.into_inner().unwrap_or_else(PoisonError::into_inner);
    let violated = violated.into_inner().unwrap_or_else(PoisonError::into_inner);
    let traces = traces.into_inner().unwrap_or_else(PoisonError::into_inner);
    match arguments.json {
        true => print_json(arguments.seeds, &reached, &violated, &traces),
        false => print(arguments.seeds, &reached, &violated),
    }
    let differs = check_repeats(arguments.from).or_else(|| match arguments.is_repetition {
        true => None,
        false => check_repeats_elsewhere(arguments.from),
    });
    if let Some(difference) = &differs {
        eprintln!("seed {} does not repeat itself: {difference}", arguments.from);
    }
    let missed = reached.missed();
    let proves_little = arguments.seeds >= ENOUGH && !missed.is_empty();
    if proves_little {
        eprintln!("never reached, so nothing is proven of them: {missed:?}");
    }
    match violated.is_empty() && differs.is_none() && !proves_little {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Where two runs of one seed part, if they do. They may where Tokio is built without its unstable interface, through
/// which its own choices are seeded.
fn check_repeats(seed: u64) -> Option<String> {
    if !cfg!(tokio_unstable) {
        return None;
    }
    let [one, other] = [0; 2].map(|_| run(seed, &Weather::default(), true).trace);
    let differs = one.iter().zip(&other).find(|(one, other)| one != other);
    match differs {
        Some((one, other)) => Some(format!("{one}\n{other}")),
        None => (one.len() != other.len()).then(|| format!("{} and {} lines", one.len(), other.len())),
    }
}

/// What differs where another process runs the first seeds: nothing of the process itself, as where its memory lies, may
/// decide anything.
fn check_repeats_elsewhere(from: u64) -> Option<String> {
    if !cfg!(tokio_unstable) {
        return None;
    }
    let [from_text, seeds] = [from, REPEATED].map(|number| number.to_string());
    let output = std::env::current_exe().and_then(|this| {
        let arguments = ["--is-repetition", "--json", "--from", &from_text, "--seeds", &seeds];
        std::process::Command::new(this).args(arguments).output()
    });
    let output = match output {
        Ok(output) => output.stdout,
        Err(error) => return Some(format!("there is no other process: {error}")),
    };
    let there: serde_json::Value = serde_json::from_slice(&output).unwrap_or_default();
    (from..from + REPEATED).find_map(|seed| {
        let here = shown(run(seed, &Weather::default(), true).trace_hash);
        let there = there["traces"][seed.to_string()].as_str().unwrap_or("nothing");
        (here != there).then(|| format!("the trace of {seed} is {here} here, and {there} in another process"))
    })
}

fn shown(trace_hash: Option<u64>) -> String {
    trace_hash.map_or_else(|| "not kept".to_owned(), |hash| format!("{hash:016x}"))
}

fn print(seeds: u64, reached: &Reached, violated: &BTreeMap<u64, String>) {
    // Those that never did, too.
    let faults = Fault::ALL
        .iter()
        .map(|fault| (fault, reached.faults.get(fault).copied().unwrap_or(0)));
    section("Faults that struck", faults);
    section("Where the orders ended", &reached.orders);
    section("What became of dead letters", &reached.letters);
    section("What people were answered", &reached.answers);
    let longest = [
        ("every order was decided", reached.longest.decided.as_secs()),
        ("nothing was left to do", reached.longest.settled.as_secs()),
    ];
    section("Longest time after the faults, in seconds, until", longest);
    match violated.len() {
        0 => println!("{seeds} seeds, nothing violated."),
        count => println!(
            "{seeds} seeds, {count} violated; see one with `cargo xtask sim --seed {}`.",
            violated.keys().next().unwrap_or(&0)
        ),
    }
}

fn section<N: Display, C: Display>(title: &str, rows: impl IntoIterator<Item = (N, C)>) {
    println!("{title}:");
    for (name, count) in rows {
        println!("  {name:<48} {count:>9}");
    }
}

fn print_json(seeds: u64, reached: &Reached, violated: &BTreeMap<u64, String>, traces: &BTreeMap<u64, String>) {
    let faults: BTreeMap<&str, u64> = reached
        .faults
        .iter()
        .map(|(fault, count)| (fault.as_str(), *count))
        .collect();
    let letters: BTreeMap<&str, u64> = reached
        .letters
        .iter()
        .map(|(fate, count)| (fate.as_str(), *count))
        .collect();
    let report = serde_json::json!({
        "seeds": seeds, "violated": violated, "faults": faults, "orders": reached.orders, "answers": reached.answers,
        "letters": letters, "longest_s": { "decided": reached.longest.decided.as_secs(), "settled": reached.longest.settled.as_secs() },
        "traces": traces,
    });
    println!("{report:#}");
}
