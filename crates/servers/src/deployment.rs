//! A shop of several processes, as a directory below `deploy` describes it: a Procfile says which there are, `tradewind.toml` what all of
//! them are told. Both are what a person runs it by; here they are copied, with the servers' URLs filled in and each port moved to a
//! free one.

mod filled;
mod procfile;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use self::filled::{Ports, filled, names};
use self::procfile::Line;
use crate::process::Process;

/// The directories, beside each other.
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");
const PROCFILE: &str = "Procfile";
const SETTINGS: &str = "tradewind.toml";
const NGINX: &str = "nginx/nginx.conf";
/// What stands for the shop's binary in a Procfile.
const SHOP: &str = "tradewind";
/// The shop's variable that says where a process listens.
const LISTEN: &str = "TRADEWIND_LISTEN";
/// A placeholder that ends so is the URL of a server.
const URL: &str = "_URL";
/// The placeholders that are made up.
const SECRETS: [&str; 2] = ["SERVICE_SECRET", ADMIN_PASSWORD];
const ADMIN_PASSWORD: &str = "ADMIN_PASSWORD";
const SECRET_BYTES: usize = 16;
/// How a process ends that finished what it had accepted.
const IN_ORDER: &str = "exit status: 0";
/// How long an answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// The files, as they are written.
#[derive(Clone, Debug)]
pub struct Deployment {
    name: String,
    procfile: String,
    settings: String,
}

impl Deployment {
    /// The one in `deploy/<name>`.
    pub fn read(name: &str) -> Result<Self> {
        let directory = Path::new(DEPLOY).join(name);
        let read = |file: &str| {
            let path = directory.join(file);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Self {
            name: name.to_owned(),
            procfile: read(PROCFILE)?,
            settings: read(SETTINGS)?,
        })
    }

    /// The names of those below `deploy/examples`.
    pub fn examples() -> Result<Vec<String>> {
        let entries = fs::read_dir(Path::new(DEPLOY).join("examples"))?;
        let entries = entries.collect::<std::io::Result<Vec<_>>>()?;
        let directories = entries.iter().filter(|entry| entry.path().is_dir());
        let names = directories.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    /// The servers whose URLs it wants, as the placeholders call them: `postgres` for `${POSTGRES_URL}`.
    #[must_use]
    pub fn servers(&self) -> BTreeSet<String> {
        let wanted = names(&self.settings)
            .into_iter()
            .filter_map(|name| name.strip_suffix(URL));
        wanted.map(str::to_lowercase).collect()
    }

    /// Whether nginx is in front.
    pub fn has_nginx(&self) -> Result<bool> {
        let lines = procfile::parse(&self.procfile)?;
        Ok(lines.iter().any(|line| line.program == "nginx"))
    }

    /// With another setting for all of its processes.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let _ = writeln!(self.settings, "{name} = {value:?}");
        self
    }

    /// Starts all processes below this directory, and waits until each is ready. The URLs are by the servers' names. If the thread that
    /// calls this ends, so do they.
    pub fn start(&self, binary: &Path, urls: &BTreeMap<String, String>, directory: &Path) -> Result<Deployed> {
        let mut values = BTreeMap::new();
        for (server, url) in urls {
            values.insert(server.to_uppercase() + URL, url.clone());
        }
        for name in SECRETS {
            values.insert(name.to_owned(), made_up()?);
        }
        let mut ports = Ports::default();
        let place = directory.join(&self.name);
        let nginx =
            fs::read_to_string(Path::new(DEPLOY).join(NGINX)).with_context(|| format!("cannot read {NGINX}"))?;
        let nginx = ports.moved(&nginx)?;
        let settings = filled(&ports.moved(&self.settings)?, &values)?;
        let procfile = ports.moved(&self.procfile)?;
        for (path, text) in [
            (place.join(SETTINGS), &settings),
            (place.join(PROCFILE), &procfile),
            (directory.join(NGINX), &nginx),
        ] {
            fs::create_dir_all(path.parent().expect("it is below a directory"))?;
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let mut deployed = Deployed {
            parts: Vec::new(),
            place: place.clone(),
            password: values.remove(ADMIN_PASSWORD).expect("it is made up"),
        };
        for line in procfile::parse(&procfile)? {
            deployed.parts.push(Part::start(line, binary, &place, &nginx)?);
        }
        for part in &mut deployed.parts {
            part.until_ready()?;
        }
        Ok(deployed)
    }
}

/// What runs, until it is dropped.
#[derive(Debug)]
pub struct Deployed {
    parts: Vec<Part>,
    place: PathBuf,
    password: String,
}

impl Deployed {
    /// The processes, in the order of the Procfile.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Where they run: what is relative in their settings is so to this.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The file with the settings of all.
    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.place.join(SETTINGS)
    }

