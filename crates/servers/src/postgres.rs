//! PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::certificates::Certificates;
use crate::install::{as_user, own};
use crate::process::Process;

/// It refuses to run as root.
const USER: &str = "postgres";
/// Everybody is let in as whoever they say, but for this user, who has to know a password.
pub const GUARDED_USER: &str = "guarded";
/// Where Debian keeps it, by version.
const DEBIAN: &str = "/usr/lib/postgresql";

pub(crate) fn start(directory: &Path, port: u16) -> Result<Process> {
    let data = directory.join("data");
    own(directory, USER)?;
    if !data.join("PG_VERSION").exists() {
        let made = as_user(USER, &program("initdb"))
            .arg("--pgdata")
            .arg(&data)
            .args([
                "--username",
                USER,
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
                "--locale",
                "C.UTF-8",
            ])
            .output()
            .context("initdb cannot be run")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let rules = data.join("pg_hba.conf");
        let usual = std::fs::read_to_string(&rules)?;
        std::fs::write(
            &rules,
            format!("host all {GUARDED_USER} 127.0.0.1/32 scram-sha-256\n{usual}"),
        )?;
    }
    let certificates = Certificates::of(directory, Some(USER))?;
    let mut command = as_user(USER, &program("postgres"));
    for (setting, file) in [
        ("ssl_cert_file", certificates.server()),
        ("ssl_key_file", certificates.key()),
    ] {
        command.arg("-c").arg(format!("{setting}={}", file.display()));
    }
    command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=300",
        "ssl=on",
    ] {
        command.args(["-c", setting]);
    }
    // SIGINT is its fast shutdown; SIGTERM waits for clients to go.
    let process = Process::start(&mut command, Signal::INT, &directory.join("log"))?;
    let port = port.to_string();
    process.until(|| {
        let mut asked = Command::new(program("pg_isready"));
        asked.args(["--quiet", "--host", "127.0.0.1", "--port", &port]);
        asked.status().is_ok_and(|status| status.success())
    })
}

/// On the path, or the newest that Debian has.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let versions = versions.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let path = entry.path().join("bin").join(name);
        path.exists().then_some((version, path))
    });
    versions.max().map_or_else(|| name.into(), |(_, path)| path)
}

/// Whether it can be run.
pub(crate) fn is_installed() -> bool {
    Command::new(program("postgres")).arg("--version").output().is_ok()
}

/// Has a server do something.
pub(crate) fn tell(url: &str, statement: &str) -> Result<()> {
    let told = Command::new(program("psql"))
        .args([
            "--no-psqlrc",
            "--quiet",
            "--set",
            "ON_ERROR_STOP=1",
            "--command",
            statement,
            url,
        ])
        .output()
        .context("psql cannot be run")?;
    ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    Ok(())
}
