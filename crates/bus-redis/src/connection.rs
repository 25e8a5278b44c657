//! A connection that is made again for as long as it takes, to a server that will do.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::bus::BusError;
use kernel::clock::Clock;
use redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, ScriptInvocation, ServerErrorKind, cmd};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::check::{Writes, written};
use crate::failure::{OpenError, unavailable};
use crate::news::News;
use crate::options::RedisOptions;
use crate::scripts::Scripts;
use crate::target::{Reached, Target};

/// How often the server is asked whether it is there. Silence ends the connection.
const PING: Duration = Duration::from_secs(5);
/// The pause before a server that was lost is tried a second time; each next one is twice as long.
const RECONNECT: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(2);
/// The pause before a server that writes late is asked again.
const UNWRITTEN: Duration = Duration::from_millis(2);

/// Cheap to clone; all clones are the same.
#[derive(Clone)]
pub(crate) struct Connection {
    line: Arc<Mutex<Result<Line, String>>>,
    made: watch::Receiver<u64>,
    target: Arc<Target>,
    clock: Arc<dyn Clock>,
    _keeping: Arc<AbortOnDropHandle<()>>,
}

/// Without how it is reached, which may have a password in it.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.target.address)
            .finish_non_exhaustive()
    }
}

/// What there is while the server is reached.
#[derive(Clone)]
struct Line {
    reached: Reached,
    /// How many there were with it.
    number: u64,
}

impl Connection {
    /// The first one is waited for.
    pub(crate) async fn open(options: &RedisOptions) -> Result<Self, OpenError> {
        let target = Arc::new(Target::new(options)?);
        let first = Line {
            reached: target.reach().await?,
            number: 1,
        };
        let line = Arc::new(Mutex::new(Ok(first.clone())));
        let (count, made) = watch::channel(first.number);
        let keeping = keep(
            first,
            Arc::clone(&target),
            Arc::clone(&line),
            count,
            Arc::clone(&options.clock),
        );
        Ok(Self {
            line,
            made,
            target,
            clock: Arc::clone(&options.clock),
            _keeping: Arc::new(AbortOnDropHandle::new(tokio::spawn(keeping))),
        })
    }

    /// Changes with each connection that was made.
    pub(crate) fn made(&self) -> watch::Receiver<u64> {
        self.made.clone()
    }

    /// Which one it is by now, if there is one.
    pub(crate) fn number(&self) -> Result<u64, BusError> {
        self.line().map(|line| line.number)
    }

    pub(crate) fn news(&self) -> &News {
        &self.target.news
    }

    pub(crate) fn scripts(&self) -> &Scripts {
        &self.target.scripts
    }

    /// Fails while there is no connection.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, BusError> {
        let mut line = self.line()?;
        let answer = command.query_async(&mut line.reached.commands).await;
        line.told(answer)
    }

    /// Fails while there is no connection.
    pub(crate) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, BusError> {
        let mut line = self.line()?;
        let answer = script.invoke_async(&mut line.reached.commands).await;
        line.told(answer)
    }

    /// Sends commands without waiting for each. Fails while there is no connection.
    pub(crate) async fn send<T: FromRedisValue>(&self, batch: &Pipeline) -> Result<T, BusError> {
        let mut line = self.line()?;
        let answer = batch.query_async(&mut line.reached.commands).await;
        line.told(answer)
    }

    /// Waits until the server has written what it has answered on this connection, if it tells: then that survives the end of its
    /// process. While its disk is busy, it answers for up to two seconds before it does.
    pub(crate) async fn written(&self, number: u64) -> Result<(), BusError> {
        let mut line = self.line()?;
        if line.number != number {
            return Err(BusError::new(
                "the connection was lost before what it took was known to be written",
            ));
        }
        let (mut goal, mut before) = (u64::MAX, 0);
        while line.reached.writes == Writes::Late {
            let info = cmd("INFO")
                .arg("persistence")
                .query_async(&mut line.reached.commands)
                .await;
            let Some((size, buffered)) = written(&line.told::<String>(info)?) else {
                break;
            };
            if buffered == 0 || (before <= size && goal <= size) {
                break;
            }
            // It is counted anew when the file is.
            if goal == u64::MAX || size < before {
                goal = size + buffered;
            }
            before = size;
            self.clock.sleep(UNWRITTEN).await;
        }
        Ok(())
    }

    fn line(&self) -> Result<Line, BusError> {
        let line = lock(&self.line);
        line.as_ref().map(Line::clone).map_err(BusError::new)
    }
}

impl Line {
    fn told<T>(&self, answer: Result<T, RedisError>) -> Result<T, BusError> {
        answer.map_err(|error| {
            // Scripts are told to the server with each connection; somebody may have made it forget them since.
            let has_forgotten = error.kind() == ErrorKind::Server(ServerErrorKind::NoScript);
            if has_forgotten || error.is_unrecoverable_error() {
                self.reached.lost.notify_one();
            }
            unavailable(&error)
        })
    }

    /// Whether both ends are there.
    async fn answers(&mut self) -> bool {
        let ping = cmd("PING");
        let (commands, listener) = tokio::join!(
            ping.query_async::<()>(&mut self.reached.commands),
            ping.query_async::<()>(&mut self.reached.listener),
        );
        commands.is_ok() && listener.is_ok()
    }
}

/// Watches over the connection, and makes another one whenever it is lost.
async fn keep(
    mut current: Line,
    target: Arc<Target>,
    line: Arc<Mutex<Result<Line, String>>>,
    count: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
) {
    loop {
        loop {
            tokio::select! {
                () = current.reached.lost.notified() => break,
                () = clock.sleep(PING) => {}
            }
            if !current.answers().await {
                break;
            }
        }
        *lock(&line) = Err("Redis is not reached; it is tried again and again".to_owned());
        let mut pause = Duration::ZERO;
        let reached = loop {
            clock.sleep(pause).await;
            match target.reach().await {
                Ok(reached) => break reached,
                Err(error) => {
                    if pause.is_zero() {
                        tracing::warn!(%error, "the connection was lost, and cannot be made again yet");
                    }
                    *lock(&line) = Err(error.to_string());
                }
            }
            pause = (pause * 2).clamp(RECONNECT, RECONNECT_MAX);
        };
        let number = current.number + 1;
        current = Line { reached, number };
        *lock(&line) = Ok(current.clone());
        count.send_replace(number);
    }
}

fn lock(line: &Mutex<Result<Line, String>>) -> MutexGuard<'_, Result<Line, String>> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}
