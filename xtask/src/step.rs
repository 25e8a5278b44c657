//! One command of a check.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::lanes;
use crate::matrix::Matrix;
use crate::tally::Tally;

/// What is run, and what is expected of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    is_optional: bool,
    tests: Tests,
}

/// Whether a step runs tests, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tests {
    None,
    /// They are counted, and there must be some.
    Counted,
    /// So they are, and they run in lanes.
    InLanes,
}

/// What the tests of all steps have told.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) tally: Tally,
    pub(crate) matrices: [Matrix; 3],
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            tally: Tally::default(),
            matrices: [Matrix::of_stores(), Matrix::of_buses(), Matrix::of_limiters()],
        }
    }
}

impl Seen {
    /// Reads a line that tests printed.
    pub(crate) fn note(&mut self, line: &str) {
        self.tally.count(line);
        self.matrices.iter_mut().for_each(|matrix| matrix.note(line));
    }
}

/// What became of a step that did not fail.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// It is as it should be.
    Passed,
    /// Its tool is not installed.
    Skipped,
}

impl Step {
    pub(crate) const fn cargo(name: &'static str, arguments: &'static [&'static str]) -> Self {
        Self {
            name,
            program: "cargo",
            arguments,
            environment: &[],
            is_optional: false,
            tests: Tests::None,
        }
    }

    /// A program that a machine may have; without it the step is skipped.
    pub(crate) const fn tool(name: &'static str, program: &'static str, arguments: &'static [&'static str]) -> Self {
        Self {
            program,
            ..Self::cargo(name, arguments).optional()
        }
    }

    pub(crate) const fn optional(self) -> Self {
        Self {
            is_optional: true,
            ..self
        }
    }

    /// Its tests are counted, and there must be some.
    pub(crate) const fn counted(self) -> Self {
        Self {
            tests: Tests::Counted,
            ..self
        }
    }

    /// What it builds is run in lanes.
    pub(crate) const fn in_lanes(self) -> Self {
        Self {
            tests: Tests::InLanes,
            ..self
        }
    }

    pub(crate) const fn with(self, environment: &'static [(&'static str, &'static str)]) -> Self {
        Self { environment, ..self }
    }

    /// Runs it in the repository's root, with these variables besides. What it prints goes through.
    pub(crate) fn run(&self, given: &[(&str, String)], seen: &mut Seen) -> Result<Outcome> {
        println!("\n== {}: {self}", self.name);
        if self.is_optional && !self.is_installed() {
            println!("skipped: {} is not installed", self.tool_name());
            return Ok(Outcome::Skipped);
        }
        let before = seen.tally.passed;
        match self.tests {
            Tests::InLanes => self.run_in_lanes(given, seen)?,
            Tests::None | Tests::Counted => self.run_by_itself(given, seen)?,
        }
        if self.tests != Tests::None && seen.tally.passed == before {
            bail!("{} ran no test: {self}", self.name);
        }
        Ok(Outcome::Passed)
    }

    fn run_by_itself(&self, given: &[(&str, String)], seen: &mut Seen) -> Result<()> {
        let mut command = self.command();
        command
            .args(self.arguments)
            .envs(given.iter().map(|(name, value)| (name, value)));
        if self.tests == Tests::Counted {
            command.stdout(Stdio::piped());
        }
        let child = command
            .spawn()
            .with_context(|| format!("{} cannot be run", self.program))?;
        let status = watch(child, seen).with_context(|| format!("{} cannot be watched", self.program))?;
        if !status.success() {
            bail!("{} failed ({status}): {self}", self.name);
        }
        Ok(())
    }

    fn run_in_lanes(&self, given: &[(&str, String)], seen: &mut Seen) -> Result<()> {
        let mut build = self.command();
        build.args(self.arguments);
        lanes::run(build, given, seen)
    }

    /// Runs it with these arguments besides, and nothing else: what it prints is all that is printed.
    pub(crate) fn replace(&self, arguments: &[String]) -> ExitCode {
        let status = self.command().args(self.arguments).args(arguments).status();
        match status {
            Ok(status) if status.success() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("error: {} cannot be run: {error}", self.program);
                ExitCode::FAILURE
            }
        }
    }

    fn is_installed(&self) -> bool {
        let subcommand = self.arguments.first().filter(|_| self.program == "cargo");
        let mut version = self.command();
        version
            .args(subcommand)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    }

    fn tool_name(&self) -> String {
        match self.arguments.first() {
            Some(subcommand) if self.program == "cargo" => format!("cargo-{subcommand}"),
            _ => self.program.to_owned(),
        }
    }

    fn command(&self) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask lies in the repository's root");
        let mut command = Command::new(self.program);
        command.current_dir(root).envs(self.environment.iter().copied());
        command
    }
}

/// As one would type it.
impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, value) in self.environment {
            write!(f, "{name}='{value}' ")?;
        }
        f.write_str(self.program)?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

/// Waits for the end. Output that is piped is passed on line by line, and the tests in it are counted.
fn watch(mut child: Child, seen: &mut Seen) -> std::io::Result<ExitStatus> {
    if let Some(output) = child.stdout.take() {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line)? > 0 {
            std::io::stdout().write_all(&line)?;
            seen.note(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    child.wait()
}
