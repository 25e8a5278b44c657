//! Where a message goes: asked of users when it is sent, since addresses are in no event and in no replica.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::{Email, PersonName, UserId};
use kernel::clock::Clock;
use kernel::deadline::Expired;
use kernel::erasure::Purge;
use quick_cache::sync::Cache;

/// How long an answer is remembered: an order is confirmed and paid within seconds, and a changed address takes effect
/// soon.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Answers remembered at once.
const REMEMBERED_MAX: usize = 4096;
/// How long an answer is waited for.
const ASKING_MAX: Duration = Duration::from_secs(10);

/// Whom a message goes to. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address.
    pub email: Email,
    /// How to speak to the person.
    pub name: Option<PersonName>,
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipient(…)")
    }
}

/// Users does not answer; it is asked again for as long as it takes. The reason is for the log and holds nothing personal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("users does not answer: {0}")]
pub struct Unavailable(pub String);

/// Who knows the addresses: users, in the same process or over HTTP.
///
/// Implementations do not retry and do not remember; whoever asks does.
#[async_trait]
pub trait Recipients: Send + Sync + fmt::Debug {
    /// The user as a receiver of messages; `None` if there is no such user, any more or ever.
    async fn recipient(&self, user: UserId) -> Result<Option<Recipient>, Unavailable>;
}

/// Remembers answers for a moment.
pub(crate) struct AddressBook {
    recipients: Arc<dyn Recipients>,
    clock: Arc<dyn Clock>,
    remembered: Cache<UserId, Remembered>,
}

#[derive(Clone)]
struct Remembered {
    recipient: Arc<Recipient>,
    until: Duration,
}

impl fmt::Debug for AddressBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressBook")
            .field("recipients", &self.recipients)
            .finish_non_exhaustive()
    }
}

impl AddressBook {
    pub(crate) fn new(recipients: Arc<dyn Recipients>, clock: Arc<dyn Clock>) -> Self {
        Self {
            recipients,
            clock,
            remembered: Cache::new(REMEMBERED_MAX),
        }
    }

    pub(crate) async fn recipient(&self, user: UserId) -> Result<Option<Arc<Recipient>>, Unavailable> {
        let asked_at = self.clock.monotonic();
        if let Some(remembered) = self.remembered.get(&user).filter(|it| asked_at < it.until) {
            return Ok(Some(remembered.recipient));
        }
        let answer = tokio::select! {
            biased;
            answer = self.recipients.recipient(user) => answer?,
            () = self.clock.sleep(ASKING_MAX) => return Err(Unavailable("no answer in time".to_owned())),
        };
        let Some(recipient) = answer.map(Arc::new) else {
            self.remembered.remove(&user);
            return Ok(None);
        };
        self.remembered.insert(
            user,
            Remembered {
                recipient: Arc::clone(&recipient),
                until: asked_at + REMEMBERED,
            },
        );
        Ok(Some(recipient))
    }
}

/// Nothing personal is stored here; what is remembered is forgotten at once.
#[async_trait]
impl Purge for AddressBook {
    async fn purge(&self, user: UserId) -> Expired {
        self.remembered.remove(&user);
        Ok(())
    }
}
