//! Certificates for encrypted connections: an authority of a server's own, and what it vouches for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::install::own;

/// Files of PEM, in a directory of their own.
#[derive(Debug)]
pub(crate) struct Certificates(PathBuf);

impl Certificates {
    /// Those in this directory, which are made if they are not there, for a server that runs as this user.
    pub(crate) fn of(directory: &Path, user: Option<&str>) -> Result<Self> {
        let files = Self(directory.join("certificates"));
        if !files.both().exists() {
            files
                .make(user)
                .with_context(|| format!("no certificates can be made in {}", files.0.display()))?;
        }
        Ok(files)
    }

    fn make(&self, user: Option<&str>) -> Result<()> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "authority of this test");
        let key = KeyPair::generate()?;
        let vouches = authority.self_signed(&key)?.pem();
        let issuer = Issuer::new(authority, key);
        let key = KeyPair::generate()?;
        let server = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        let server = server.signed_by(&key, &issuer)?.pem();
        let key = key.serialize_pem();
        fs::create_dir_all(&self.0)?;
        for (path, text) in [
            (self.authority(), &vouches),
            (self.server(), &server),
            (self.key(), &key),
            // Last, and so there only if the others are.
            (self.both(), &(server.clone() + &key)),
        ] {
            fs::write(&path, text)?;
            if path != self.authority() {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            }
            if let Some(user) = user {
                own(&path, user)?;
            }
        }
        Ok(())
    }

    /// Whom a client is to trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.0.join("authority.pem")
    }

    /// The server's certificate.
    pub(crate) fn server(&self) -> PathBuf {
        self.0.join("server.pem")
    }

    /// Its key.
    pub(crate) fn key(&self) -> PathBuf {
        self.0.join("key.pem")
    }

    /// Its certificate and its key, in one file.
    pub(crate) fn both(&self) -> PathBuf {
        self.0.join("server-and-key.pem")
    }
}
