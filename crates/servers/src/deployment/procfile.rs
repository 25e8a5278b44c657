//! Which processes there are: a Procfile, as foreman and its like read it. A line is a name, a colon and a command, which may begin with
//! variables.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result, bail};

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
}

/// All lines, in their order.
pub(super) fn parse(text: &str) -> Result<Vec<Line>> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::parse).collect()
}

impl FromStr for Line {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let (name, command) = line
            .split_once(':')
            .with_context(|| format!("{line:?} is no line of a Procfile"))?;
        if command.contains(['\'', '"', '\\', '$', '|', '>', '&']) {
            bail!("{name} needs a shell, and there is none here");
        }
        let mut variables = BTreeMap::new();
        let mut words = command.split_whitespace();
        let program = loop {
            let word = words.next().with_context(|| format!("{name} has no command"))?;
            match word.split_once('=') {
                Some((variable, value)) => variables.insert(variable.to_owned(), value.to_owned()),
                None => break word,
            };
        };
        Ok(Self {
            name: name.trim().to_owned(),
            variables,
            program: program.to_owned(),
            arguments: words.map(str::to_owned).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_variables_and_a_command() {
        let lines =
            parse("# shop\n\nusers-1: A=1 B=c=d tradewind serve users\nnginx: nginx -p .\n").expect("it is one");
        let [users, nginx] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert_eq!((&*users.name, &*users.program), ("users-1", "tradewind"));
        assert_eq!(users.arguments, ["serve", "users"]);
        let variables = [("A", "1"), ("B", "c=d")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(users.variables, BTreeMap::from(variables));
        assert_eq!((&*nginx.name, nginx.variables.len()), ("nginx", 0));
    }

    #[test]
    fn what_is_no_line_or_needs_a_shell_is_refused() {
        for text in ["tradewind serve", "a:", "a: A=1", "a: tradewind serve $X", "a: b | c"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
