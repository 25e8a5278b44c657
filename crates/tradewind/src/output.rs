//! What a command prints on its standard output.

use std::fmt;
use std::io::Write as _;

use anyhow::Result;
use serde::Serialize;

/// What a command exits with when its output is read no more: as if it had been ended by SIGPIPE.
pub const UNREAD: u8 = 128 + 13;

/// Whoever reads the output has gone (`tradewind events tail | head -1`): the command ends, and nothing is wrong.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub struct Unread;

/// Prints a line.
pub fn line(text: impl fmt::Display) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Unread.into()),
        printed => Ok(printed?),
    }
}

/// Prints a value as JSON, for scripts.
pub fn json<T: Serialize>(value: &T) -> Result<()> {
    line(serde_json::to_string_pretty(value)?)
}
