//! The broker that keeps a group.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{FindCoordinatorRequest, GroupId};
use kafka_protocol::protocol::StrBytes;

use crate::api::Call;
use crate::client::Client;
use crate::dialer::{ANSWER_MAX, Dialer, address};
use crate::failure::{Failure, done};

/// What is looked for is a group's, not a transaction's.
const OF_GROUP: i8 = 0;

#[derive(Debug)]
pub(crate) struct Coordinator {
    client: Client,
    group: StrBytes,
    at: Option<String>,
}

impl Coordinator {
    pub(crate) fn new(dialer: Arc<Dialer>, group: StrBytes) -> Self {
        Self {
            client: Client::new(dialer),
            group,
            at: None,
        }
    }

    pub(crate) fn group(&self) -> GroupId {
        GroupId(self.group.clone())
    }

    /// Changes where it may be another one by now, or have begun anew.
    pub(crate) fn life(&self) -> u64 {
        self.client.made()
    }

    /// Asks it, wherever it is now.
    pub(crate) async fn call<C: Call>(&mut self, request: &C, within: Duration) -> Result<C::Answer, Failure> {
        let at = match self.at.take() {
            Some(at) => at,
            None => self.find().await?,
        };
        let answer = self.client.call(&at, request, within).await?;
        self.at = Some(at);
        Ok(answer)
    }

    /// Nothing, or what it refuses; another one may have become it.
    pub(crate) fn done(&mut self, what: &str, code: i16) -> Result<(), Failure> {
        let outcome = done(what, code);
        if let Err(Failure::Refused { code, .. }) = &outcome
            && matches!(
                code,
                ResponseError::NotCoordinator | ResponseError::CoordinatorNotAvailable
            )
        {
            self.at = None;
        }
        outcome
    }

    async fn find(&mut self) -> Result<String, Failure> {
        let request = FindCoordinatorRequest::default()
            .with_key_type(OF_GROUP)
            .with_coordinator_keys(vec![self.group.clone()]);
        let answer = self.client.call_any(&request).await?;
        let found = answer.coordinators.first();
        let found = found.ok_or_else(|| Failure::Lost("no broker keeps the group".to_owned()))?;
        done("finding who keeps the group", found.error_code)?;
        Ok(address(&found.host, found.port))
    }
}

/// So long for a call that does not wait for others.
pub(crate) const WITHIN: Duration = ANSWER_MAX;
