//! NATS with JetStream.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::process::Process;

/// Who may do everything, and the password.
pub(crate) const USER: &str = "shop";
/// Whose account has no JetStream; the password is the same word.
pub const BARE_USER: &str = "bare";
const ANSWER_MAX: Duration = Duration::from_secs(1);

pub(crate) fn start(directory: &Path, port: u16) -> Result<Process> {
    let store = directory.join("data");
    let settings = format!(
        "jetstream {{ store_dir: {store:?} }}\n\
         accounts {{\n\
         SHOP: {{ jetstream: enabled, users: [{{ user: {USER}, password: {USER} }}] }}\n\
         BARE: {{ users: [{{ user: {BARE_USER}, password: {BARE_USER} }}] }}\n\
         }}\n"
    );
    run(directory, port, &settings)
}

/// Waits until it answers. `settings` are its configuration besides where it listens.
pub(crate) fn run(directory: &Path, port: u16, settings: &str) -> Result<Process> {
    let configuration = directory.join("nats.conf");
    std::fs::write(&configuration, format!("listen: \"127.0.0.1:{port}\"\n{settings}"))?;
    let mut command = Command::new("nats-server");
    command.arg("--config").arg(&configuration);
    let process = Process::start(&mut command, Signal::TERM, &directory.join("log"))?;
    // It lets nobody in before JetStream has read what it has on disk.
    process.until(|| greeting(port).is_ok_and(|greeting| greeting.starts_with("INFO ")))
}

/// Whether it can be run.
pub(crate) fn is_installed() -> bool {
    Command::new("nats-server").arg("--version").output().is_ok()
}

/// The first line that a server sends to whoever connects.
fn greeting(port: u16) -> Result<String> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("it says nothing")?;
    Ok(line)
}
