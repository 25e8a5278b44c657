//! A broker that did not answer when the process started, and is tried until it does: a restart during its outage is no outage
//! of ours.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use kernel::bus::{Bus, BusError, Group, Message, Subscription};
use kernel::clock::Clock;
use kernel::event::Position;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// The pause before the broker is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// An attempt to connect.
pub(super) type Attempt = BoxFuture<'static, Result<Arc<dyn Bus>, Refused>>;
/// Connects, as often as it is called.
pub(super) type Opening = Box<dyn Fn() -> Attempt + Send + Sync>;

/// Why a broker cannot be used.
#[cfg_attr(
    not(any(feature = "nats", feature = "kafka", feature = "rabbitmq", feature = "redis")),
    expect(dead_code, reason = "no driver is built in")
)]
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Nobody answers.
    #[error(transparent)]
    Away(anyhow::Error),
    /// It will not do as it is, or as it is asked for.
    #[error(transparent)]
    Unfit(anyhow::Error),
}

/// The bus of such a broker: not available until it answers, and from then on the bus that it is.
pub(super) struct AwaitedBus {
    /// The bus, or why there is none.
    opened: watch::Receiver<Result<Arc<dyn Bus>, String>>,
    _opening: AbortOnDropHandle<()>,
}

impl fmt::Debug for AwaitedBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AwaitedBus").field(&*self.opened.borrow()).finish()
    }
}

impl AwaitedBus {
    pub(super) fn new(open: Opening, clock: Arc<dyn Clock>) -> Self {
        let (tell, opened) = watch::channel(Err("the broker has not answered yet".to_owned()));
        let opening = tokio::spawn(async move {
            loop {
                clock.sleep(PAUSE).await;
                let error = match open().await {
                    Ok(bus) => {
                        tracing::info!("the broker answers");
                        drop(tell.send_replace(Ok(bus)));
                        return;
                    }
                    Err(error) => error,
                };
                let reason = error.to_string();
                let is_new = tell.borrow().as_ref().err() != Some(&reason);
                if is_new && matches!(error, Refused::Unfit(_)) {
                    tracing::error!("{reason}");
                }
                drop(tell.send_replace(Err(reason)));
            }
        });
        Self {
            opened,
            _opening: AbortOnDropHandle::new(opening),
        }
    }

    fn bus(&self) -> Result<Arc<dyn Bus>, BusError> {
        self.opened.borrow().clone().map_err(BusError::Unavailable)
    }
}

#[async_trait]
impl Bus for AwaitedBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        self.bus()?.declare(groups).await
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        self.bus()?.publish(messages).await
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        self.bus()?.subscribe(group, from).await
    }

    async fn close(&self) {
        if let Ok(bus) = self.bus() {
            bus.close().await;
        }
    }
}
