//! In what the SQL of the databases differs. Each adapter has one of these.

use kernel::document::ColumnType;

/// How a database wants to be asked for what all of them do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    /// What makes one of the tables that every service has.
    pub(crate) create_table: &'static str,
    /// What ends the writing of a row that is to stay as it is, if it is there.
    pub(crate) unless_there: &'static str,
    /// The type of a signed 64-bit number.
    pub(crate) number: &'static str,
    /// The type of text that is looked up, and compares as bytes.
    pub(crate) key: &'static str,
    /// The type of text of any length.
    pub(crate) text: &'static str,
    /// Whether a column whose type the database gives by this name can hold such values.
    pub(crate) holds: fn(&str, ColumnType) -> bool,
    /// What ends the definition of a table.
    pub(crate) table_options: &'static str,
    /// The same, of a table with few and short rows.
    pub(crate) small_table_options: &'static str,
    /// Whether an index can leave rows out.
    pub(crate) has_partial_indexes: bool,
    /// Whether an index is walked where a row of values is compared with another.
    pub(crate) compares_rows: bool,
    /// Whether an index is named together with its table.
    pub(crate) indexes_belong_to_tables: bool,
    /// Whether it shows an index in words of its own, so that the statement that made it has to be kept as a comment.
    pub(crate) rewords_indexes: bool,
    /// What follows a table's name to have this index walked; the declaration decides, not the planner's guess.
    pub(crate) walk_index: fn(&str) -> String,
    /// What stands before a column so that no index over it is walked.
    pub(crate) no_index: &'static str,
    /// The parameter at a place, counted from 1.
    pub(crate) parameter: fn(usize) -> String,
    /// Whether a column contains a text: names of both.
    pub(crate) contains: fn(&str, &str) -> String,
}

impl Dialect {
    /// Whether text that is looked up has another type than other text.
    pub(crate) fn has_two_types_of_text(&self) -> bool {
        self.key != self.text
    }
}
