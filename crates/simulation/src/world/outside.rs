//! What happens to the services from outside: crashes, outages, and a clock that jumps.

use std::time::Duration;

use contracts::Service;
use jiff::SignedDuration;
use kernel::clock::Clock as _;
use kernel::event::Position;
use kernel::relay;

use crate::fault::Fault;
use crate::world::{SERVICES, World};

/// How often there is weather: a crash out of the blue, a broker that goes down.
const WEATHER_PAUSE: Duration = Duration::from_secs(2);
/// How long the broker stays down.
const OUTAGE_MAX: Duration = Duration::from_secs(20);
/// How far the clock jumps.
const JUMP_MAX: Duration = Duration::from_secs(240);

impl World {
    pub(super) async fn make_weather(self) {
        loop {
            self.0.clock.sleep(self.0.dice.up_to(WEATHER_PAUSE)).await;
            let faults = &self.0.faults;
            if faults.strikes(Fault::CrashAnyTime) {
                let service = SERVICES[usize::try_from(self.0.dice.below(7)).unwrap_or_default()].0;
                self.note(|| format!("{service}: dies"));
                if let Some(running) = self.running(service) {
                    running.life.end();
                }
            }
            if faults.strikes(Fault::BrokerDown) {
                let outage = self.0.dice.up_to(OUTAGE_MAX);
                self.note(|| format!("the broker is down for {outage:?}"));
                self.0.broker.goes_down_until(self.0.clock.monotonic() + outage);
            }
            if faults.strikes(Fault::BrokerWiped) {
                self.note(|| "the broker has lost everything".to_owned());
                self.0.broker.bus.wipe();
                tokio::spawn(self.clone().republish());
            }
            if faults.strikes(Fault::ClockJumps) {
                let by = SignedDuration::try_from(self.0.dice.up_to(JUMP_MAX)).unwrap_or_default();
                let by = if self.0.dice.percent(50) { by } else { -by };
                self.note(|| format!("the clock jumps by {by}"));
                self.0.clock.jump(by);
            }
        }
    }

    /// What an operator does once the broker was wiped: has every journal published again from its beginning.
    async fn republish(self) {
        self.0.clock.sleep(Duration::from_secs(1)).await;
        for (service, ..) in SERVICES {
            while !self.republished(service).await {
                self.0.clock.sleep(Duration::from_secs(1)).await;
            }
            self.note(|| format!("{service}: is published again"));
        }
    }

    async fn republished(&self, service: Service) -> bool {
        let Some(running) = self.running(service) else {
            return false;
        };
        tokio::select! {
            biased;
            () = running.life.until_ended() => false,
            done = relay::republish(&running.engine, Position::START) => done.is_ok(),
        }
    }

    /// Ends whatever goes wrong from outside.
    pub(crate) fn calm_down(&self) {
        self.note(|| "nothing goes wrong any more".to_owned());
        self.0.faults.set_active(false);
        self.0.broker.goes_down_until(Duration::ZERO);
    }
}
