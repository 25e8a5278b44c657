//! The measured process, as the bench sees it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contracts::Service;
use serde::de::DeserializeOwned;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::bench::figures::Limit;
use crate::bench::server::{Ask, BUS, STORE, Tally};
use crate::bench::stages::Took;
use crate::buses::BusUrl;
use crate::stopwatch::now;
use crate::stores::StoreUrl;

/// How often its memory is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is asked whether it is done.
const POLL: Duration = Duration::from_millis(100);

/// A server in a process of its own.
#[derive(Debug)]
pub struct Measured {
    /// Where it listens.
    pub address: SocketAddr,
    /// How long it took from its start to that it listens.
    pub started_in: Duration,
    child: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What it is started with.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The directory of what it keeps.
    pub data: &'a Path,
    /// With rate limits, but high ones.
    pub is_limited: bool,
    /// In place of the embedded store.
    pub store: Option<&'a StoreUrl>,
    /// Whether it notes how long orders take to be confirmed.
    pub is_timed: bool,
    /// In place of the whole shop.
    pub part: Option<&'a Part>,
}

impl<'a> Setup<'a> {
    /// The whole shop in a directory.
    pub fn on(data: &'a Path) -> Self {
        Self {
            data,
            is_limited: false,
            store: None,
            is_timed: false,
            part: None,
        }
    }
}

/// A part of the shop.
#[derive(Debug)]
pub struct Part {
    /// What runs in it.
    pub names: Vec<&'static str>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the other parts do.
    pub others: String,
    /// What is between them.
    pub bus: BusUrl,
}

impl Measured {
    /// Starts it.
    pub async fn start(setup: Setup<'_>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("the bench does not know its own binary")?);
        command.args(["bench-server", "--data"]).arg(setup.data);
        command.args(setup.is_limited.then_some("--limited"));
        command.args(setup.is_timed.then_some("--timed"));
        // Not among the arguments, which everybody on the machine may read.
        command.envs(setup.store.map(|store| (STORE, store.reveal())));
        if let Some(part) = setup.part {
            command.arg("--parts").arg(part.names.join(","));
            command.arg("--listen").arg(part.listen.to_string());
            command.arg("--others").arg(&part.others);
            command.env(BUS, part.bus.reveal());
        }
        let began = now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the measured server cannot be started")?;
        let asks = child.stdin.take().context("its input is piped")?;
        let mut answers = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
        let url = answers
            .next_line()
            .await?
            .context("the measured server did not start")?;
        let url: String = serde_json::from_str(&url)?;
        let address = url.trim_start_matches("http://").parse()?;
        Ok(Self {
            address,
            started_in: began.elapsed(),
            child,
            asks,
            answers,
        })
    }

    /// Where it listens, for a client.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn ask<T: DeserializeOwned>(&mut self, ask: Ask) -> Result<T> {
        let line = serde_json::to_string(&ask)? + "\n";
        self.asks.write_all(line.as_bytes()).await?;
        let answer = self.answers.next_line().await?;
        Ok(serde_json::from_str(&answer.context("the measured server has ended")?)?)
    }

    /// Keeps events from all consumers.
    pub async fn pause(&mut self) -> Result<()> {
        self.ask(Ask::Pause).await.map(|_: bool| ())
    }

    /// Lets them come again.
    pub async fn resume(&mut self) -> Result<()> {
        self.ask(Ask::Resume).await.map(|_: bool| ())
    }

    /// Counts the orders.
    pub async fn tally(&mut self) -> Result<Tally> {
        self.ask(Ask::Tally).await
    }

    /// The ids of orders from all over the journal.
    pub async fn sample(&mut self) -> Result<Vec<String>> {
        self.ask(Ask::Sample).await
    }

    /// Inserts the rows that orders were last stored as once more, into tables of their own, and times that.
    pub async fn limit(&mut self) -> Result<Limit> {
        self.ask(Ask::Limit).await
    }

    /// Notes anew how long orders take to be confirmed, and how they are published.
    pub async fn note(&mut self) -> Result<()> {
        self.ask(Ask::Note).await.map(|_: bool| ())
    }

    /// How long they took since then.
    pub async fn took(&mut self) -> Result<Took> {
        self.ask(Ask::Took).await
    }

    /// How many events of orders were published at a time since then.
    pub async fn batches(&mut self) -> Result<Vec<usize>> {
        self.ask(Ask::Batches).await
    }

    /// How many events the journals in it have.
    pub async fn heads(&mut self) -> Result<BTreeMap<Service, u64>> {
        self.ask(Ask::Heads).await
    }

    /// Waits until every order is decided, and says for how long.
    pub async fn settle(&mut self, at_most: Duration) -> Result<Duration> {
        let began = now();
        loop {
            let tally = self.tally().await?;
            if tally.settled() == tally.placed {
                return Ok(began.elapsed());
            }
            ensure!(
                began.elapsed() < at_most,
                "of {} orders {} are not decided after {at_most:?}",
                tally.placed,
                tally.placed - tally.settled()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// What it uses from now on.
    pub fn watch(&self) -> Result<Usage> {
        let pid = self.child.id().context("the measured server has ended")?;
        Usage::begin(Pid::from_u32(pid))
    }

    /// Has it finish what it accepted, and end.
    pub async fn stop(mut self) -> Result<()> {
        drop(self.asks);
        let status = self.child.wait().await?;
        ensure!(status.success(), "the measured server ended with {status}");
        Ok(())
    }
}

/// The time and the memory that a process takes for a while.
#[derive(Debug)]
pub struct Usage {
    pid: Pid,
    before: Duration,
    memory: Arc<Mutex<u64>>,
    looking: tokio::task::JoinHandle<()>,
}

impl Usage {
    fn begin(pid: Pid) -> Result<Self> {
        let mut system = System::new()?;
        let (before, now) = look(&mut system, pid);
        let memory = Arc::new(Mutex::new(now));
        let most = Arc::clone(&memory);
        let looking = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let (_, now) = look(&mut system, pid);
                let mut most = most.lock().unwrap_or_else(PoisonError::into_inner);
                *most = now.max(*most);
            }
        });
        Ok(Self {
            pid,
            before,
            memory,
            looking,
        })
    }

    /// Time on all processors, and the most resident memory in bytes.
    pub fn end(self) -> Result<(Duration, u64)> {
        self.looking.abort();
        let (after, now) = look(&mut System::new()?, self.pid);
        let most = *self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((after.saturating_sub(self.before), most.max(now)))
    }
}

fn look(system: &mut System, pid: Pid) -> (Duration, u64) {
    let kind = ProcessRefreshKind::nothing().with_cpu().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind.without_tasks());
    system.process(pid).map_or((Duration::ZERO, 0), |process| {
        (Duration::from_millis(process.accumulated_cpu_time()), process.memory())
    })
}
