//! Tests of the tests: each promise is broken on purpose, in a copy of the tree, and something must notice.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use anyhow::{Context as _, Result, bail};

/// Patches, one mutant each, with a few lines above that say what it is.
const MUTANTS: &str = "xtask/mutants";
/// Seeds within which the simulation must notice.
const SEEDS: &str = "200";

/// A promise broken on purpose.
#[derive(Debug)]
struct Mutant {
    name: String,
    patch: PathBuf,
    promise: String,
    breaks: String,
    caught_by: Catcher,
}

/// Who must notice.
#[derive(Debug)]
enum Catcher {
    Simulation,
    /// `cargo` with these arguments.
    Tests(Vec<String>),
}

/// What became of a mutant.
enum Fate {
    Caught(String),
    Survived,
}

/// Runs all mutants, or those with these names.
pub(crate) fn run(names: &[String]) -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask lies in the repository's root")?;
    let mutants: Vec<Mutant> = all(root)?
        .into_iter()
        .filter(|mutant| names.is_empty() || names.contains(&mutant.name))
        .collect();
    if mutants.is_empty() {
        bail!("no mutant has such a name; they are in {MUTANTS}");
    }
    let workshop = Workshop::open(root)?;
    let mut survived = 0;
    let mut rows = Vec::new();
    for (number, mutant) in (1..).zip(&mutants) {
        eprintln!(
            "== {number} of {}: {}, {}",
            mutants.len(),
            mutant.promise,
            mutant.breaks
        );
        let fate = workshop.test(mutant).with_context(|| mutant.name.clone())?;
        eprintln!("   {fate}");
        survived += u32::from(matches!(fate, Fate::Survived));
        rows.push(format!("{:<4} {:<36} {fate}", mutant.promise, mutant.name));
    }
    println!("\n{}", rows.join("\n"));
    println!("{} mutants, {survived} survived", mutants.len());
    Ok(if survived == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn all(root: &Path) -> Result<Vec<Mutant>> {
    let entries = std::fs::read_dir(root.join(MUTANTS)).with_context(|| format!("cannot read {MUTANTS}"))?;
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
            arguments => Catcher::Tests(arguments.split_whitespace().map(str::to_owned).collect()),
        };
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (promise, breaks) = (field("Promise")?, field("Breaks")?);
        Ok(Self {
            name,
            patch,
            promise,
            breaks,
            caught_by,
        })
    }
}

/// A copy of the tree, where mutants are built.
struct Workshop {
    tree: PathBuf,
    built: PathBuf,
}

impl Workshop {
    fn open(root: &Path) -> Result<Self> {
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
        for file in listed.split_terminator('\0') {
            workshop
                .copy(root, file)
                .with_context(|| format!("cannot copy {file}"))?;
        }
        Ok(workshop)
    }

    /// Leaves alone what is the same already, so that it is not built again.
    fn copy(&self, root: &Path, file: &str) -> Result<()> {
        let (from, to) = (root.join(file), self.tree.join(file));
        if !from.exists() {
            // Deleted, and not committed yet.
            return Ok(());
        }
        let content = std::fs::read(from)?;
        if std::fs::read(&to).is_ok_and(|there| there == content) {
            return Ok(());
        }
        if let Some(directory) = to.parent() {
            std::fs::create_dir_all(directory)?;
        }
        Ok(std::fs::write(to, content)?)
    }

    fn test(&self, mutant: &Mutant) -> Result<Fate> {
        self.apply(&mutant.patch, &[])?;
        let fate = self.hunt(&mutant.caught_by);
        self.apply(&mutant.patch, &["--reverse"])?;
        fate
    }

    fn apply(&self, patch: &Path, how: &[&str]) -> Result<()> {
        let applied = Command::new("git")
            .arg("apply")
            .args(how)
            .arg(patch)
            .current_dir(&self.tree)
            // The tree lies within a repository, and is none.
            .env("GIT_CEILING_DIRECTORIES", self.tree.parent().unwrap_or(&self.tree))
            .status()
            .context("git cannot be run")?;
        if !applied.success() {
            bail!("{} does not apply; the code has changed", patch.display());
        }
        Ok(())
    }

    fn hunt(&self, catcher: &Catcher) -> Result<Fate> {
        match catcher {
            Catcher::Simulation => {
                let simulate = ["run", "--quiet", "--release", "--package", "simulation"];
                self.build(&["build", "--quiet", "--release", "--package", "simulation"], true)?;
                let output = self.cargo(&[&simulate[..], &["--", "--first", "--seeds", SEEDS]].concat(), true)?;
                Ok(Fate::of(&output, |line| line.starts_with("seed ")))
            }
            Catcher::Tests(arguments) => {
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                self.build(&[&arguments[..], &["--quiet", "--no-run"]].concat(), false)?;
                let output = self.cargo(&arguments, false)?;
                Ok(Fate::of(&output, |line| {
                    line.starts_with("test ") && line.ends_with("FAILED")
                }))
            }
        }
    }

    /// A mutant that does not build proves nothing.
    fn build(&self, arguments: &[&str], seeded: bool) -> Result<()> {
        let built = self.cargo(arguments, seeded)?;
        if !built.status.success() {
            bail!("it does not build:\n{}", String::from_utf8_lossy(&built.stderr));
        }
        Ok(())
    }

    fn cargo(&self, arguments: &[&str], seeded: bool) -> Result<Output> {
        let mut cargo = Command::new("cargo");
        cargo.args(arguments).current_dir(&self.tree);
        if seeded {
            cargo.env("CARGO_TARGET_DIR", self.built.join("simulation"));
            cargo.env("RUSTFLAGS", "--cfg tokio_unstable");
        } else {
            cargo.env("CARGO_TARGET_DIR", self.built.join("tests"));
        }
        cargo.output().context("cargo cannot be run")
    }
}

impl Fate {
    fn of(output: &Output, tells: impl Fn(&str) -> bool) -> Self {
        if output.status.success() {
            return Self::Survived;
        }
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let told = said.iter().flat_map(|text| text.lines()).find(|line| tells(line));
        Self::Caught(told.unwrap_or("a failure without a name").chars().take(150).collect())
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caught(by) => write!(f, "caught by {by}"),
            Self::Survived => f.write_str("SURVIVED"),
        }
    }
}
