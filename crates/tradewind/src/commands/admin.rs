//! `tradewind admin create`.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result, anyhow, bail};
use contracts::{Email, Password};
use users::AdminCreated;

use crate::config::Config;
use crate::data::DataDirectory;
use crate::metrics;
use crate::output;
use crate::system::{Plain, System};
use crate::topology::Topology;

/// What to do about admins.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make an admin, or promote an account; the server must not run
    Create {
        /// The account's e-mail
        #[arg(long)]
        email: Email,
        /// The password [default: TRADEWIND_ADMIN_PASSWORD, or the first line of the standard input]
        #[arg(long)]
        password: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Makes an admin on the embedded store.
pub async fn run(config: &Config, command: Command) -> Result<()> {
    let Command::Create { email, password, json } = command;
    let password = match password.or_else(|| config.admin_password.as_ref().map(|it| it.reveal().to_owned())) {
        Some(password) => password,
        None => read_password()?,
    };
    let password = Password::try_from(password).map_err(|error| anyhow!("the password {error}"))?;
    let data = DataDirectory::lock(&config.data)?;
    let system = System::start(config, &Topology::whole(), &data, metrics::install()?, &Plain).await?;
    let users = system.users.as_ref().context("users does not run here")?;
    let created = users.create_admin(email, password).await;
    system.stop().await;
    let (outcome, id, said) = match created.context("the admin was not made")? {
        AdminCreated::Created(id) => ("created", id, "was made"),
        AdminCreated::Promoted(id) => ("promoted", id, "was a customer and is an admin now, with this password"),
        AdminCreated::Already(id) => ("already", id, "is an admin already; the password is as it was"),
    };
    if json {
        output::line(serde_json::json!({"outcome": outcome, "user_id": id}))
    } else {
        output::line(format_args!("{id} {said}"))
    }
}

fn read_password() -> Result<String> {
    if std::io::stdin().is_terminal() {
        bail!("give the password with --password, in TRADEWIND_ADMIN_PASSWORD, or on the standard input");
    }
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .context("cannot read the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
