//! A connection that restores itself for as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kernel::bus::BusError;
use kernel::clock::Clock;
use lapin::Event;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::connect::{Dialler, Line};

/// How often it is looked whether the connection still is one, besides what the client tells.
const LOOK: Duration = Duration::from_secs(1);
/// The longest pause before a broker that was lost is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(2);
const PAUSE_MIN: Duration = Duration::from_millis(50);
pub(crate) const BLOCKED: &str = "RabbitMQ takes nothing until it has more memory or disk";

/// Whatever line there is to the broker. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    line: watch::Receiver<Option<Arc<Line>>>,
    /// Counts how often one was made, so that readers begin again.
    made: watch::Receiver<u64>,
    _keeping: Arc<AbortOnDropHandle<()>>,
}

impl Connection {
    /// Begins with a line, and makes another one whenever one is lost.
    pub(crate) fn new(dialler: Dialler, line: Line, clock: Arc<dyn Clock>) -> Self {
        let (lines, line) = watch::channel(Some(Arc::new(line)));
        let (count, made) = watch::channel(0);
        let keeping = tokio::spawn(keep(dialler, lines, count, clock));
        Self {
            line,
            made,
            _keeping: Arc::new(AbortOnDropHandle::new(keeping)),
        }
    }

    /// The line, if there is one that takes something: what is to be sent is not kept for later.
    pub(crate) fn line(&self) -> Result<Arc<Line>, BusError> {
        let line = self.line.borrow().clone();
        match line.filter(|line| line.is_up()) {
            None => Err(BusError::new("RabbitMQ is not reached; it is tried again and again")),
            Some(line) if line.is_blocked() => Err(BusError::new(BLOCKED)),
            Some(line) => Ok(line),
        }
    }

    /// Changes when a line was made.
    pub(crate) fn made(&self) -> watch::Receiver<u64> {
        self.made.clone()
    }
}

async fn keep(
    dialler: Dialler,
    lines: watch::Sender<Option<Arc<Line>>>,
    made: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
) {
    loop {
        let current = lines.borrow().clone();
        if let Some(line) = current {
            until_lost(&line, &*clock).await;
            line.hang_up();
            lines.send_replace(None);
        }
        let mut pause = Duration::ZERO;
        for address in dialler.place.addresses.iter().cycle() {
            clock.sleep(pause).await;
            match dialler.dial(address).await {
                Ok(line) => {
                    tracing::info!(%address, "RabbitMQ is reached again");
                    lines.send_replace(Some(Arc::new(line)));
                    made.send_modify(|count| *count += 1);
                    break;
                }
                Err(error) if pause.is_zero() => {
                    tracing::warn!(%address, %error, "RabbitMQ is not reached; it is tried again and again");
                }
                Err(_) => {}
            }
            pause = (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        }
    }
}

async fn until_lost(line: &Line, clock: &dyn Clock) {
    let mut events = Box::pin(line.events());
    while line.is_up() {
        tokio::select! {
            event = events.next() => match event {
                // It may be about a channel alone.
                Some(Event::Error(error)) if !line.is_up() => {
                    tracing::warn!(%error, "the connection to RabbitMQ was lost");
                    return;
                }
                Some(Event::ConnectionBlocked(reason)) => tracing::warn!(reason, "{BLOCKED}"),
                Some(_) => {}
                None => return,
            },
            () = clock.sleep(LOOK) => {}
        }
    }
}
