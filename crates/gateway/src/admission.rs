//! Who is let in: tokens are verified and requests counted here, before anything else is done with them.

use axum::response::{IntoResponse, Response};
use contracts::{Code, Problem};
use http::{HeaderMap, Uri};
use kernel::auth::{Caller, Refusal};
use kernel::http::{Failure, bearer_token};

use crate::Error;
use crate::front::Front;
use crate::limit::{Policy, Tally, Verdict};

/// Why a request goes no further.
pub(crate) struct Refused {
    failure: Failure,
    /// Whether it is because of its token.
    token: bool,
}

impl Refused {
    /// The problem that the client sees.
    pub(crate) fn render(self, uri: &Uri, request_id: &str) -> Response {
        kernel::http::render(self.failure.into_response(), uri, request_id, self.token)
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { failure, token: false }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Failure::from(error).into()
    }
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        Failure::from(code).into()
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            failure: refusal.into(),
            token: refusal != Refusal::KeysUnavailable,
        }
    }
}

impl Front {
    /// Counts the request, and says who sends it.
    ///
    /// A request with a bad token counts as one without: guessing tokens is no way around the limit. A service's own
    /// token is not limited, nor is one that cannot be verified now, since it may be a good one.
    pub(crate) async fn admit(
        &self,
        headers: &HeaderMap,
        network: u128,
        counts_anonymous: bool,
        tally: &mut Tally,
    ) -> Result<Option<Caller>, Refused> {
        self.count(Policy::Ip, network, tally).await?;
        let verified = match bearer_token(headers) {
            Ok(None) => Ok(None),
            Ok(Some(token)) => self.verifier.verify(token).await.map(Some),
            Err(refusal) => Err(refusal),
        };
        match &verified {
            Ok(Some(Caller::User(user))) => self.count(Policy::User, user.id.uuid().as_u128(), tally).await?,
            Ok(Some(Caller::Service(_))) | Err(Refusal::KeysUnavailable) => {}
            Ok(None) | Err(Refusal::Invalid(_) | Refusal::Expired | Refusal::Erased) => {
                if counts_anonymous {
                    self.count(Policy::Anonymous, network, tally).await?;
                }
            }
        }
        Ok(verified?)
    }

    async fn count(&self, policy: Policy, subject: u128, tally: &mut Tally) -> Result<(), Refused> {
        if !self.announced.is_on(policy) {
            return Ok(());
        }
        let verdict = self.limiter.take(policy, subject).await;
        tally.note(policy, verdict);
        match verdict {
            Verdict::Admitted { .. } => Ok(()),
            Verdict::Refused { retry_after } => {
                Err(Failure::from(Problem::new(Code::RateLimited).retry_after(retry_after)).into())
            }
        }
    }
}
