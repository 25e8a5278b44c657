//! libFuzzer at what reads bytes from outside.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

/// What a run finds and builds; nothing of it is kept in the repository.
const FOUND: &str = "target/fuzz";
/// An input that takes longer has failed.
const INPUT_SECONDS_MAX: u32 = 10;

/// Fuzzes one target or all of them, each for so long, and stops at the first input at which one fails.
pub(crate) fn run(target: Option<String>, seconds: u32) -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the repository's root");
    let known = targets(root)?;
    let chosen = match target {
        None => known,
        Some(target) if known.contains(&target) => vec![target],
        Some(target) => bail!("there is no target {target}; there are {}", known.join(", ")),
    };
    if !cargo(root)
        .args(["fuzz", "--version"])
        .output()
        .is_ok_and(|it| it.status.success())
    {
        bail!(
            "this needs a nightly compiler and cargo-fuzz: rustup toolchain install nightly; cargo install cargo-fuzz"
        );
    }
    for target in &chosen {
        fuzz(root, target, seconds)?;
    }
    println!("\n{} fuzzed for {seconds} s each: {}", chosen.len(), chosen.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// Sanitizers are in nightly compilers only.
fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.arg("+nightly").current_dir(root);
    cargo
}

fn targets(root: &Path) -> Result<Vec<String>> {
    let directory = root.join("fuzz/corpus");
    let entries = std::fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn fuzz(root: &Path, target: &str, seconds: u32) -> Result<()> {
    println!("\n== {target}");
    // Inputs that are found go into the first directory; seeds are only read.
    let found = format!("{FOUND}/corpus/{target}");
    let failures = format!("{FOUND}/failures/{target}/");
    for directory in [&found, &failures] {
        std::fs::create_dir_all(root.join(directory)).with_context(|| format!("cannot make {directory}"))?;
    }
    let status = cargo(root)
        .args(["fuzz", "run", "--target-dir", FOUND, target, &found])
        .arg(format!("fuzz/corpus/{target}"))
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-artifact_prefix={failures}"))
        .arg("-print_final_stats=1")
        .status()
        .context("cargo cannot be run")?;
    if !status.success() {
        bail!("{target} failed; the input is in {failures}. Make a seed of it in fuzz/corpus/{target}");
    }
    Ok(())
}
