//! Mutants as they are kept: patches, each with a few lines above that say what it is.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// Where they are.
pub(crate) const DIRECTORY: &str = "xtask/mutants";

/// A promise broken on purpose.
#[derive(Debug)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) promise: String,
    pub(crate) breaks: String,
    pub(crate) caught_by: Catcher,
    patch: PathBuf,
}

/// Who must notice.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Catcher {
    Simulation,
    /// A few rounds of the crash harness, under one seed.
    Crash,
    /// `cargo` with these arguments.
    Tests(Vec<String>),
}

impl fmt::Display for Catcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simulation => f.write_str("the simulation"),
            Self::Crash => f.write_str("the crash harness"),
            Self::Tests(arguments) => write!(f, "cargo {}", arguments.join(" ")),
        }
    }
}

/// All there are, by promise.
pub(crate) fn all(root: &Path) -> Result<Vec<Mutant>> {
    let entries = std::fs::read_dir(root.join(DIRECTORY)).with_context(|| format!("cannot read {DIRECTORY}"))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut mutants = paths
        .into_iter()
        .filter(|path| path.extension() == Some(OsStr::new("patch")))
        .map(Mutant::read)
        .collect::<Result<Vec<_>>>()?;
    mutants.sort_by_key(|mutant| {
        let number: u32 = mutant.promise.trim_start_matches('P').parse().unwrap_or(u32::MAX);
        (number, mutant.name.clone())
    });
    Ok(mutants)
}

impl Mutant {
    fn read(patch: PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(&patch).with_context(|| format!("cannot read {}", patch.display()))?;
        let field = |name: &str| {
            let found = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let found = found.with_context(|| format!("{} does not say \"{name}: …\"", patch.display()))?;
            anyhow::Ok(found.to_owned())
        };
        let caught_by = match field("Caught by")?.as_str() {
            "sim" => Catcher::Simulation,
            "crash" => Catcher::Crash,
            arguments => Catcher::Tests(arguments.split_whitespace().map(str::to_owned).collect()),
        };
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (promise, breaks) = (field("Promise")?, field("Breaks")?);
        Ok(Self {
            name,
            promise,
            breaks,
            caught_by,
            patch,
        })
    }

    /// Applies it to a tree. Whether it fits; git says itself why not.
    pub(crate) fn apply(&self, tree: &Path, how: &[&str]) -> Result<bool> {
        let applied = Command::new("git")
            .arg("apply")
            .args(how)
            .arg(&self.patch)
            .current_dir(tree)
            // A copy lies within a repository, and is none.
            .env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(tree))
            .status();
        Ok(applied.context("git cannot be run")?.success())
    }
}
