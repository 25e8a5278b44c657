//! Apache Kafka in KRaft mode: one node that is broker and controller.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::certificates::Certificates;
use crate::install::kafka_classes;
use crate::process::Process;
use crate::{Listener, free_port};

/// Who may do everything, and the password.
pub(crate) const USER: &str = "shop";
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Any will do: nothing else is ever in the cluster.
const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";
/// It shares a small machine with other servers, and its first minutes are all that it lives.
const JVM: [&str; 4] = [
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];
/// Metadata in version 1 about no topics: length, key 3, version, correlation, no client, and an empty list.
const METADATA: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];

pub(crate) fn start(directory: &Path, port: u16) -> Result<Process> {
    run(directory, port, Listener::Scram, "")
}

/// Waits until it answers. `settings` are of its configuration, besides where it listens.
pub(crate) fn run(directory: &Path, port: u16, listener: Listener, settings: &str) -> Result<Process> {
    std::fs::create_dir_all(directory)?;
    let (inside, controller) = (free_port()?, free_port()?);
    let configuration = directory.join("server.properties");
    let protocol = match listener {
        Listener::Plaintext => "PLAINTEXT",
        Listener::Plain | Listener::Scram => "SASL_PLAINTEXT",
        Listener::Tls => "SASL_SSL",
    };
    let mechanism = match listener {
        Listener::Plaintext | Listener::Scram => "SCRAM-SHA-512",
        Listener::Plain => "PLAIN",
        Listener::Tls => "SCRAM-SHA-256",
    };
    let certificates = Certificates::of(directory, None)?;
    let (data, key) = (directory.join("data"), certificates.both());
    let text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=INSIDE\n\
         listeners=SHOP://127.0.0.1:{port},INSIDE://127.0.0.1:{inside},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=SHOP://127.0.0.1:{port},INSIDE://127.0.0.1:{inside}\n\
         listener.security.protocol.map=SHOP:{protocol},INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         listener.name.shop.sasl.enabled.mechanisms={mechanism}\n\
         listener.name.shop.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{USER}\";\n\
         listener.name.shop.scram-sha-256.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         listener.name.shop.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         listener.name.shop.ssl.keystore.type=PEM\n\
         listener.name.shop.ssl.keystore.location={}\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         {settings}",
        key.display(),
        data.display(),
    );
    std::fs::write(&configuration, text)?;
    if !data.join("meta.properties").exists() {
        format(&configuration)?;
    }
    let mut command = java()?;
    command.arg("kafka.Kafka").arg(&configuration);
    let process = Process::start(&mut command, Signal::TERM, &directory.join("log"))?;
    // It opens one listener after the other.
    let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    process.until(|| listens() && brokers(inside).is_ok_and(|brokers| brokers > 0))
}

/// Whether it can be run.
pub(crate) fn is_installed() -> bool {
    kafka_classes().is_ok() && Command::new("java").arg("-version").output().is_ok()
}

fn java() -> Result<Command> {
    let mut command = Command::new("java");
    command.args(JVM).arg("-cp").arg(kafka_classes()?);
    Ok(command)
}

/// Makes the directory of its data, with the user in it.
fn format(configuration: &Path) -> Result<()> {
    let mut command = java()?;
    command
        .args([
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            CLUSTER_ID,
            "--config",
        ])
        .arg(configuration);
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        command
            .arg("--add-scram")
            .arg(format!("{mechanism}=[name={USER},password={USER}]"));
    }
    let output = command.output().context("cannot run java")?;
    if !output.status.success() {
        bail!(
            "its storage is not formatted:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// How many brokers are ready to work, as it says itself.
fn brokers(port: u16) -> Result<u32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(&METADATA)?;
    // Length, correlation, and how many brokers follow.
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    let [.., a, b, c, d] = answer;
    Ok(u32::from_be_bytes([a, b, c, d]))
}
