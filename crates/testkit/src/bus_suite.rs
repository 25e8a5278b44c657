//! The contract suite of the [`Bus`] port: every adapter passes all of it, on the real broker.
//!
//! An adapter's test says how to join a broker and nothing more (`broker::Joins`, of the feature `servers`):
//!
//! ```ignore
//! testkit::bus_suite!(Shared::<Nats>::new());
//! testkit::bus_outage_suite!(Own::<Nats>::new().await);
//! ```
//!
//! which makes one test of each obligation, each on a fresh factory. An obligation is an async function over a
//! [`BusFactory`], or over a [`BrokerFactory`] where the broker itself goes away. What is expected is what the port's
//! documentation says, never what some adapter happens to do. That each obligation can be broken, and then fails, is
//! tested with buses that break them on purpose (`tests/bus_suite.rs`).

#[cfg(feature = "servers")]
pub mod broker;
pub mod delivery;
pub mod fixture;
pub mod outages;
pub mod publishing;
pub mod sharing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kernel::bus::Bus;

/// Joins a broker as processes do, under a name of its own there, where nothing is at first.
#[async_trait]
pub trait BusFactory: Send + Sync {
    /// Joins as one process would that is configured with so many lanes. Called again, like a second process.
    async fn join(&self, lanes: u16) -> Process;

    /// The longest that the broker, or the adapter for it, hears nothing of a subscriber before it gives its lanes to
    /// another one, or its messages out again: a handler that takes longer must lose nothing by it.
    fn patience(&self) -> Duration;
}

/// A factory over a broker that nobody else uses.
#[async_trait]
pub trait BrokerFactory: BusFactory {
    /// Ends the broker as a power cut would, except that what it wrote to its disk is there.
    async fn kill(&self);

    /// Lets it stand still: connections stay, and nothing is answered.
    async fn pause(&self);

    /// Lets it go on.
    async fn resume(&self);

    /// Starts it again, under the same address.
    async fn start(&self);

    /// Removes everything that it has written, while it does not run.
    async fn wipe(&self);

    /// How many events to send through a restart.
    fn many(&self) -> u64 {
        100_000
    }
}

/// A process that has joined the bus.
pub struct Process {
    /// Its handle.
    pub bus: Arc<dyn Bus>,
    cut: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("bus", &self.bus)
            .finish_non_exhaustive()
    }
}

impl Process {
    /// With what cuts it off from the broker for ever, as if it had been killed: nothing that it does gets through.
    pub fn new(bus: Arc<dyn Bus>, cut: impl Fn() + Send + Sync + 'static) -> Self {
        let cut = Box::new(cut);
        Self { bus, cut }
    }

    /// Cuts it off.
    pub fn cut(&self) {
        (self.cut)();
    }
}

/// What an obligation takes at most; one that hangs has failed.
pub const OBLIGATION_TIME_MAX: Duration = Duration::from_secs(240);

/// Makes a test of each obligation, given an expression for a new [`BusFactory`] (it may `.await`).
#[macro_export]
macro_rules! bus_suite {
    ($factory:expr) => {
        $crate::bus_suite! { @tests $factory;
            delivery: messages_arrive_as_they_were_published;
            delivery: within_a_lane_messages_come_in_the_order_of_publication;
            delivery: no_more_messages_come_at_once_than_were_asked_for;
            delivery: what_was_not_acknowledged_comes_again_to_whoever_subscribes_next;
            delivery: what_was_not_acknowledged_comes_again_after_a_rewind;
            delivery: what_was_acknowledged_does_not_come_again;
            delivery: what_is_published_later_comes_however_much_is_unacknowledged;
            delivery: receiving_can_be_given_up_at_any_moment;
            publishing: what_is_published_again_comes_again;
            publishing: a_declared_group_misses_nothing;
            publishing: declaring_again_changes_nothing;
            publishing: another_number_of_lanes_is_refused;
            publishing: groups_do_not_know_of_each_other;
            publishing: a_group_receives_its_source_alone;
            publishing: the_largest_message_passes;
            publishing: what_is_too_large_is_refused_with_its_size;
            sharing: each_lane_is_received_by_one_subscriber_at_a_time;
            sharing: all_subscribers_have_a_share_and_together_everything;
            sharing: lanes_of_a_subscriber_that_was_dropped_are_taken_over_soon;
            sharing: lanes_of_a_subscriber_that_died_without_a_word_are_taken_over;
            sharing: whoever_is_cut_off_hands_nothing_out_that_others_may_have;
            sharing: a_slow_handler_keeps_its_lanes_and_their_order;
        }
    };
    (@tests $factory:expr; $($module:ident: $name:ident;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let obligation = async {
                let factory = $factory;
                $crate::bus_suite::$module::$name(&factory).await;
            };
            let outcome = tokio::time::timeout($crate::bus_suite::OBLIGATION_TIME_MAX, obligation).await;
            outcome.expect("an obligation is met in time");
        }
    )+};
}

/// Makes a test of each obligation about a broker that goes away, given an expression for a new [`BrokerFactory`].
#[macro_export]
macro_rules! bus_outage_suite {
    ($factory:expr) => {
        $crate::bus_suite! { @tests $factory;
            outages: a_broker_that_is_killed_loses_nothing_that_it_took;
            outages: a_broker_that_is_away_is_waited_for;
            outages: a_broker_that_stands_still_is_waited_for;
            outages: a_broker_that_lost_everything_serves_what_is_published_then;
            outages: a_subscription_says_whether_the_broker_is_reached;
        }
    };
}

#[cfg(test)]
mod tests {
    /// An obligation that nobody runs binds nobody.
    #[test]
    fn every_obligation_is_in_the_suite() {
        let listed = include_str!("bus_suite.rs");
        let modules = [
            ("delivery", include_str!("bus_suite/delivery.rs")),
            ("outages", include_str!("bus_suite/outages.rs")),
            ("publishing", include_str!("bus_suite/publishing.rs")),
            ("sharing", include_str!("bus_suite/sharing.rs")),
        ];
        for (module, source) in modules {
            for line in source.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
                let name = line.split(['(', '<']).next().expect("a function has a parameter list");
                assert!(
                    listed.contains(&format!("{module}: {name};")),
                    "{module}::{name} is not in the suite"
                );
            }
        }
    }
}
