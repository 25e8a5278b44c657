//! Commands in the words of MongoDB's shell.

use bson::{Bson, Document};

/// A command as a person would type it into mongosh.
pub(super) fn typed(database: &str, command: &Document) -> String {
    format!("db.getSiblingDB({}).runCommand({})", text(database), document(command))
}

fn document(document: &Document) -> String {
    let fields = document
        .iter()
        .map(|(name, it)| format!("{}: {}", text(name), value(it)));
    format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
}

/// The shell would take a large number for an inexact one, which the store does not.
fn value(value: &Bson) -> String {
    match value {
        Bson::Document(fields) => document(fields),
        Bson::Array(values) => format!("[{}]", values.iter().map(self::value).collect::<Vec<_>>().join(", ")),
        Bson::Int64(number) => format!("NumberLong(\"{number}\")"),
        other => serde_json::json!(other).to_string(),
    }
}

fn text(text: &str) -> String {
    serde_json::json!(text).to_string()
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_command_is_typed_with_its_types() {
        let command = doc! { "create": "a\"b", "list": [1, i64::MIN], "flags": { "new": true, "none": null } };
        assert_eq!(
            typed("shop", &command),
            "db.getSiblingDB(\"shop\").runCommand({ \"create\": \"a\\\"b\", \
             \"list\": [1, NumberLong(\"-9223372036854775808\")], \"flags\": { \"new\": true, \"none\": null } })"
        );
    }
}
