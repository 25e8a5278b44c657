//! The collections that every service has beside the declared ones, and what they are called in commands.
//!
//! A person with mongosh finds `journal` by position (`_id`), one document in `head`, and in `batches` each writer's
//! latest batch. A declared collection has `_id`, `version`, its columns and `doc`; its validator says their types.

use kernel::document::ColumnType;

pub(crate) const JOURNAL: &str = "journal";
pub(crate) const HEAD: &str = "head";
pub(crate) const BATCHES: &str = "batches";

/// The `_id` of the one document in `head`.
pub(crate) const HEAD_ID: &str = "head";

/// The journal's index over (stream, version), unique.
pub(crate) const BY_STREAM: &str = "by_stream";
/// The index that every collection has.
pub(crate) const BY_ID: &str = "_id_";

/// The forms that these collections have had, in order. A store that went further belongs to a newer binary.
pub(crate) const FORMS: [&str; 1] = ["journal, head, batches and collections"];

/// What MongoDB calls a column's type.
pub(crate) fn column_type(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Integer => "long",
        ColumnType::Text => "string",
    }
}

#[cfg(test)]
mod tests {
    use super::FORMS;

    /// `tests/migrating.rs` opens a store of each.
    #[test]
    fn each_form_has_a_fixture() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/released");
        testkit::released::assert_fixtures(directory, FORMS.len(), &["mongodb.json"]);
    }
}
