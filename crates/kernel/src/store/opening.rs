//! What opening a store comes to on every database: whether it can be used, and what it lacks.

use std::collections::BTreeMap;

use crate::document::{Collection, Column, ColumnType, Kind};

/// Why a store that is there cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
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
    /// The journal has events that such a collection is folded from, and it is not there.
    #[error("collection {collection} is missing, though the journal has events for it; {remedy}")]
    Missing {
        /// Which.
        collection: &'static str,
        /// What to do about it.
        remedy: String,
    },
    /// An earlier rebuild was cut short.
    #[error("{}", unfinished(.0))]
    Unfinished(String),
}

/// Collections are named by a rebuild; a command that fills a whole store gives its own name.
fn unfinished(what: &str) -> String {
    match what {
        "copy" | "restore" => format!("`tradewind {what}` was not finished here: run it again"),
        _ => format!("a rebuild was not finished, and {what} is incomplete: run it again"),
    }
}

/// Whether this binary knows the form of the store, knowing so many.
pub fn check_form(found: i64, known: usize) -> Result<(), Refusal> {
    match usize::try_from(found) {
        Ok(found) if found <= known => Ok(()),
        _ => Err(Refusal::Newer { found, known }),
    }
}

/// Whether the journal has as many lanes as are declared.
pub fn check_lanes(stored: usize, declared: u16) -> Result<(), Refusal> {
    match stored == usize::from(declared) {
        true => Ok(()),
        false => Err(Refusal::Lanes { stored, declared }),
    }
}

/// Refuses to go on without a rebuild that was not finished, by the collections that the store has noted.
pub fn check_rebuild(noted: &[String], rebuild: &[&'static str]) -> Result<(), Refusal> {
    match noted.iter().find(|name| !rebuild.contains(&name.as_str())) {
        Some(unfinished) => Err(Refusal::Unfinished(unfinished.clone())),
        None => Ok(()),
    }
}

/// The declared columns that a collection lacks. Only one without documents can be given them: others would lie in no
/// index. `existing` are names and types as the database calls them, and `holds` says which of these fits a column.
pub fn columns_to_add(
    collection: &'static Collection,
    existing: &BTreeMap<String, String>,
    is_empty: bool,
    holds: fn(&str, ColumnType) -> bool,
) -> Result<Vec<&'static Column>, Refusal> {
    let refuse = |reason| {
        Err(Refusal::Columns {
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
            Some(found) if holds(found, column.column_type) => {}
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

/// Refuses to make a collection that is not there and would have been filled by what has happened: somebody has removed it,
/// or this version of the program is the first to have it. Records are made, since nothing fills them but what comes.
pub fn check_missing(
    collection: &'static Collection,
    rebuild: &[&'static str],
    has_events: bool,
) -> Result<(), Refusal> {
    let is_filled = collection.kind != Kind::View || rebuild.contains(&collection.name);
    match has_events && !is_filled {
        true => Err(Refusal::Missing {
            collection: collection.name,
            remedy: remedy(collection),
        }),
        false => Ok(()),
    }
}

fn remedy(collection: &Collection) -> String {
    match collection.kind {
        Kind::View => "run `tradewind rebuild`".into(),
        Kind::Replica { consumer } => format!("reset the consumer {consumer}, which feeds it"),
        Kind::Record => "go back to the version that wrote it, or migrate it".into(),
    }
}
