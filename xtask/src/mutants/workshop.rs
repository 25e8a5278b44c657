//! A copy of the tree, where mutants are built and hunted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::mutants::Fate;
use crate::mutants::patch::{Catcher, Mutant};
use crate::mutants::verdict;

/// Seeds within which the simulation must notice.
const SEEDS: &str = "200";

/// What the simulation is made of here. Each mutant builds most of it anew, which takes longer than its seeds do, so it is
/// not optimised as what it depends on is.
const CRATES: &[&str] = &[
    "contracts",
    "kernel",
    "users",
    "catalog",
    "inventory",
    "orders",
    "payments",
    "notifications",
    "events",
    "testkit",
    "simulation",
];
const BUILD_SIMULATION: &[&str] = &["build", "--release", "--package", "simulation"];
const SIMULATE: &[&str] = &["run", "--quiet", "--release", "--package", "simulation"];
const SEARCH: &[&str] = &["--", "--first", "--json", "--seeds", SEEDS];
const BUILD_CRASH: &[&str] = &["build", "--package", "crash"];
/// As many rounds as a run of the tests has. What is mutated must not depend on luck: each of them is to notice it.
const CRASH: &[&str] = &[
    "run",
    "--quiet",
    "--package",
    "crash",
    "--",
    "--json",
    "--seed",
    "1",
    "--rounds",
    "20",
];

pub(crate) struct Workshop {
    tree: PathBuf,
    built: PathBuf,
}

impl Workshop {
    /// Makes the copy equal to the tree, whatever was left there.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let workshop = Self {
            tree: root.join("target/mutants/tree"),
            built: root.join("target/mutants/built"),
        };
        let listed = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .current_dir(root)
            .output()
            .context("git cannot be run")?;
        if !listed.status.success() {
            bail!("git cannot list the tree's files");
        }
        let listed = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
        // Without those that are deleted, and not committed yet.
        let files: BTreeSet<&Path> = listed
            .split_terminator('\0')
            .map(Path::new)
            .filter(|file| root.join(file).exists())
            .collect();
        fs::create_dir_all(&workshop.tree)?;
        workshop.remove_all_but(&files, Path::new(""))?;
        for file in files {
            workshop
                .copy(root, file)
                .with_context(|| format!("cannot copy {}", file.display()))?;
        }
        Ok(workshop)
    }

    fn remove_all_but(&self, files: &BTreeSet<&Path>, directory: &Path) -> Result<()> {
        for entry in fs::read_dir(self.tree.join(directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                self.remove_all_but(files, &path)?;
            } else if !files.contains(&*path) {
                fs::remove_file(self.tree.join(path))?;
            }
        }
        Ok(())
    }

    /// Leaves alone what is the same already, so that it is not built again.
    fn copy(&self, root: &Path, file: &Path) -> Result<()> {
        let (from, to) = (root.join(file), self.tree.join(file));
        let content = fs::read(from)?;
        if fs::read(&to).is_ok_and(|there| there == content) {
            return Ok(());
        }
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory)?;
        }
        Ok(fs::write(to, content)?)
    }

    /// Breaks the copy, hunts, and mends it again.
    pub(crate) fn test(&self, mutant: &Mutant) -> Result<Fate> {
        if !mutant.apply(&self.tree, &[])? {
            return Ok(Fate::Broken("it does not apply; the code has changed".to_owned()));
        }
        let fate = self.hunt(&mutant.caught_by);
        if !mutant.apply(&self.tree, &["--reverse"])? {
            bail!("{} cannot be taken back", mutant.name);
        }
        fate
    }

    /// Whether somebody notices what the copy is now.
    pub(crate) fn hunt(&self, catcher: &Catcher) -> Result<Fate> {
        let (build, search, judge): (_, _, fn(&Output) -> Option<String>) = match catcher {
            Catcher::Simulation => (
                BUILD_SIMULATION.to_vec(),
                [SIMULATE, SEARCH].concat(),
                verdict::violated_seed,
            ),
            Catcher::Crash => (BUILD_CRASH.to_vec(), CRASH.to_vec(), verdict::violated_round),
            Catcher::Tests(arguments) => {
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                (
                    [&arguments[..], &["--no-run"]].concat(),
                    arguments,
                    verdict::failed_test,
                )
            }
        };
        // What the compiler says goes through: it takes long, and tells why if it fails.
        if !self.cargo(catcher, &build).stdout(Stdio::null()).status()?.success() {
            return Ok(Fate::Broken("it does not build".to_owned()));
        }
        let output = self.cargo(catcher, &search).output().context("cargo cannot be run")?;
        Ok(match (output.status.success(), judge(&output)) {
            (true, _) => Fate::Survived,
            (false, Some(by)) => Fate::Caught(by),
            (false, None) => Fate::Broken(verdict::unnamed(&output)),
        })
    }

    fn cargo(&self, catcher: &Catcher, arguments: &[&str]) -> Command {
        let mut cargo = Command::new("cargo");
        // Each mutant changes a line or two, so most of what is built stays as it is.
        cargo.current_dir(&self.tree).env("CARGO_INCREMENTAL", "1");
        let plain = |name: &&str| {
            let profile = format!("--config=profile.release.package.{name}");
            [format!("{profile}.opt-level=0"), format!("{profile}.debug=0")]
        };
        match catcher {
            Catcher::Simulation => cargo
                .args(CRATES.iter().flat_map(plain))
                .env("CARGO_TARGET_DIR", self.built.join("simulation"))
                .env("RUSTFLAGS", "--cfg tokio_unstable"),
            Catcher::Crash | Catcher::Tests(_) => cargo.env("CARGO_TARGET_DIR", self.built.join("tests")),
        };
        cargo.args(arguments);
        cargo
    }
}
