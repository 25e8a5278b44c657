//! Commands that act on a running system, through its API.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use comfy_table::{ContentArrangement, Table, presets};
use contracts::log::DeadLetter;
use contracts::{DeadLetterId, Page, Service};
use futures::StreamExt as _;
use owo_colors::{OwoColorize as _, Stream};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::{Client, code_of};
use crate::config::Config;
use crate::output;

/// How long to wait before a broken stream is opened again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Which system, and as whom.
#[derive(Clone, Debug, clap::Args)]
pub struct System {
    /// Its address [default: where this configuration listens]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// An admin's token [default: signs in with TRADEWIND_ADMIN_EMAIL and TRADEWIND_ADMIN_PASSWORD]
    #[arg(long, env = "TRADEWIND_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl System {
    /// A client that is signed in.
    pub(super) async fn client(&self, config: &Config) -> Result<Client> {
        let url = self.url.clone().unwrap_or_else(|| format!("http://{}", config.listen));
        let client = Client::new(&url)?;
        if let Some(token) = &self.token {
            return Ok(client.with_token(token));
        }
        let (email, password) = config
            .admin_email
            .as_ref()
            .zip(config.admin_password.as_ref())
            .ok_or_else(|| {
                anyhow!(
                    "give an admin's --token, or set TRADEWIND_ADMIN_EMAIL and TRADEWIND_ADMIN_PASSWORD to sign in with"
                )
            })?;
        client
            .signed_in(email.as_str(), password.reveal())
            .await
            .context("cannot sign in as the admin")
    }
}

/// What to do with events.
#[derive(Debug, clap::Subcommand)]
pub enum Events {
    /// Print events as they happen, until interrupted
    Tail {
        #[command(flatten)]
        system: System,
        /// Only of this type, or of a family such as `order.*`
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
        /// Only of this stream, such as `ord_…`
        #[arg(long)]
        subject: Option<String>,
        /// From after this position of the log, rather than from now on
        #[arg(long, value_name = "POSITION")]
        after: Option<u64>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

/// Prints events as they happen. A broken connection is taken up again where it broke.
pub async fn events(config: &Config, command: Events) -> Result<()> {
    let Events::Tail {
        system,
        event_type,
        subject,
        after,
        json,
    } = command;
    let parameters = [("type", event_type), ("subject", subject)];
    let given = parameters
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)));
    let query: Vec<String> = given
        .map(|(name, value)| format!("{name}={}", crate::replay::percent_encoded(&value)))
        .collect();
    let path = format!("/api/events/stream?{}", query.join("&"));
    let mut last = after.map(|position| position.to_string());
    let mut client = system.client(config).await?;
    loop {
        match follow(&client, &path, &mut last, json).await {
            Ok(()) => {}
            Err(error) if error.is::<output::Unread>() => return Err(error),
            // With a token of its own it cannot sign in again.
            Err(error) if code_of(&error).is_some_and(|code| code != "token-expired" || system.token.is_some()) => {
                return Err(error);
            }
            Err(error) if last.is_none() => return Err(error),
            Err(_) => tokio::time::sleep(RECONNECT).await,
        }
        if system.token.is_none() {
            client = match system.client(config).await {
                Ok(client) => client,
                Err(error) if code_of(&error).is_some() => return Err(error),
                Err(_) => continue,
            };
        }
    }
}

/// Prints one connection's events (the event stream format of HTML, section 9.2).
async fn follow(client: &Client, path: &str, last: &mut Option<String>, json: bool) -> Result<()> {
    let response = client.stream(path, last.as_deref()).await?;
    last.get_or_insert_with(String::new);
    let mut chunks = response.bytes_stream();
    let mut buffer = Vec::new();
    while let Some(chunk) = chunks.next().await {
        buffer.extend_from_slice(&chunk?);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(id) = line.strip_prefix("id:") {
                *last = Some(id.trim().to_owned());
            } else if let Some(data) = line.strip_prefix("data:") {
                print_event(data.trim(), json)?;
            }
        }
    }
    Ok(())
}

fn print_event(data: &str, json: bool) -> Result<()> {
    if json {
        return output::line(data);
    }
    let event: Shown<'_> =
        serde_json::from_str(data).with_context(|| format!("an event is not as expected: {data}"))?;
    output::line(format_args!(
        "{} {:<22} {:<32} {}",
        event.time.if_supports_color(Stream::Stdout, |it| it.dimmed()),
        event.event_type,
        event.subject,
        event.data.get().if_supports_color(Stream::Stdout, |it| it.dimmed())
    ))
}

/// What people are shown of an event. Its data may be nested as deep as it likes.
#[derive(Deserialize)]
struct Shown<'a> {
    time: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default)]
    subject: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// What to do with dead letters.
#[derive(Debug, clap::Subcommand)]
pub enum DeadLetters {
    /// Show them by service, oldest first
    List {
        #[command(flatten)]
        system: System,
        /// Only those that this service keeps
        #[arg(long)]
        service: Option<Service>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Try one again, and those that wait behind it
    Retry {
        #[command(flatten)]
        system: System,
        /// Which
        id: DeadLetterId,
    },
    /// Give one up, in the signed-in admin's name
    Discard {
        #[command(flatten)]
        system: System,
        /// Which
        id: DeadLetterId,
    },
}

/// Lists, retries or discards.
pub async fn dead_letters(config: &Config, command: DeadLetters) -> Result<()> {
    match command {
        DeadLetters::List { system, service, json } => {
            let letters = all(&system.client(config).await?, service).await?;
            match json {
                true => output::json(&letters),
                false => print_letters(&letters),
            }
        }
        DeadLetters::Retry { system, id } => {
            let client = system.client(config).await?;
            client
                .post::<Value>(&format!("/api/dead-letters/{id}/retry"), &serde_json::json!({}), None)
                .await?;
            output::line(format_args!("{id} was handled"))
        }
        DeadLetters::Discard { system, id } => {
            system
                .client(config)
                .await?
                .delete(&format!("/api/dead-letters/{id}"))
                .await?;
            output::line(format_args!("{id} was discarded"))
        }
    }
}

async fn all(client: &Client, service: Option<Service>) -> Result<Vec<DeadLetter>> {
    let mut letters = Vec::new();
    let mut cursor = String::new();
    loop {
        let service = service.map(|service| format!("&service={service}")).unwrap_or_default();
        let page: Page<DeadLetter> = client
            .get(&format!("/api/dead-letters?limit=200{service}{cursor}"))
            .await?;
        letters.extend(page.data);
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={}", next.as_str()),
            None => return Ok(letters),
        }
    }
}

fn print_letters(letters: &[DeadLetter]) -> Result<()> {
    if letters.is_empty() {
        return output::line("There are no dead letters.");
    }
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["ID", "CONSUMER", "EVENT", "STREAM", "CAUSE"]);
    for letter in letters {
        let cause = letter
            .behind
            .map_or_else(|| letter.cause.clone(), |first| format!("waits behind {first}"));
        let consumer = format!("{}.{}", letter.service, letter.consumer);
        table.add_row([
            letter.id.to_string(),
            consumer,
            letter.event_type.clone(),
            letter.subject.clone(),
            cause,
        ]);
    }
    output::line(table)
}
