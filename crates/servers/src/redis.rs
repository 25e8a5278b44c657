//! Redis.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::certificates::Certificates;
use crate::process::Process;

/// Who may do everything, and the password.
pub(crate) const USER: &str = "shop";
const ANSWER_MAX: Duration = Duration::from_secs(1);

pub(crate) fn start(directory: &Path, port: u16) -> Result<Process> {
    run(directory, port, &settings())
}

/// The same, without any other way than TLS.
pub(crate) fn start_encrypted(directory: &Path, port: u16) -> Result<Process> {
    let certificates = Certificates::of(directory, None)?;
    let settings = format!(
        "{}port 0\n\
         tls-port {port}\n\
         tls-auth-clients no\n\
         tls-cert-file {:?}\n\
         tls-key-file {:?}\n\
         tls-ca-cert-file {:?}\n",
        settings(),
        certificates.server(),
        certificates.key(),
        certificates.authority(),
    );
    let process = launch(directory, port, &settings)?;
    process.until(|| TcpStream::connect(("127.0.0.1", port)).is_ok())
}

fn settings() -> String {
    format!(
        "appendonly yes\n\
         user default off\n\
         user {USER} on >{USER} ~* &* +@all\n"
    )
}

/// Waits until it answers. `settings` are its configuration besides where it listens and what it keeps elsewhere.
pub(crate) fn run(directory: &Path, port: u16, settings: &str) -> Result<Process> {
    // Until it has read what it has on disk, it says so to whoever asks.
    launch(directory, port, settings)?.until(|| answer(port).is_ok_and(|answer| !answer.starts_with("-LOADING")))
}

fn launch(directory: &Path, port: u16, settings: &str) -> Result<Process> {
    let data = directory.join("data");
    std::fs::create_dir_all(&data)?;
    let configuration = directory.join("redis.conf");
    let place = format!("bind 127.0.0.1\nport {port}\ndir {data:?}\nsave \"\"\n");
    std::fs::write(&configuration, place + settings)?;
    let mut command = Command::new("redis-server");
    command.arg(&configuration);
    Process::start(&mut command, Signal::TERM, &directory.join("log"))
}

/// Whether it can be run.
pub(crate) fn is_installed() -> bool {
    Command::new("redis-server").arg("--version").output().is_ok()
}

/// What it says to whoever asks whether it is there. Without a user it would not say that it is not ready yet.
fn answer(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(format!("AUTH {USER} {USER}\r\nPING\r\n").as_bytes())?;
    let mut answers = BufReader::new(stream).lines();
    let _ = answers.next().context("it closes the connection")??;
    answers
        .next()
        .context("it closes the connection")?
        .context("it says nothing")
}
