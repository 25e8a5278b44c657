//! Real servers for tests, as long as somebody needs them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use servers::{Kind, Server};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::report::Report;
use crate::step::Step;

/// Servers that were started together, and are stopped and forgotten together.
#[derive(Debug)]
pub(crate) struct Services {
    servers: Vec<Server>,
    /// Below the target directory, and not the system's: what the servers wrote may be wanted after a failure.
    directory: PathBuf,
}

impl Services {
    /// Installs and starts them, all at once.
    pub(crate) fn start(kinds: &[Kind]) -> Result<Self> {
        servers::install(kinds)?;
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../target/servers/run")
            .join(std::process::id().to_string());
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        let started = std::thread::scope(|scope| {
            let start = |&kind: &Kind| {
                let directory = directory.join(kind.as_str());
                scope.spawn(move || Server::start(kind, &directory))
            };
            let starting: Vec<_> = kinds.iter().map(start).collect();
            let started = starting
                .into_iter()
                .map(|it| it.join().expect("a start does not panic"));
            started.collect::<Result<Vec<_>>>()
        });
        Ok(Self {
            servers: started?,
            directory,
        })
    }

    /// How to connect to one of them.
    pub(crate) fn url(&self, kind: Kind) -> Result<String> {
        let server = self.servers.iter().find(|server| server.kind() == kind);
        server.map(Server::url).with_context(|| format!("{kind} does not run"))
    }

    /// Below which they keep what they write; others may, too.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The variables that tell tests where they are.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.servers
            .iter()
            .map(|server| (server.kind().variable(), server.url()))
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.servers.clear();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Runs steps beside all of them.
pub(crate) fn test(steps: &[Step]) -> Result<ExitCode> {
    let services = Services::start(Kind::ALL)?;
    let given = services.variables().collect();
    Ok(Report::given(given).run(steps))
}

/// Runs them until it is told to end.
pub(crate) fn run(kinds: &[Kind]) -> Result<ExitCode> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let kinds = if kinds.is_empty() { Kind::ALL } else { kinds };
    let services = Services::start(kinds)?;
    for (name, url) in services.variables() {
        println!("export {name}='{url}'");
    }
    eprintln!("running until Ctrl-C; then they are stopped and their data removed");
    signals.forever().next();
    Ok(ExitCode::SUCCESS)
}
