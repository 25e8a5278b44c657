//! `tradewind config print|check`.

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};

use crate::config::Config;
use crate::output;

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show every setting: its value, where that is from, and what it means
    Print {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether the configuration is valid
    Check,
}

/// Shows or checks; what is invalid was refused before this.
pub fn run(config: &Config, command: &Command) -> Result<()> {
    match command {
        Command::Check => {
            output::line("The configuration is valid.")?;
            let mut notes = config.notes.iter();
            notes.try_for_each(|note| output::line(format_args!("note: {note}")))
        }
        Command::Print { json: true } => output::json(&config.shown),
        Command::Print { json: false } => {
            let mut table = Table::new();
            table
                .load_preset(presets::NOTHING)
                .set_content_arrangement(ContentArrangement::Dynamic);
            table.set_header(["SETTING", "VALUE", "FROM", "MEANING"]);
            for setting in &config.shown {
                table.add_row([setting.name, &setting.value, &setting.from, &setting.meaning]);
            }
            output::line(table)
        }
    }
}
