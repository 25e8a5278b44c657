//! Somebody who asks until there is an answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use contracts::Service;
use serde_json::{Value, json};

use super::{PASSWORD, Told, locked};
use crate::fault::Fault;
use crate::world::{Answer, Request, World};

/// A pause before a request is repeated.
const PAUSE: Duration = Duration::from_millis(250);
/// The status of a payment whose card was declined.
const DECLINED: u16 = 402;
/// How often in a row a new token is asked for before it is believed that there is nobody by this name.
const RENEWALS_MAX: u32 = 5;
/// A request that has no answer after so many repetitions never will.
const REPETITIONS_MAX: u32 = 2_000;

/// Somebody; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(super) world: World,
    pub(super) told: Arc<Mutex<Told>>,
    email: String,
    pub(super) id: String,
    token: Arc<Mutex<Option<String>>>,
}

impl Person {
    pub(super) fn new(world: &World, told: &Arc<Mutex<Told>>, email: String, id: String) -> Self {
        Self {
            world: world.clone(),
            told: Arc::clone(told),
            email,
            id,
            token: Arc::default(),
        }
    }

    /// Has the account erased. Nothing with the word is to be left anywhere.
    pub(super) async fn leave(&self, word: &str) {
        let path = format!("/api/users/{}", self.id);
        let left = self.insist("DELETE", &path, None, None).await;
        // Gone already, if the answer to the first request was lost.
        assert!(matches!(left.status, 204 | 401 | 404), "{left:?}");
        locked(&self.told).erased.insert(self.id.clone(), word.to_owned());
    }

    /// Posts under a key, now and then twice at once: what is answered at all is answered the same.
    pub(super) async fn insist_perhaps_twice(&self, path: &str, body: Value, key: &str) -> Answer {
        let post = || self.insist("POST", path, Some(body.clone()), Some(key));
        if !self.world.faults().strikes(Fault::ClientTwice) {
            return post().await;
        }
        let (one, other) = futures::join!(post(), post());
        assert!(
            !is_recorded(&one) || !is_recorded(&other) || one.to_all() == other.to_all(),
            "{path}: {} and {}",
            one.text,
            other.text
        );
        if is_recorded(&one) { one } else { other }
    }

    /// Asks until there is an answer that is one.
    pub(super) async fn insist(
        &self,
        method: &'static str,
        path: &str,
        body: Option<Value>,
        key: Option<&str>,
    ) -> Answer {
        self.insist_as(method, path, body, key, true).await
    }

    pub(super) async fn insist_as(
        &self,
        method: &'static str,
        path: &str,
        body: Option<Value>,
        key: Option<&str>,
        signed_in: bool,
    ) -> Answer {
        let mut request = Request {
            method,
            path: path.to_owned(),
            token: None,
            key: key.map(str::to_owned),
            body,
            to: None,
        };
        let answer = self.insist_on(&mut request, signed_in).await;
        if request.key.is_some() && is_recorded(&answer) {
            let kept = (self.clone(), request, answer.clone());
            locked(&self.told).keyed.push(kept);
        }
        answer
    }

    /// Something of one service alone, without a key.
    pub(super) async fn ask_of(&self, service: Service, method: &'static str, path: &str) -> Answer {
        let mut request = Request {
            method,
            path: path.to_owned(),
            token: None,
            key: None,
            body: None,
            to: Some(service),
        };
        self.insist_on(&mut request, true).await
    }

    async fn insist_on(&self, request: &mut Request, signed_in: bool) -> Answer {
        let mut renewed = 0;
        for _ in 0..REPETITIONS_MAX {
            if signed_in {
                match self.token().await {
                    Some(token) => request.token = Some(token),
                    // Nobody by this name any more.
                    None => return refused_as_unknown(),
                }
            }
            match self.world.send(request).await {
                // Its time is over; or the clock has jumped to before its time.
                Some(answer) if answer.status == 401 && signed_in && renewed < RENEWALS_MAX => {
                    renewed += u32::from(answer.code() != "token-expired");
                    *locked(&self.token) = None;
                }
                // Nobody refers to what he has not been told of: it is on its way, and longer than the service thinks.
                Some(answer) if refers(request) && answer.status == 404 => drop(answer),
                Some(answer) if answer.status != 503 && answer.code() != "in-progress" => {
                    let word = format!("{} {} {}", request.action(), answer.status, answer.code());
                    *locked(&self.told)
                        .answers
                        .entry(word.trim_end().to_owned())
                        .or_default() += 1;
                    return answer;
                }
                // The token was good.
                Some(_) => renewed = 0,
                None => {}
            }
            self.world.clock().sleep(PAUSE).await;
        }
        panic!(
            "{} {} has no answer after {REPETITIONS_MAX} tries",
            request.method, request.path
        )
    }

    /// A token, after signing in if need be. `None` if the account is gone.
    async fn token(&self) -> Option<String> {
        if let Some(token) = locked(&self.token).clone() {
            return Some(token);
        }
        let request = Request {
            method: "POST",
            path: "/api/login".to_owned(),
            token: None,
            key: None,
            body: Some(json!({"email": self.email, "password": PASSWORD})),
            to: None,
        };
        for _ in 0..REPETITIONS_MAX {
            match self.world.send(&request).await {
                Some(answer) if answer.status == 200 => {
                    let token = answer.json["token"].as_str().unwrap_or_default().to_owned();
                    *locked(&self.token) = Some(token.clone());
                    return Some(token);
                }
                Some(answer) if answer.status == 401 => return None,
                _ => self.world.clock().sleep(PAUSE).await,
            }
        }
        panic!("{} cannot sign in after {REPETITIONS_MAX} tries", self.email)
    }
}

/// Whether a repetition is to have the same answer. Refusals change nothing, and are decided again; but a card that was
/// declined has made a payment, which failed.
fn is_recorded(answer: &Answer) -> bool {
    answer.status < 300 || answer.status == DECLINED
}

/// Whether the request is about something of another service's.
fn refers(request: &Request) -> bool {
    request.method == "POST" && (request.path == "/api/payments" || request.path.starts_with("/api/inventory"))
}

fn refused_as_unknown() -> Answer {
    Answer {
        status: 401,
        json: Value::Null,
        text: String::new(),
    }
}
