//! A connection that is made again for as long as it takes, and that nobody waits for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::clock::Clock;
use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use crate::failure::OpenError;
use crate::server::{NotCounted, Server};

/// How long a server that has failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    _keeping: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    server: Arc<Server>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    lost: Notify,
}

#[derive(Debug)]
enum State {
    Reached(Line),
    Away(Outage),
}

/// A connection, and how many there were with it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) connection: MultiplexedConnection,
    number: u64,
    /// When it was made, on the clock's monotonic time.
    made: Duration,
}

/// Which connection was lost, and how.
#[derive(Clone, Copy, Debug)]
struct Outage {
    number: u64,
    /// The connection was closed, as may happen to one that is not used; not one that was just made.
    is_closed: bool,
}

impl Link {
    /// To a server that was reached, or was not.
    pub(crate) fn new(server: Arc<Server>, clock: Arc<dyn Clock>, reached: Option<MultiplexedConnection>) -> Self {
        let (number, made) = (0, clock.monotonic());
        let state = match reached {
            Some(connection) => State::Reached(Line {
                connection,
                number,
                made,
            }),
            None => State::Away(Outage {
                number,
                is_closed: false,
            }),
        };
        let shared = Arc::new(Shared {
            server,
            clock,
            state: Mutex::new(state),
            lost: Notify::new(),
        });
        let keeping = tokio::spawn(keep(Arc::clone(&shared)));
        Self {
            shared,
            _keeping: AbortOnDropHandle::new(keeping),
        }
    }

    /// The connection, unless there is none.
    pub(crate) fn line(&self) -> Option<Line> {
        match &*self.shared.state() {
            State::Reached(line) => Some(line.clone()),
            State::Away(_) => None,
        }
    }

    /// Gives this connection up. Of many requests that failed on it, one tells of it.
    pub(crate) fn fail(&self, line: &Line, error: &NotCounted) {
        let mut state = self.shared.state();
        if !matches!(&*state, State::Reached(current) if current.number == line.number) {
            return;
        }
        let is_old = self.shared.clock.monotonic().saturating_sub(line.made) >= PAUSE;
        let is_closed = error.is_about_the_connection() && is_old;
        *state = State::Away(Outage {
            number: line.number,
            is_closed,
        });
        drop(state);
        if !is_closed {
            let address = self.shared.server.address();
            tracing::warn!(
                "Redis at {address} does not count requests ({error}); until it does, this gateway counts for itself"
            );
        }
        self.shared.lost.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outage(&self) -> Option<Outage> {
        match &*self.state() {
            State::Reached(_) => None,
            State::Away(outage) => Some(*outage),
        }
    }
}

/// Makes another connection whenever one is lost.
async fn keep(shared: Arc<Shared>) {
    loop {
        let Some(outage) = shared.outage() else {
            shared.lost.notified().await;
            continue;
        };
        let connection = restored(&shared, outage).await;
        *shared.state() = State::Reached(Line {
            connection,
            number: outage.number + 1,
            made: shared.clock.monotonic(),
        });
    }
}

/// Tries until the server counts again. What was told of the outage, and that it is over, is told once.
async fn restored(shared: &Shared, outage: Outage) -> MultiplexedConnection {
    let Shared { server, clock, .. } = shared;
    let mut is_told = !outage.is_closed;
    let mut pause = if outage.is_closed { Duration::ZERO } else { PAUSE };
    loop {
        clock.sleep(pause).await;
        pause = PAUSE;
        match server.reach().await {
            Ok(connection) => {
                if is_told {
                    tracing::info!("Redis at {} counts requests again, for all gateways", server.address());
                }
                return connection;
            }
            Err(error) if is_told => tracing::debug!("{error}"),
            Err(error) => {
                is_told = true;
                warn_of(&error);
            }
        }
    }
}

/// Says once what is wrong.
pub(crate) fn warn_of(error: &OpenError) {
    tracing::warn!("{error}; until it counts requests, this gateway counts for itself");
}
