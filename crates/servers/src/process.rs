//! A child process that is stopped when it is dropped.
#![expect(
    clippy::disallowed_methods,
    reason = "waits for real processes, which no injected clock drives"
)]

use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::READY_MAX;

/// How long a server may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// How much of a log is shown of a server that does not start.
const LOG_BYTES_SHOWN: usize = 2000;

static APART: AtomicBool = AtomicBool::new(false);

/// Keeps Ctrl-C at a terminal from what is started from now on, so that whoever started it can stop it in order. A program that ends
/// without doing so leaves it behind.
pub fn keep_apart() {
    APART.store(true, Ordering::Relaxed);
}

#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// What asks it to stop.
    stop: Signal,
    log: PathBuf,
    /// What it needs besides, stopped after it.
    companion: Option<Box<Process>>,
}

impl Process {
    /// Starts a command whose output is added to `log`.
    pub(crate) fn start(command: &mut Command, stop: Signal, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log);
        let output = output.with_context(|| format!("cannot write {}", log.display()))?;
        if APART.load(Ordering::Relaxed) {
            command.process_group(0);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        Ok(Self {
            child,
            stop,
            log: log.to_owned(),
            companion: None,
        })
    }

    /// Keeps another one that this one needs for as long as this one.
    pub(crate) fn beside(mut self, companion: Self) -> Self {
        self.companion = Some(Box::new(companion));
        self
    }

    /// Waits until it is.
    pub(crate) fn until(mut self, is_ready: impl FnMut() -> bool) -> Result<Self> {
        self.wait_until(is_ready)?;
        Ok(self)
    }

    /// The same, for one that is kept.
    pub(crate) fn wait_until(&mut self, mut is_ready: impl FnMut() -> bool) -> Result<()> {
        let began = Instant::now();
        while !is_ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it has ended ({status}):\n{}", self.last_words());
            }
            if began.elapsed() > READY_MAX {
                bail!("it does not answer after {READY_MAX:?}:\n{}", self.last_words());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// How it has ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(status.to_string())
    }

    /// Asks it to stop, once: there are programs that hurry when they are asked again.
    pub(crate) fn ask_to_stop(&mut self) {
        // Once it is waited for, somebody else may have its number.
        let runs = matches!(self.child.try_wait(), Ok(None));
        if let Some(pid) = self.pid().ok().filter(|_| runs) {
            let _ = kill_process(pid, self.stop);
        }
    }

    /// Waits until it has stopped, or for as long as that may take.
    pub(crate) fn wait(&mut self) {
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < STOP_MAX {
            std::thread::sleep(POLL);
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop until it has, and kills it if that takes too long.
    pub(crate) fn stop(&mut self) {
        let began = Instant::now();
        // What stands still would neither stop nor be killed with it.
        let _ = self.signal_all(Signal::CONT);
        let pid = self.pid().ok();
        while matches!(self.child.try_wait(), Ok(None)) {
            match pid {
                Some(pid) if began.elapsed() < STOP_MAX => {
                    let _ = kill_process(pid, self.stop);
                }
                _ => {
                    let _ = self.child.kill();
                }
            }
            std::thread::sleep(POLL);
        }
    }

    /// With all that it has started: PostgreSQL is a process for each connection.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let children = self.children()?;
        self.child.kill()?;
        let status = self.child.wait()?;
        for child in children {
            // It may have noticed, and ended.
            let _ = kill_process(child, Signal::KILL);
        }
        match status.signal() {
            Some(_) => Ok(()),
            None => bail!("it had ended before ({status}):\n{}", self.last_words()),
        }
    }

    /// Sends a signal to it and, after that, to all that it has started.
    pub(crate) fn signal_all(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal)?;
        for child in self.children()? {
            let _ = kill_process(child, signal);
        }
        Ok(())
    }

    /// Lets it and all that it has started stand still, and returns when they do: a signal is acted on by whichever of a
    /// process's threads comes to run, and the others go on until then.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal_all(Signal::STOP)?;
        let began = Instant::now();
        for pid in [vec![self.pid()?], self.children()?].concat() {
            while !is_stopped(pid) {
                ensure!(began.elapsed() < STOP_MAX, "it does not stand still");
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }

    fn pid(&self) -> Result<Pid> {
        let pid = i32::try_from(self.child.id())?;
        Pid::from_raw(pid).context("a process has a number")
    }

    fn children(&self) -> Result<Vec<Pid>> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let children = children.split_whitespace().map(|child| Ok(child.parse()?));
        let children = children.collect::<Result<Vec<i32>>>()?;
        Ok(children.into_iter().filter_map(Pid::from_raw).collect())
    }

    fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let from = log.len().saturating_sub(LOG_BYTES_SHOWN);
        String::from_utf8_lossy(&log[from..]).into_owned()
    }
}

/// Whether it stands still, or has ended.
fn is_stopped(pid: Pid) -> bool {
    let Ok(state) = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) else {
        return true;
    };
    // Behind the program's name, which is in parentheses and may have some itself.
    let state = state.rsplit_once(") ").map_or("", |(_, state)| state);
    state.starts_with(['T', 't', 'Z'])
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}
