//! The ledger of the simulated provider: which requests it had, how it answered, and where each payment is for that.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use contracts::{Money, PaymentId, RefundId, Slug};
use serde::{Deserialize, Serialize};

use super::method::{self, Behaviour};

/// What the provider is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    Authorise {
        payment: PaymentId,
        amount: Money,
        method: Slug,
    },
    /// The payer does what was required, or does not.
    Act {
        payment: PaymentId,
        succeeds: bool,
    },
    Capture {
        payment: PaymentId,
    },
    Void {
        payment: PaymentId,
    },
    Refund {
        payment: PaymentId,
        refund: RefundId,
        amount: Money,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    Authorised,
    RequiresAction,
    Declined { code: Slug },
    Captured,
    Voided,
    Refunded,
    Refused { code: Slug },
}

/// A line of the ledger's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) key: Box<str>,
    #[serde(flatten)]
    pub(crate) request: Request,
    #[serde(flatten)]
    pub(crate) answer: Answer,
}

/// Where a payment is, for the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// The payer has to confirm.
    RequiresAction {
        /// How much.
        amount: Money,
    },
    /// It was declined; nothing is held.
    Declined,
    /// So much is held.
    Held {
        /// How much.
        amount: Money,
    },
    /// It was let go.
    Voided,
    /// It was taken.
    Captured {
        /// How much.
        amount: Money,
        /// How much of it was given back.
        refunded: Money,
    },
}

/// Everything that the provider knows.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accounts: HashMap<PaymentId, Account>,
    /// By key, with a hash of the request. It is all in memory, so neither keys nor requests are kept whole.
    answers: HashMap<KeyHash, (u64, Answer)>,
}

/// 128 bits of an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct KeyHash(u64, u64);

impl KeyHash {
    fn of(key: &str) -> Self {
        Self(hash(&(1, key)), hash(&(2, key)))
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Ledger {
    /// Answers a request under its key, once. If it is new, its line is added to `lines`, for the file.
    pub(crate) fn answer(&mut self, key: &str, request: Request, lines: &mut Vec<u8>) -> Result<Answer, String> {
        if let Some(answer) = self.find(key, &request)? {
            return Ok(answer);
        }
        let answer = self.decide(&request)?;
        let entry = Entry {
            key: key.into(),
            request,
            answer: answer.clone(),
        };
        serde_json::to_writer(&mut *lines, &entry).expect("an entry serialises");
        lines.push(b'\n');
        self.apply(entry);
        Ok(answer)
    }

    /// The answer that was given under this key. Another request under the same key is a contradiction.
    fn find(&self, key: &str, request: &Request) -> Result<Option<Answer>, String> {
        match self.answers.get(&KeyHash::of(key)) {
            Some((first, answer)) if *first == hash(request) => Ok(Some(answer.clone())),
            Some(_) => Err(format!("the idempotency key {key} was used for another request")),
            None => Ok(None),
        }
    }

    /// How a request that is made for the first time is answered. What cannot be is a contradiction.
    fn decide(&self, request: &Request) -> Result<Answer, String> {
        let code = |code: &str| Slug::try_from(code).expect("a constant word");
        let (&Request::Authorise { payment, .. }
        | &Request::Act { payment, .. }
        | &Request::Capture { payment }
        | &Request::Void { payment }
        | &Request::Refund { payment, .. }) = request;
        let account = self.accounts.get(&payment);
        match (request, account) {
            (Request::Authorise { method, .. }, None) => match method::behaviour(method.as_str()) {
                Some(Behaviour::Holds) => Ok(Answer::Authorised),
                Some(Behaviour::Asks) => Ok(Answer::RequiresAction),
                Some(Behaviour::Declines(reason)) => Ok(Answer::Declined { code: code(reason) }),
                None => Err(format!("there is no payment method {method}")),
            },
            (Request::Act { succeeds: true, .. }, Some(Account::RequiresAction { .. })) => Ok(Answer::Authorised),
            (Request::Act { succeeds: false, .. }, Some(Account::RequiresAction { .. })) => Ok(Answer::Declined {
                code: code("authentication_failed"),
            }),
            (Request::Capture { .. }, Some(Account::Held { .. })) => Ok(Answer::Captured),
            (Request::Capture { .. }, Some(Account::Voided)) => Ok(Answer::Refused {
                code: code("payment_voided"),
            }),
            (Request::Void { .. }, Some(Account::RequiresAction { .. } | Account::Held { .. } | Account::Declined)) => {
                Ok(Answer::Voided)
            }
            (Request::Void { .. }, Some(Account::Captured { .. })) => Ok(Answer::Captured),
            (
                Request::Refund { amount, .. },
                Some(Account::Captured {
                    amount: captured,
                    refunded,
                }),
            ) => {
                let rest = captured
                    .checked_sub(*refunded)
                    .and_then(|rest| amount.checked_cmp(rest));
                match rest {
                    Ok(order) if order.is_le() && amount.amount() > 0 => Ok(Answer::Refunded),
                    _ => Err(format!("{payment} has no {amount} left of {captured}")),
                }
            }
            (_, account) => Err(format!("{request:?} on {account:?}")),
        }
    }

    /// Enters what was decided.
    pub(crate) fn apply(&mut self, entry: Entry) {
        let Entry { key, request, answer } = entry;
        match (&request, &answer) {
            (&Request::Authorise { payment, amount, .. }, Answer::Authorised) => {
                self.accounts.insert(payment, Account::Held { amount });
            }
            (&Request::Authorise { payment, amount, .. }, Answer::RequiresAction) => {
                self.accounts.insert(payment, Account::RequiresAction { amount });
            }
            (&Request::Authorise { payment, .. } | &Request::Act { payment, .. }, Answer::Declined { .. }) => {
                self.accounts.insert(payment, Account::Declined);
            }
            (&Request::Void { payment }, Answer::Voided) => {
                self.accounts.insert(payment, Account::Voided);
            }
            (&Request::Act { payment, .. }, Answer::Authorised) => {
                if let Some(account) = self.accounts.get_mut(&payment)
                    && let Account::RequiresAction { amount } = *account
                {
                    *account = Account::Held { amount };
                }
            }
            (&Request::Capture { payment }, Answer::Captured) => {
                if let Some(account) = self.accounts.get_mut(&payment)
                    && let Account::Held { amount } = *account
                {
                    *account = Account::Captured {
                        amount,
                        refunded: Money::zero(amount.currency()),
                    };
                }
            }
            (&Request::Refund { payment, amount, .. }, Answer::Refunded) => {
                if let Some(Account::Captured { refunded, .. }) = self.accounts.get_mut(&payment) {
                    *refunded = refunded
                        .checked_add(amount)
                        .expect("no more is refunded than was captured");
                }
            }
            // Answers that change nothing.
            (_, Answer::Refused { .. } | Answer::Captured) => {}
            (request, answer) => tracing::warn!(?request, ?answer, "the ledger has an entry that makes no sense"),
        }
        self.answers.insert(KeyHash::of(&key), (hash(&request), answer));
    }

    pub(crate) fn accounts(&self) -> Vec<(PaymentId, Account)> {
        let sorted: BTreeMap<_, _> = self.accounts.iter().collect();
        sorted
            .into_iter()
            .map(|(&payment, &account)| (payment, account))
            .collect()
    }
}
