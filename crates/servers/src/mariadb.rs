//! MariaDB.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::certificates::Certificates;
use crate::install::{as_user, own};
use crate::process::Process;

const USER: &str = "mysql";

pub(crate) fn start(directory: &Path, port: u16) -> Result<Process> {
    let data = directory.join("data");
    own(directory, USER)?;
    if !data.join("mysql").exists() {
        let made = as_user(USER, "mariadb-install-db".as_ref())
            .args(["--no-defaults", "--auth-root-authentication-method=normal"])
            .arg(format!("--datadir={}", data.display()))
            .output()
            .context("mariadb-install-db cannot be run")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let certificates = Certificates::of(directory, Some(USER))?;
    let mut command = as_user(USER, "mariadbd".as_ref());
    command.arg("--no-defaults");
    for (option, file) in [
        ("ssl-ca", certificates.authority()),
        ("ssl-cert", certificates.server()),
        ("ssl-key", certificates.key()),
    ] {
        command.arg(format!("--{option}={}", file.display()));
    }
    command
        .args(["--bind-address=127.0.0.1", "--skip-name-resolve"])
        .args(["--innodb-buffer-pool-size=128M", "--max-connections=300"])
        .arg(format!("--port={port}"))
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--tmpdir={}", directory.display()))
        .arg(format!("--socket={}", directory.join("socket").display()))
        .arg(format!("--pid-file={}", directory.join("pid").display()));
    let process = Process::start(&mut command, Signal::TERM, &directory.join("log"))?;
    let port = port.to_string();
    process.until(|| {
        let mut asked = Command::new("mariadb-admin");
        asked
            .args([
                "--no-defaults",
                "--host=127.0.0.1",
                "--user=root",
                "--port",
                &port,
                "ping",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        asked.status().is_ok_and(|status| status.success())
    })
}

/// Whether it can be run.
pub(crate) fn is_installed() -> bool {
    Command::new("mariadbd").arg("--version").output().is_ok()
}

/// Removes the databases whose names begin so.
pub(crate) fn drop_all(url: &str, prefix: &str) -> Result<()> {
    let list = "SELECT schema_name FROM information_schema.schemata";
    let names = ask(url, list)?;
    let ours = names.lines().filter(|name| name.starts_with(&format!("{prefix}_")));
    let statements: String = ours.map(|name| format!("DROP DATABASE {name};")).collect();
    tell(url, &statements)
}

/// Has a server do something.
pub(crate) fn tell(url: &str, statements: &str) -> Result<()> {
    ask(url, statements).map(drop)
}

fn ask(url: &str, statements: &str) -> Result<String> {
    let port = url
        .rsplit_once(':')
        .and_then(|(_, rest)| rest.split('/').next())
        .context("a URL has a port")?;
    let asked = Command::new("mariadb")
        .args([
            "--no-defaults",
            "--host=127.0.0.1",
            "--user=root",
            "--skip-column-names",
            "--batch",
        ])
        .args(["--port", port, "--execute", statements])
        .output()
        .context("mariadb cannot be run")?;
    ensure!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    Ok(String::from_utf8_lossy(&asked.stdout).into_owned())
}
