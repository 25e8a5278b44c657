//! Test binaries, built once and run in two lanes: those that start whole shops, one after another since each takes all of the
//! machine it can get, and beside them the others, which wait for servers most of the time. Some have the machine for
//! themselves when both are through.

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
const SHOPS: [&str; 2] = ["tradewind", "crash"];
/// What is tested on each kind of database besides: the shop as its customers see it.
const ON_EACH: [&str; 3] = ["contract", "oversell", "ending"];
/// By themselves: they measure how long others take to notice that somebody is gone.
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
    kind: Vec<String>,
}

/// A test binary, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    binary: PathBuf,
    package: String,
    /// The library's, the program's, or that of a file of tests.
    target: String,
    kind: String,
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
            kind: artifact.target.kind.into_iter().next()?,
            directory,
            store: None,
        })
    }

    fn is_of_a_shop(&self) -> bool {
        SHOPS.contains(&&*self.package)
    }

    /// Shops wait for the disk and for times to pass, so that there is room for twice as many as there are processors.
    fn threads(&self) -> Option<usize> {
        let is_said = std::env::var_os("RUST_TEST_THREADS").is_some();
        let is_patient = self.is_of_a_shop() && !LAST.contains(&&*self.target) && !is_said;
        let processors = std::thread::available_parallelism().ok()?.get();
        is_patient.then_some(2 * processors)
    }

    /// Runs it to its end. What it prints is in these files meanwhile: of a pipe the end is not seen before everybody has let go
    /// of it, and a test may leave somebody behind. Results are read from the first, where nobody else writes between them.
    fn print_to(&self, [out, err]: [&Path; 2], given: &[(&str, String)]) -> Result<ExitStatus> {
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
            .stdout(File::create(out)?)
            .stderr(File::create(err)?);
        Ok(command.status()?)
    }
}

/// As a line names it.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.kind {
            "test" => write!(f, "{}::{}", self.package, self.target)?,
            kind => write!(f, "{} ({kind})", self.package)?,
        }
        self.store.map_or(Ok(()), |kind| write!(f, " on {kind}"))
    }
}

/// Builds the tests and runs them all, whichever fail. With servers, those of the shop again on each kind of database.
pub(crate) fn run(mut build: Command, given: &[(&str, String)], seen: &mut Seen) -> Result<()> {
    let runs = built(&mut build)?;
    // Clusters are built with the brokers' drivers alone.
    let expected = if given.is_empty() {
        &ON_EACH[..]
    } else {
        &[ON_EACH.as_slice(), &LAST].concat()
    };
    for name in expected {
        let is_there = |run: &Run| run.is_of_a_shop() && run.target == *name;
        ensure!(
            runs.iter().any(is_there),
            "there are no tests of the shop that are named {name}"
        );
    }
    let stores: &[Kind] = if given.is_empty() { &[] } else { Kind::DATABASES };
    let Plan { lanes, last } = Plan::of(runs, stores);
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
    run_all(last);
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

/// What runs when.
#[derive(Debug)]
struct Plan {
    /// Shops, and everything else.
    lanes: [Vec<Run>; 2],
    last: Vec<Run>,
}

impl Plan {
    fn of(mut runs: Vec<Run>, stores: &[Kind]) -> Self {
        runs.sort_by(|one, other| (&one.package, &one.target).cmp(&(&other.package, &other.target)));
        let (shops, others): (Vec<_>, Vec<_>) = runs.into_iter().partition(Run::is_of_a_shop);
        let (last, mut shops): (Vec<_>, Vec<_>) = shops.into_iter().partition(|run| LAST.contains(&&*run.target));
        let again = |&kind: &Kind| {
            let again = shops.iter().filter(|run| ON_EACH.contains(&&*run.target));
            let again = again.map(move |run| Run {
                store: Some(kind),
                ..run.clone()
            });
            again.collect::<Vec<_>>()
        };
        let again: Vec<Run> = stores.iter().flat_map(again).collect();
        shops.extend(again);
        Self {
            lanes: [shops, others],
            last,
        }
    }
}

/// Runs it, prints what it printed, and counts the tests in it.
#[expect(
    clippy::disallowed_methods,
    reason = "measures real commands, which no injected clock drives"
)]
fn add(run: &Run, given: &[(&str, String)], seen: &Mutex<&mut Seen>) -> Result<()> {
    let [out, err] = ["out", "err"].map(|end| directory().map(|it| it.join(format!("{run}.{end}"))));
    let (out, err) = (out?, err?);
    println!("-- {run}: begins");
    let start = Instant::now();
    let status = run.print_to([&out, &err], given);
    let status = status.with_context(|| format!("{run} cannot be run"))?;
    let [out, err] = [out, err].map(|path| std::fs::read(path).map(|it| String::from_utf8_lossy(&it).into_owned()));
    let (out, err, took) = (out?, err?, start.elapsed().as_secs_f64());
    let word = if status.success() { "ok" } else { "FAILED" };
    let mut seen = seen.lock().expect("no lane panics");
    println!("{err}{out}-- {run}: {word} after {took:.1} s");
    out.lines().for_each(|line| seen.note(line));
    ensure!(status.success(), "{run} failed ({status}): {}", run.binary.display());
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
            kind: "test".to_owned(),
            directory: format!("/crates/{package}").into(),
            store: None,
        }
    }

    fn names(runs: &[Run]) -> Vec<String> {
        runs.iter().map(Run::to_string).collect()
    }

    #[test]
    fn of_what_cargo_has_built_test_binaries_are_run() {
        let line = |executable: &str, is_test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///crates/orders#0.1.0","manifest_path":"/crates/orders/Cargo.toml","target":{{"kind":["test"],"name":"api","src_path":"/crates/orders/tests/api.rs"}},"profile":{{"opt_level":"0","test":{is_test}}},"features":[],"filenames":[],"executable":{executable},"fresh":true}}"#
            )
        };
        assert_eq!(Run::of(&line(r#""/target/api""#, true)), Some(run("orders", "api")));
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
    fn shops_run_in_a_lane_of_their_own_and_on_each_database_and_clusters_last() {
        let runs = vec![
            run("tradewind", "cluster"),
            run("kernel", "writer"),
            run("tradewind", "oversell"),
            run("tradewind", "refused"),
            run("crash", "rounds"),
            run("store-sql", "contract"),
        ];
        let Plan { lanes, last } = Plan::of(runs.clone(), &[Kind::Postgres, Kind::Mongodb]);
        assert_eq!(
            names(&lanes[0]),
            [
                "crash::rounds",
                "tradewind::oversell",
                "tradewind::refused",
                "tradewind::oversell on postgres",
                "tradewind::oversell on mongodb",
            ]
        );
        assert_eq!(names(&lanes[1]), ["kernel::writer", "store-sql::contract"]);
        assert_eq!(names(&last), ["tradewind::cluster"]);
        let without_servers = Plan::of(runs, &[]);
        assert_eq!(names(&without_servers.lanes[0])[2..], ["tradewind::refused"]);
    }

    #[test]
    fn a_binary_that_ends_badly_has_failed_whatever_it_printed() {
        let ends = |program: &str| {
            let run = Run {
                binary: program.into(),
                directory: "/".into(),
                ..run("xtask", program)
            };
            add(&run, &[], &Mutex::new(&mut Seen::default())).map_err(|error| error.to_string())
        };
        assert_eq!(ends("true"), Ok(()));
        assert!(ends("false").is_err_and(|error| error.contains("xtask::false failed")));
    }
}
