//! What opening a store comes to on every database: whether it can be used, and what it lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use kernel::document::{Collection, Column, Kind};
use kernel::store::StoreError;

use crate::dialect::Dialect;
use crate::schema;

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
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
    /// A newer binary has migrated it.
    #[error("the store is of form {found}, and this version of tradewind knows forms up to {known}: use a newer one")]
    Newer {
        /// The form of the store.
        found: i64,
        /// The last form that this binary knows.
        known: usize,
    },
    /// The number of lanes is fixed when a store is made.
    #[error("the store was made with {stored} lanes, and {declared} are configured: set the number back to {stored}")]
    Lanes {
        /// Of the store.
        stored: usize,
        /// Of the configuration.
        declared: u16,
    },
    /// Documents are there that lack what the schema declares about them.
    #[error("collection {collection}: {reason}; {remedy}")]
    Columns {
        /// Which.
        collection: &'static str,
        /// What is different.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// An earlier rebuild was cut short.
    #[error("{}", unfinished(.0))]
    Unfinished(String),
    /// The database said no.
    #[error("the database cannot be opened: {0}")]
    Database(Box<dyn std::error::Error + Send + Sync>),
    /// The row of `head` is not readable.
    #[error(transparent)]
    Head(#[from] kernel::store::StoreError),
    /// Of the two that every store has.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

/// Collections are named by a rebuild; a command that fills a whole store gives its own name.
fn unfinished(what: &str) -> String {
    match what {
        "copy" | "restore" => format!("`tradewind {what}` was not finished here: run it again"),
        _ => format!("a rebuild was not finished, and {what} is incomplete: run it again"),
    }
}

/// Whether this binary knows the form of the tables.
pub(crate) fn check_form(found: i64) -> Result<(), OpenError> {
    let known = schema::MIGRATIONS.len();
    match usize::try_from(found) {
        Ok(found) if found <= known => Ok(()),
        _ => Err(OpenError::Newer { found, known }),
    }
}

/// Whether the journal has as many lanes as are declared.
pub(crate) fn check_lanes(stored: usize, declared: u16) -> Result<(), OpenError> {
    match stored == usize::from(declared) {
        true => Ok(()),
        false => Err(OpenError::Lanes { stored, declared }),
    }
}

/// What `head.rebuilding` is to say, if it changes; refuses to go on without a rebuild that was not finished.
pub(crate) fn rebuilding(noted: Option<&str>, rebuild: &[&'static str]) -> Result<Option<String>, OpenError> {
    let noted: BTreeSet<String> = noted
        .map(serde_json::from_str)
        .transpose()
        .map_err(StoreError::new)?
        .unwrap_or_default();
    if let Some(unfinished) = noted.iter().find(|name| !rebuild.contains(&name.as_str())) {
        return Err(OpenError::Unfinished(unfinished.clone()));
    }
    Ok((!rebuild.is_empty()).then(|| serde_json::json!(rebuild).to_string()))
}

/// The declared columns that a table lacks. Only one without documents can be given them: others would lie in no index.
pub(crate) fn columns_to_add(
    dialect: &Dialect,
    collection: &'static Collection,
    existing: &BTreeMap<String, String>,
    is_empty: bool,
) -> Result<Vec<&'static Column>, OpenError> {
    let refuse = |reason| {
        Err(OpenError::Columns {
            collection: collection.name,
            reason,
            remedy: remedy(collection),
        })
    };
    let fixed = ["id", "version", "doc"];
    let known = |name: &str| fixed.contains(&name) || collection.column(name).is_some();
    if let Some(unknown) = existing.keys().find(|name| !known(name)) {
        return refuse(format!("this version of tradewind does not know its column {unknown}"));
    }
    let mut missing = Vec::new();
    for column in collection.columns {
        match existing.get(column.name) {
            Some(found) if (dialect.holds)(found, column.column_type) => {}
            Some(found) => return refuse(format!("its column {} has the type {found}", column.name)),
            None if is_empty => missing.push(column),
            None => {
                return refuse(format!(
                    "its documents have no values for the new column {}",
                    column.name
                ));
            }
        }
    }
    Ok(missing)
}

fn remedy(collection: &Collection) -> String {
    match collection.kind {
        Kind::View => "run `tradewind rebuild`".into(),
        Kind::Replica { consumer } => format!("reset the consumer {consumer}, which feeds it"),
        Kind::Record => "go back to the version that wrote it, or migrate it".into(),
    }
}
