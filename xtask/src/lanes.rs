//! Test binaries, built once and run in two lanes: those that start whole shops, one after another since each takes all of the
//! machine it can get, and beside them the others, which wait for servers most of the time.

use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use servers::Kind;

use crate::step::Seen;

/// Whose tests start whole shops.
const SHOP: &str = "tradewind";
/// What is tested on each kind of database besides: the shop as its customers see it.
const ON_EACH: [&str; 3] = ["contract", "oversell", "ending"];
/// Last, when the other lane is through: they measure how long others take to notice that somebody is gone.
const LAST: [&str; 2] = ["cluster", "endurance"];

/// What Cargo says of a thing that it has built, as far as it is of interest. The crate for it would have serde_json built with
/// another feature, in everything that is tested.
#[derive(Debug, Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    manifest_path: PathBuf,
    profile: Profile,
    target: Target,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

/// A test binary, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    binary: PathBuf,
    package: String,
    target: String,
    /// Where Cargo runs it: the package's own.
    directory: PathBuf,
    /// The kind of database that all services of its shops are on, unless it is the embedded one.
    store: Option<Kind>,
}

impl Run {
    /// Nothing if the line is about something else than a test binary.
    fn of(line: &str) -> Option<Self> {
        let artifact: Artifact = serde_json::from_str(line).ok()?;
        let directory = artifact.manifest_path.parent()?.to_owned();
        Some(Self {
            binary: artifact.executable.filter(|_| artifact.profile.test)?,
            package: directory.file_name()?.to_str()?.to_owned(),
            target: artifact.target.name,
            directory,
            store: None,
        })
    }

    fn is_of_a_shop(&self) -> bool {
        self.package == SHOP
    }

    /// Shops wait for the disk and for times to pass, so that there is room for twice as many as there are processors.
    fn threads(&self) -> Option<usize> {
        let is_patient = self.is_of_a_shop() && !LAST.contains(&&*self.target);
        let processors = std::thread::available_parallelism().ok()?.get();
        is_patient.then_some(2 * processors)
    }

    /// Runs it to its end. What it prints is in this file meanwhile: of a pipe the end is not seen before everybody has let go
    /// of it, and a test may leave somebody behind.
    fn print_to(&self, path: &Path, given: &[(&str, String)]) -> Result<ExitStatus> {
        let file = File::create(path)?;
        let mut command = Command::new(&self.binary);
        command
            .current_dir(&self.directory)
            .env("CARGO_MANIFEST_DIR", &self.directory)
            // A snapshot that differs is a failure, not a file to review.
            .env("INSTA_UPDATE", "no")
            .envs(given.iter().map(|(name, value)| (name, value)))
            .envs(self.store.map(|kind| ("TEST_STORE", kind.as_str())))
            .envs(self.threads().map(|count| ("RUST_TEST_THREADS", count.to_string())))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        Ok(command.status()?)
    }
}

/// As a line names it.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.package, self.target)?;
        self.store.map_or(Ok(()), |kind| write!(f, " on {kind}"))
    }
}

