//! `tradewind config print|check`.

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};

use crate::config::Config;
use crate::output;
use crate::topology::Topology;

/// The columns of what is no terminal.
const WIDTH: u16 = 120;

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show every setting: its value, where that is from, and what it means
    Print {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether the configuration is valid, without connecting to anything
    Check {
        /// For `serve` with these services (and `gateway`); with all of them unless told otherwise
        services: Vec<String>,
    },
}

/// Shows or checks; what is invalid was refused before this.
pub fn run(config: &Config, command: &Command) -> Result<()> {
    match command {
        Command::Check { services } => {
            Topology::of(services, config)?;
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
            if table.width().is_none() {
                table.set_width(WIDTH);
            }
            table.set_header(["SETTING", "VALUE", "FROM", "MEANING"]);
            for setting in &config.shown {
                table.add_row([setting.name, &setting.value, &setting.from, &setting.meaning]);
            }
            output::line(table)
        }
    }
}
