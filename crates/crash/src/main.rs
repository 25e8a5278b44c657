//! `cargo xtask crash`: the real binary under load, killed at every point and in every way that a machine knows, and its
//! books afterwards (P1, P2, P4 to P8, P10, P11).
//!
//! The binary is this one: started with a [plan](plan::VARIABLE) it is `tradewind`, command line and all, with points
//! around its ports.

#[path = "../../../tests/books.rs"]
mod books;
mod broker;
#[path = "../../../tests/customers.rs"]
#[expect(clippy::unwrap_used, reason = "what is not as expected should stop the harness")]
mod customers;
mod disk;
mod plan;
mod points;
mod report;
#[path = "../../../tests/settled.rs"]
#[expect(clippy::unwrap_used, reason = "what is not as expected should stop the harness")]
mod settled;
mod shop;
#[path = "../../../tests/support.rs"]
#[expect(dead_code, reason = "tests use the other parts of it")]
mod support;
mod trouble;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::customers::{Dice, said};
use crate::plan::Plan;
use crate::points::Points;
use crate::report::Report;
use crate::shop::Shop;
use crate::trouble::{Agenda, Kind};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds that one shop goes through before its books are looked at.
const ROUNDS_PER_SHOP: u64 = 10;

/// Run the real binary under load, kill it and starve it round after round, and check the books afterwards.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask crash")]
struct Arguments {
    /// How often something befalls a shop
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// What befalls it, and what its customers do [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match std::env::var(plan::VARIABLE) {
        Ok(plan) => {
            let plan: Plan = serde_json::from_str(&plan).expect("the harness writes plans");
            tradewind::main_with(&Points::new(plan))
        }
        Err(_) => harness().unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }),
    }
}

fn harness() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    disk::enter_a_namespace_of_its_own()?;
    let report = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(rounds(&arguments));
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => println!("{report}"),
    }
    let silent = report.silent();
    if !silent.is_empty() {
        eprintln!("never struck, so nothing is proven of them: {silent:?}");
    }
    Ok(match report.violation.is_none() && silent.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

async fn rounds(arguments: &Arguments) -> Report {
    let seed = arguments.seed.unwrap_or_else(|| std::process::id().into());
    let bar = ProgressBar::new(arguments.rounds);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} rounds {eta} {msg}") {
        bar.set_style(style);
    }
    let mut report = Report::new(seed);
    if !disk::may_mount() {
        report.impossible = vec![Kind::DiskFull, Kind::ReadOnly];
    }
    let (report, mut agenda) = (Arc::new(Mutex::new(report)), Agenda::new());
    for number in 0..arguments.rounds.div_ceil(ROUNDS_PER_SHOP) {
        let rounds = ROUNDS_PER_SHOP.min(arguments.rounds - number * ROUNDS_PER_SHOP);
        // What is not as it should be panics, here or in a customer's task.
        let shop = tokio::spawn(one_shop(seed, number, rounds, agenda, Arc::clone(&report), bar.clone()));
        let ended = shop.await.unwrap_or_else(|panic| Err(anyhow!(said(panic))));
        match ended {
            Ok(left) => agenda = left,
            Err(error) => {
                let mut report = lock(&report);
                report.violation = Some(format!(
                    "{}: {error:#}; its files: {}",
                    report.doing,
                    report.root.display()
                ));
                break;
            }
        }
    }
    bar.finish_and_clear();
    std::mem::take(&mut *lock(&report))
}

/// What is left on the agenda afterwards.
async fn one_shop(
    seed: u64,
    number: u64,
    rounds: u64,
    mut agenda: Agenda,
    report: Arc<Mutex<Report>>,
    bar: ProgressBar,
) -> Result<Agenda> {
    let mut dice = Dice::new(seed + number);
    let (has_disk, has_broker) = (
        disk::may_mount() && number.is_multiple_of(2),
        matches!(number % 4, 1 | 2),
    );
    let mut shop = Shop::open(&mut dice, has_disk, has_broker).await?;
    lock(&report).root = shop.root().to_owned();
    for _ in 0..rounds {
        let trouble = agenda.next(&mut dice, shop.has_broker(), |kind| shop.may_suffer(kind));
        bar.set_message(trouble.kind().as_str());
        lock(&report).doing = format!("{trouble:?}");
        let began = Instant::now();
        let customers = shop.customers();
        let has_struck = tokio::select! {
            has_struck = shop.suffer(trouble) => has_struck?,
            Err(panic) = customers => panic!("a customer: {panic}"),
        };
        agenda.tried(trouble, has_struck);
        lock(&report).add(trouble, has_struck, began.elapsed());
        bar.inc(1);
        if bar.is_hidden() {
            let struck = if has_struck { "struck" } else { "did not strike" };
            eprintln!("{trouble:?} {struck}, {:?}", began.elapsed());
        }
    }
    bar.set_message("audit");
    lock(&report).doing = "the audit".to_owned();
    let told = shop.audit(number.is_multiple_of(2)).await?;
    lock(&report).settle(&told);
    Ok(agenda)
}

fn lock(report: &Mutex<Report>) -> std::sync::MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}
