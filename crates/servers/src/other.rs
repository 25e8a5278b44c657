//! A broker that was set up otherwise than for a shop.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::certificates::Certificates;
use crate::process::Process;
use crate::{Kind, free_port, rabbitmq, redis};

/// It, until it is dropped.
#[derive(Debug)]
pub struct Other {
    directory: PathBuf,
    port: u16,
    _process: Process,
}

impl Other {
    /// One with these settings, besides where it listens and what a test needs of it.
    pub fn start(kind: Kind, directory: &Path, settings: &str) -> Result<Self> {
        Self::run(kind, directory, |port| match kind {
            Kind::Redis => redis::run(directory, port, settings),
            Kind::Rabbitmq => rabbitmq::start_with(directory, port, settings),
            _ => bail!("it is set up in one way alone"),
        })
    }

    /// One for a shop that is reached over TLS alone.
    pub fn start_encrypted(kind: Kind, directory: &Path) -> Result<Self> {
        Self::run(kind, directory, |port| match kind {
            Kind::Redis => redis::start_encrypted(directory, port),
            Kind::Rabbitmq => rabbitmq::start_encrypted(directory, port),
            _ => bail!("it is not encrypted apart"),
        })
    }

    fn run(kind: Kind, directory: &Path, start: impl FnOnce(u16) -> Result<Process>) -> Result<Self> {
        let port = free_port()?;
        Ok(Self {
            directory: directory.to_owned(),
            port,
            _process: start(port).with_context(|| format!("{kind} does not start"))?,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The file of the authority that vouches for it, where it is encrypted.
    pub fn authority(&self) -> Result<PathBuf> {
        let certificates = Certificates::of(&self.directory, None)?;
        Ok(certificates.authority())
    }
}
