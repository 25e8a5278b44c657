//! What opening a store comes to on every database: whether it can be used, and what it lacks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kernel::document::{Collection, Column};
use kernel::store::StoreError;
pub(crate) use kernel::store::opening::check_lanes;
use kernel::store::opening::{self, Refusal};

use crate::dialect::Dialect;
use crate::schema;

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has opened it as its own.
    #[error("{0} is in use by another process: stop that one first")]
    InUse(PathBuf),
    /// The declared schema cannot be kept: a mistake in the program.
    #[error("the schema is wrong: {0}")]
    Schema(String),
    /// Something else is in that file.
    #[error("{path} is not a Tradewind store: {reason}")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        reason: &'static str,
    },
    /// SQLite would open it all the same, and refuse each write.
    #[error("{0} is read-only: let this user write it, and its directory")]
    ReadOnly(PathBuf),
    /// It is there, and cannot be used as it is.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The driver does not understand the URL.
    #[error(
        "the URL of {server} is wrong ({reason}): it has to be like {scheme}://user:password@host/database, \
         with :, /, @ and % in a name or password written as %3A, %2F, %40 and %25"
    )]
    Url {
        /// Of what.
        server: &'static str,
        /// How it begins.
        scheme: &'static str,
        /// The driver's words.
        reason: String,
    },
    /// The driver does not know an option of the URL.
    #[error("the URL of {server} has an unknown option {key:?}: it may have {}", .known.join(", "))]
    UrlOption {
        /// Of what.
        server: &'static str,
        /// Its name; the value may be a secret.
        key: String,
        /// Those that it may have.
        known: &'static [&'static str],
    },
    /// Nobody answers.
    #[error("no {server} answers at {address}: check that it runs there, and that this machine reaches it")]
    Unreachable {
        /// What should be there.
        server: &'static str,
        /// Host and port.
        address: String,
    },
    /// It is asked for an encrypted connection, and offers none, or one that is not trusted.
    #[error(
        "there is no encrypted connection to {server} at {address} ({reason}): check that the file named in the URL is there, \
         and is of the authority that has made the server's certificate"
    )]
    Untrusted {
        /// What is there.
        server: &'static str,
        /// Host and port.
        address: String,
        /// The driver's words.
        reason: String,
    },
    /// Wrong user or password.
    #[error("{server} at {address} does not let this user in: check the user and the password in the URL")]
    Login {
        /// What is there.
        server: &'static str,
        /// Host and port.
        address: String,
    },
    /// It was not made.
    #[error(
        "{server} at {address} has no database {database}: run CREATE DATABASE \"{database}\" there, or name another"
    )]
    NoDatabase {
        /// What is there.
        server: &'static str,
        /// Host and port.
        address: String,
        /// What is not.
        database: String,
    },
    /// The user lacks a right.
    #[error(
        "{server} does not let this user make what is missing: grant it the right to create in the database {database}"
    )]
    Forbidden {
        /// What is there.
        server: &'static str,
        /// In which database.
        database: String,
    },
    /// The user lacks the right to look into it.
    #[error(
        "PostgreSQL does not let this user into the schema {namespace}: run GRANT USAGE, CREATE ON SCHEMA {namespace}, and grant it \
         the tables in there, or connect as the schema's owner"
    )]
    Unusable {
        /// Which.
        namespace: String,
    },
    /// The database said no.
    #[error("the database cannot be opened: {0}")]
    Database(Box<dyn std::error::Error + Send + Sync>),
    /// The row of `head` is not readable.
    #[error(transparent)]
    Head(#[from] StoreError),
    /// Of the two that every store has.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

/// Whether this binary knows the form of the tables.
pub(crate) fn check_form(found: i64) -> Result<(), Refusal> {
    opening::check_form(found, schema::MIGRATIONS.len())
}

/// What `head.rebuilding` is to say, if it changes; refuses to go on without a rebuild that was not finished.
pub(crate) fn rebuilding(noted: Option<&str>, rebuild: &[&'static str]) -> Result<Option<String>, OpenError> {
    let noted: Option<Vec<String>> = noted.map(serde_json::from_str).transpose().map_err(StoreError::new)?;
    opening::check_rebuild(&noted.unwrap_or_default(), rebuild)?;
    Ok((!rebuild.is_empty()).then(|| serde_json::json!(rebuild).to_string()))
}

/// The declared columns that a table lacks.
pub(crate) fn columns_to_add(
    dialect: &Dialect,
    collection: &'static Collection,
    existing: &BTreeMap<String, String>,
    is_empty: bool,
) -> Result<Vec<&'static Column>, Refusal> {
    opening::columns_to_add(collection, existing, is_empty, dialect.holds)
}