/// Builds the tests and runs them all, whichever fail. With servers, those of the shop again on each kind of database.
pub(crate) fn run(mut build: Command, given: &[(&str, String)], seen: &mut Seen) -> Result<()> {
    let runs = built(&mut build)?;
    ensure!(!runs.is_empty(), "there are no tests");
    let stores: &[Kind] = if given.is_empty() { &[] } else { Kind::DATABASES };
    let lanes = lanes(runs, stores);
    let failed = Mutex::new(Vec::new());
    let seen = Mutex::new(seen);
    let run_all = |lane: Vec<Run>| {
        for run in lane {
            if let Err(error) = add(&run, given, &seen) {
                failed.lock().expect("no lane panics").push(format!("{error:#}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for lane in lanes {
            scope.spawn(|| run_all(lane));
        }
    });
    let failed = failed.into_inner().expect("no lane panics");
    ensure!(failed.is_empty(), "{}", failed.join(", "));
    Ok(())
}

fn built(build: &mut Command) -> Result<Vec<Run>> {
    let mut child = build.stdout(Stdio::piped()).spawn().context("cargo cannot be run")?;
    let output = child.stdout.take().expect("it is piped");
    let mut runs = Vec::new();
    for line in BufReader::new(output).lines() {
        runs.extend(Run::of(&line?));
    }
    if !child.wait()?.success() {
        bail!("the tests do not build");
    }
    Ok(runs)
}

/// Shops, and everything else.
fn lanes(mut runs: Vec<Run>, stores: &[Kind]) -> [Vec<Run>; 2] {
    runs.sort_by(|one, other| (&one.package, &one.target).cmp(&(&other.package, &other.target)));
    let (shops, others): (Vec<_>, Vec<_>) = runs.into_iter().partition(Run::is_of_a_shop);
    let (last, first): (Vec<_>, Vec<_>) = shops.into_iter().partition(|run| LAST.contains(&&*run.target));
    let again = |&kind: &Kind| {
        let shops = first.iter().filter(|run| ON_EACH.contains(&&*run.target));
        let again = shops.map(move |run| Run {
            store: Some(kind),
            ..run.clone()
        });
        again.collect::<Vec<_>>()
    };
    let again: Vec<Run> = stores.iter().flat_map(again).collect();
    [first.into_iter().chain(again).chain(last).collect(), others]
}

/// Runs it, prints what it printed, and counts the tests in it.
#[expect(
    clippy::disallowed_methods,
    reason = "measures real commands, which no injected clock drives"
)]
fn add(run: &Run, given: &[(&str, String)], seen: &Mutex<&mut Seen>) -> Result<()> {
    let path = directory()?.join(format!("{run}.log"));
    println!("-- {run}: begins");
    let start = Instant::now();
    let status = run
        .print_to(&path, given)
        .with_context(|| format!("{run} cannot be run"))?;
    let output = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
    let word = if status.success() { "ok" } else { "FAILED" };
    let mut seen = seen.lock().expect("no lane panics");
    println!("{output}-- {run}: {word} after {:.1} s", start.elapsed().as_secs_f64());
    output.lines().for_each(|line| seen.note(line));
    ensure!(status.success(), "{run} failed ({status})");
    Ok(())
}

/// Where the output of what runs is until it is printed.
fn directory() -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lanes");
    std::fs::create_dir_all(&directory)?;
    Ok(directory.canonicalize()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(package: &str, target: &str) -> Run {
        Run {
            binary: format!("/target/{target}").into(),
            package: package.to_owned(),
            target: target.to_owned(),
            directory: format!("/crates/{package}").into(),
            store: None,
        }
    }

    #[test]
    fn of_what_cargo_has_built_test_binaries_are_run() {
        let line = |executable: &str, is_test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///crates/orders#0.1.0","manifest_path":"/crates/orders/Cargo.toml","target":{{"kind":["test"],"name":"api","src_path":"/crates/orders/tests/api.rs"}},"profile":{{"opt_level":"0","test":{is_test}}},"features":[],"filenames":[],"executable":{executable},"fresh":true}}"#
            )
        };
        let api = Run {
            binary: "/target/api".into(),
            ..run("orders", "api")
        };
        assert_eq!(Run::of(&line(r#""/target/api""#, true)), Some(api));
        for nothing in [
            &*line(r#""/target/tradewind""#, false),
            &line("null", true),
            r#"{"reason":"build-finished","success":true}"#,
            "running 3 tests",
        ] {
            assert_eq!(Run::of(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn shops_run_in_a_lane_of_their_own_on_each_database_and_clusters_last() {
        let runs = vec![
            run("tradewind", "cluster"),
            run("kernel", "writer"),
            run("tradewind", "oversell"),
            run("tradewind", "refused"),
            run("store-sql", "contract"),
        ];
        let names = |stores: &[Kind]| {
            lanes(runs.clone(), stores).map(|lane| lane.iter().map(Run::to_string).collect::<Vec<_>>())
        };
        let others = ["kernel::writer", "store-sql::contract"];
        assert_eq!(
            names(&[]),
            [
                &["tradewind::oversell", "tradewind::refused", "tradewind::cluster"][..],
                &others
            ]
        );
        assert_eq!(
            names(&[Kind::Postgres, Kind::Mongodb])[0],
            [
                "tradewind::oversell",
                "tradewind::refused",
                "tradewind::oversell on postgres",
                "tradewind::oversell on mongodb",
                "tradewind::cluster"
            ]
        );
    }
}