    /// One of them.
    pub fn part(&mut self, name: &str) -> Result<&mut Part> {
        let part = self.parts.iter_mut().find(|part| part.name == name);
        part.with_context(|| format!("there is no {name}"))
    }

    /// The URL that clients come to: the last line of the Procfile is in front of all others.
    #[must_use]
    pub fn way_in(&self) -> &str {
        self.parts.last().map_or("", |part| &part.url)
    }

    /// The password of the first admin.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The names of those that have ended by themselves, which is told once.
    pub fn ended(&mut self) -> Vec<(String, String)> {
        let ended = self.parts.iter_mut().filter(|part| !part.has_ended);
        ended.filter_map(Part::end).collect()
    }
}

/// Who is in front goes first; nobody is waited for before all are told.
impl Drop for Deployed {
    fn drop(&mut self) {
        for part in self.parts.iter_mut().rev() {
            part.process.ask_to_stop();
        }
        for part in self.parts.iter_mut().rev() {
            part.process.wait();
        }
    }
}

/// A process.
#[derive(Debug)]
pub struct Part {
    name: String,
    url: String,
    log: PathBuf,
    command: Command,
    process: Process,
    has_ended: bool,
}

impl Part {
    fn start(line: Line, binary: &Path, place: &Path, nginx: &str) -> Result<Self> {
        let Line {
            name,
            variables,
            program,
            arguments,
        } = line;
        let (program, listens) = match &*program {
            SHOP => (binary, variables.get(LISTEN).cloned()),
            "nginx" => (Path::new("nginx"), listens(nginx)),
            _ => (Path::new(&*program), None),
        };
        let listens = listens.with_context(|| format!("nobody knows where {name} listens"))?;
        // It ends with whoever started it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]).arg(program).args(arguments);
        for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("TRADEWIND_")) {
            command.env_remove(variable);
        }
        command.current_dir(place).envs(variables);
        let log = place.join(format!("{name}.log"));
        let process =
            Process::start(&mut command, Signal::TERM, &log).with_context(|| format!("{name} does not start"))?;
        Ok(Self {
            name,
            url: format!("http://{listens}"),
            log,
            command,
            process,
            has_ended: false,
        })
    }

    fn until_ready(&mut self) -> Result<()> {
        let address = self.url.trim_start_matches("http://");
        let ready = self.process.wait_until(|| is_ready(address).unwrap_or(false));
        ready.with_context(|| format!("{} does not start", self.name))
    }

    fn end(&mut self) -> Option<(String, String)> {
        let how = self.process.has_ended()?;
        self.has_ended = true;
        Some((self.name.clone(), how))
    }

    /// As the Procfile calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it writes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether it was started, and neither stopped nor killed since.
    #[must_use]
    pub fn runs(&self) -> bool {
        !self.has_ended
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.has_ended = true;
        self.process.kill()
    }

    /// Asks it to end, and waits until it has, in order.
    pub fn stop(&mut self) -> Result<()> {
        self.has_ended = true;
        self.process.ask_to_stop();
        self.process.wait();
        let how = self.process.has_ended();
        ensure!(how.as_deref() == Some(IN_ORDER), "{} ended so: {how:?}", self.name);
        Ok(())
    }

    /// Lets it stand still, until it is resumed.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        self.process.signal_all(Signal::CONT)
    }

    /// Starts it again, where it was, after it was stopped or killed, and waits until it is ready.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = Process::start(&mut self.command, Signal::TERM, &self.log)?;
        self.has_ended = false;
        self.until_ready()
    }
}

/// Where nginx listens, by its configuration.
fn listens(nginx: &str) -> Option<String> {
    let directives = nginx.lines().map(str::trim);
    let listen = directives.filter_map(|line| line.strip_prefix("listen ")).next();
    listen.and_then(|listen| listen.strip_suffix(';')).map(str::to_owned)
}

fn is_ready(address: &str) -> Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    write!(
        stream,
        "GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1);
    ensure!(status.is_some(), "it says nothing");
    Ok(status == Some("200"))
}

/// A text that nobody else has.
fn made_up() -> Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
