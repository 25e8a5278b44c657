//! Calls to any broker, over connections that are kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::api::Call;
use crate::connection::Connection;
use crate::dialer::{ANSWER_MAX, Dialer};
use crate::failure::Failure;

/// Of one task: a broker answers what comes over one connection in turn, so that who waits long has its own.
#[derive(Debug)]
pub(crate) struct Client {
    dialer: Arc<Dialer>,
    open: BTreeMap<String, Connection>,
    /// How often a connection was made.
    made: u64,
}

impl Client {
    pub(crate) fn new(dialer: Arc<Dialer>) -> Self {
        Self {
            dialer,
            open: BTreeMap::new(),
            made: 0,
        }
    }

    /// How often a connection was made. What is answered over another one may be answered by a broker that has forgotten.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// Asks the broker that is there. One more time, if it had closed a connection that was kept: so brokers do with idle ones.
    pub(crate) async fn call<C: Call>(
        &mut self,
        address: &str,
        request: &C,
        within: Duration,
    ) -> Result<C::Answer, Failure> {
        let kept = self.open.remove(address);
        let (answer, connection) = match over_kept(kept, request, within).await? {
            Some(done) => done,
            None => {
                self.made += 1;
                over_new(&self.dialer, address, request, within).await?
            }
        };
        self.open.insert(address.to_owned(), connection);
        Ok(answer)
    }

    /// Asks several brokers at the same time.
    pub(crate) async fn call_each<C: Call>(
        &mut self,
        requests: Vec<(String, C)>,
        within: Duration,
    ) -> Vec<(C, Result<C::Answer, Failure>)> {
        let dialer = &self.dialer;
        let calls = requests.into_iter().map(|(address, request)| {
            let kept = self.open.remove(&address);
            async move {
                let outcome = match over_kept(kept, &request, within).await {
                    Ok(Some(done)) => Ok(done),
                    Ok(None) => over_new(dialer, &address, &request, within).await,
                    Err(failure) => Err(failure),
                };
                (address, request, outcome)
            }
        });
        let mut answers = Vec::new();
        for (address, request, outcome) in futures::future::join_all(calls).await {
            let answer = outcome.map(|(answer, connection)| {
                self.open.insert(address, connection);
                answer
            });
            answers.push((request, answer));
        }
        answers
    }

    /// Asks whichever broker answers.
    pub(crate) async fn call_any<C: Call>(&mut self, request: &C) -> Result<C::Answer, Failure> {
        let open = self.open.keys().cloned();
        let mut addresses: Vec<String> = open.collect();
        let known = self.dialer.known();
        addresses.extend(known.into_iter().filter(|address| !self.open.contains_key(address)));
        let mut failure = Failure::Lost("no broker is known".to_owned());
        for address in addresses {
            match self.call(&address, request, ANSWER_MAX).await {
                Ok(answer) => return Ok(answer),
                Err(another) => failure = another,
            }
        }
        Err(failure)
    }
}

/// The answer over a connection that was kept, if there is one that the broker had not closed.
async fn over_kept<C: Call>(
    kept: Option<Connection>,
    request: &C,
    within: Duration,
) -> Result<Option<(C::Answer, Connection)>, Failure> {
    let Some(mut connection) = kept else {
        return Ok(None);
    };
    match connection.call(request, within).await {
        Ok(answer) => Ok(Some((answer, connection))),
        Err(Failure::Lost(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn over_new<C: Call>(
    dialer: &Dialer,
    address: &str,
    request: &C,
    within: Duration,
) -> Result<(C::Answer, Connection), Failure> {
    let mut connection = dialer.dial(address).await?;
    let answer = connection.call(request, within).await?;
    Ok((answer, connection))
}
