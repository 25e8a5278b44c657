//! MongoDB, as a replica set of one member: a standalone server has no transactions.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bson::{Document, doc};
use rustix::process::Signal;

use crate::certificates::Certificates;
use crate::install::mongod;
use crate::process::Process;

pub(crate) const REPLICA_SET: &str = "rs0";

/// The opcode of a message with a command in it, by MongoDB's wire protocol.
const OP_MSG: i32 = 2013;
/// Length, request, response and opcode, four bytes each.
const HEADER_BYTES: usize = 16;
/// After it: flags of four bytes, and the kind of the section that follows, which is a document.
const SECTION_BYTES: usize = 5;
const ANSWER_MAX: Duration = Duration::from_secs(5);

pub(crate) fn start(directory: &Path, port: u16) -> Result<Process> {
    let process = run(directory, port, &["--replSet", REPLICA_SET])?;
    // Refused where it is initiated already, as after a restart.
    let member = doc! { "_id": 0, "host": format!("127.0.0.1:{port}") };
    let initiate = doc! { "replSetInitiate": { "_id": REPLICA_SET, "members": [member] }, "$db": "admin" };
    ask(port, &initiate)?;
    process.until(|| {
        let hello = ask(port, &doc! { "hello": 1, "$db": "admin" });
        hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").is_ok_and(|is| is))
    })
}

/// Waits until it answers, whatever it says.
pub(crate) fn run(directory: &Path, port: u16, arguments: &[&str]) -> Result<Process> {
    let data = directory.join("data");
    std::fs::create_dir_all(&data)?;
    let certificates = Certificates::of(directory, None)?;
    let mut command = mongod()?;
    command
        .args(["--tlsMode", "allowTLS", "--tlsAllowConnectionsWithoutCertificates"])
        .arg("--tlsCAFile")
        .arg(certificates.authority())
        .arg("--tlsCertificateKeyFile")
        .arg(certificates.both())
        .arg("--dbpath")
        .arg(&data)
        .args(["--port", &port.to_string(), "--bind_ip", "127.0.0.1"])
        .args(arguments)
        .args(["--nounixsocket", "--wiredTigerCacheSizeGB", "0.5", "--oplogSize", "64"])
        .args(["--setParameter", "diagnosticDataCollectionEnabled=false"]);
    let process = Process::start(&mut command, Signal::TERM, &directory.join("log"))?;
    process.until(|| ask(port, &doc! { "ping": 1, "$db": "admin" }).is_ok())
}

/// Whether it can be run.
pub(crate) fn is_installed() -> bool {
    mongod().is_ok_and(|mut command: Command| command.arg("--version").output().is_ok_and(|it| it.status.success()))
}

/// Removes the databases whose names begin so.
pub(crate) fn drop_all(url: &str, prefix: &str) -> Result<()> {
    let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next());
    let port = port.context("a URL has a port")?.parse()?;
    let listed = ask(port, &doc! { "listDatabases": 1, "nameOnly": true, "$db": "admin" })?;
    for database in listed.get_array("databases")? {
        let name = database
            .as_document()
            .and_then(|it| it.get_str("name").ok())
            .unwrap_or_default();
        if name.starts_with(&format!("{prefix}_")) {
            ask(port, &doc! { "dropDatabase": 1, "$db": name })?;
        }
    }
    Ok(())
}

/// One command and its answer.
fn ask(port: u16, command: &Document) -> Result<Document> {
    let body = bson::serialize_to_vec(command)?;
    let length = HEADER_BYTES + SECTION_BYTES + body.len();
    let mut message = Vec::with_capacity(length);
    for number in [i32::try_from(length)?, 1, 0, OP_MSG, 0] {
        message.extend(number.to_le_bytes());
    }
    message.push(0);
    message.extend(body);
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(&message)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let rest = usize::try_from(i32::from_le_bytes(length))?.saturating_sub(length.len());
    let mut answer = vec![0; rest];
    stream.read_exact(&mut answer)?;
    let document = answer
        .get(HEADER_BYTES - 4 + SECTION_BYTES..)
        .context("the answer is short")?;
    Ok(bson::deserialize_from_slice(document)?)
}
