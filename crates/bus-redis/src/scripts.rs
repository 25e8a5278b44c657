//! What is done on the server in one step. See the comments at the heads of the scripts.
//!
//! None of them writes with more than one command. What a script, or MULTI, writes with several is a transaction in the
//! append-only file, and that is left out at the next start, without a word, where the default user may not do everything: a bug
//! of all servers before November 2025 (redis#14541, valkey#3983).

use redis::Script;

/// Ready to be called by their hashes.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) declare: Script,
    pub(crate) make: Script,
    pub(crate) last: Script,
    pub(crate) page: Script,
    pub(crate) keep: Script,
    pub(crate) roster: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            declare: Script::new(include_str!("scripts/declare.lua")),
            make: Script::new(include_str!("scripts/make.lua")),
            last: Script::new(include_str!("scripts/last.lua")),
            page: Script::new(include_str!("scripts/page.lua")),
            keep: Script::new(include_str!("scripts/keep.lua")),
            roster: Script::new(include_str!("scripts/roster.lua")),
        }
    }

    pub(crate) fn all(&self) -> [&Script; 6] {
        [
            &self.declare,
            &self.make,
            &self.last,
            &self.page,
            &self.keep,
            &self.roster,
        ]
    }
}
