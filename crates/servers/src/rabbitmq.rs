//! RabbitMQ, a node of its own with an epmd of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::certificates::Certificates;
use crate::free_port;
use crate::install::{as_user, own};
use crate::process::Process;

/// Who may do everything, and the password.
pub(crate) const USER: &str = "shop";
/// Who may connect and do nothing else; the password is the same word.
pub const BARE_USER: &str = "bare";
/// It writes as this user.
const SYSTEM_USER: &str = "rabbitmq";
/// Debian's script on the path changes the user, and knows one node only.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// What a client of AMQP 0-9-1 begins with.
const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

pub(crate) fn start(directory: &Path, port: u16) -> Result<Process> {
    let plain = format!("listeners.tcp.1 = 127.0.0.1:{port}\n");
    run(directory, &plain)?.until(|| answers(port).is_ok())
}

/// With TLS alone.
pub(crate) fn start_encrypted(directory: &Path, port: u16) -> Result<Process> {
    let certificates = Certificates::of(directory, Some(SYSTEM_USER))?;
    let encrypted = format!(
        "listeners.tcp = none\n\
         listeners.ssl.1 = 127.0.0.1:{port}\n\
         ssl_options.cacertfile = {}\n\
         ssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\n",
        certificates.authority().display(),
        certificates.server().display(),
        certificates.key().display(),
    );
    run(directory, &encrypted)?.until(|| TcpStream::connect(("127.0.0.1", port)).is_ok())
}

/// With these settings on plain TCP besides.
pub(crate) fn start_with(directory: &Path, port: u16, settings: &str) -> Result<Process> {
    let settings = format!("listeners.tcp.1 = 127.0.0.1:{port}\n{settings}");
    run(directory, &settings)?.until(|| answers(port).is_ok())
}

/// `settings` are its configuration, with where it listens. It may not do so yet.
fn run(directory: &Path, settings: &str) -> Result<Process> {
    let (epmd_port, node_port) = (free_port()?, free_port()?);
    let (configuration, definitions) = (directory.join("rabbitmq.conf"), directory.join("definitions.json"));
    let (plugins, home) = (directory.join("enabled_plugins"), directory.join("home"));
    std::fs::create_dir_all(&home)?;
    let definitions_path = definitions.display();
    std::fs::write(
        &configuration,
        format!(
            "load_definitions = {definitions_path}\n\
             vm_memory_high_watermark.absolute = 1GB\n\
             disk_free_limit.absolute = 50MB\n\
             {settings}"
        ),
    )?;
    std::fs::write(&definitions, users())?;
    std::fs::write(&plugins, "[].")?;
    for path in [directory, &home, &configuration, &definitions, &plugins] {
        own(path, SYSTEM_USER)?;
    }
    let epmd_port = epmd_port.to_string();
    let mut epmd = as_user(SYSTEM_USER, Path::new("epmd"));
    epmd.env("HOME", &home)
        .args(["-address", "127.0.0.1", "-port", &epmd_port]);
    let epmd = Process::start(&mut epmd, Signal::TERM, &directory.join("epmd.log"))?;
    let mut node = as_user(SYSTEM_USER, Path::new(PROGRAM));
    node.current_dir(directory)
        .env("HOME", &home)
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", epmd_port)
        // What is on the disk belongs to this name, so it has to be the same again.
        .env("RABBITMQ_NODENAME", "shop@localhost")
        .env("RABBITMQ_DIST_PORT", node_port.to_string())
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_CONFIG_FILE", &configuration)
        .env("RABBITMQ_MNESIA_BASE", directory.join("data"))
        .env("RABBITMQ_LOG_BASE", directory.join("logs"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", &plugins)
        .env("RABBITMQ_PID_FILE", directory.join("pid"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", directory.join("generated"))
        // With this, the script becomes the node; without, it waits for it as its child.
        .env("RABBITMQ_ALLOW_INPUT", "1")
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            // Its schedulers do not spin while they wait: others are on the machine. And how often channels are looked at whose messages
            // nobody acknowledges: by itself, once a minute.
            "+sbwt none +sbwtdcpu none +sbwtdio none -noinput -kernel inet_dist_use_interface {127,0,0,1} -rabbit channel_tick_interval 500",
        );
    let node = Process::start(&mut node, Signal::TERM, &directory.join("log"))?;
    Ok(node.beside(epmd))
}

fn users() -> String {
    format!(
        r#"{{
  "vhosts": [{{"name": "/"}}],
  "users": [
    {{"name": "{USER}", "password": "{USER}", "tags": "administrator"}},
    {{"name": "{BARE_USER}", "password": "{BARE_USER}", "tags": ""}}
  ],
  "permissions": [
    {{"user": "{USER}", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}},
    {{"user": "{BARE_USER}", "vhost": "/", "configure": "^$", "write": "^$", "read": "^$"}}
  ]
}}"#
    )
}

/// Whether it can be run.
pub(crate) fn is_installed() -> bool {
    Path::new(PROGRAM).exists()
}

/// It lets nobody in before it has started everything else.
fn answers(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(HEADER)?;
    let mut frame = [0];
    stream.read_exact(&mut frame)?;
    ensure!(frame == [1], "it answers with something else than a method");
    Ok(())
}
