//! Files with their values filled in: `${NAME}`, and a free port for each that is written out behind `127.0.0.1:`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};

use crate::free_port;

const LOOPBACK: &str = "127.0.0.1:";

/// The names in `${…}`, which are in capitals.
pub(super) fn names(text: &str) -> BTreeSet<&str> {
    let opened = text.split("${").skip(1);
    opened
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|it| it.is_ascii_uppercase() || it == '_'))
        .collect()
}

/// By the port that a file names, the one that is taken in its place; the same in all files.
#[derive(Debug, Default)]
pub(super) struct Ports(BTreeMap<String, u16>);

impl Ports {
    /// Moves each address on loopback to a free port.
    pub(super) fn moved(&mut self, text: &str) -> Result<String> {
        let mut pieces = text.split(LOOPBACK);
        let mut moved = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let end = piece.find(|it: char| !it.is_ascii_digit()).unwrap_or(piece.len());
            let (port, rest) = piece.split_at(end);
            moved.push_str(LOOPBACK);
            if !port.is_empty() {
                moved.push_str(&self.of(port)?.to_string());
            }
            moved.push_str(rest);
        }
        Ok(moved)
    }

    fn of(&mut self, port: &str) -> Result<u16> {
        if let Some(taken) = self.0.get(port) {
            return Ok(*taken);
        }
        let free = free_port()?;
        self.0.insert(port.to_owned(), free);
        Ok(free)
    }
}

/// Puts each value in the place of its name.
pub(super) fn filled(text: &str, values: &BTreeMap<String, String>) -> Result<String> {
    let mut filled = text.to_owned();
    for name in names(text) {
        let value = values
            .get(name)
            .with_context(|| format!("nobody says what ${{{name}}} is"))?;
        filled = filled.replace(&format!("${{{name}}}"), value);
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_the_same_free_one_wherever_it_is_named() {
        let mut ports = Ports::default();
        let moved = ports
            .moved("a 127.0.0.1:3001, b 127.0.0.1:3002;")
            .expect("ports are free");
        let again = ports.moved("127.0.0.1:3001").expect("it is known");
        assert!(
            moved.starts_with(&format!("a {again}, b 127.0.0.1:")) && moved.ends_with(';'),
            "{moved}"
        );
        let (one, other) = (ports.0["3001"], ports.0["3002"]);
        assert!(one != other && ports.0.len() == 2, "{ports:?}");
        assert_eq!(
            ports.moved("127.0.0.1 only, [::1]:3").expect("no port"),
            "127.0.0.1 only, [::1]:3"
        );
    }

    #[test]
    fn a_value_is_put_in_the_place_of_its_name() {
        let values = BTreeMap::from([("A_URL".to_owned(), "nats://a".to_owned())]);
        assert_eq!(
            filled("bus = \"${A_URL}\" # ${A_URL} $x", &values).expect("it is known"),
            "bus = \"nats://a\" # nats://a $x"
        );
        let unknown = filled("${B_URL}", &values).expect_err("it is not known").to_string();
        assert!(unknown.contains("${B_URL}"), "{unknown}");
    }
}
