//! Why orders refuses.

use contracts::order::OrderStatus;
use contracts::{Code, Money, Price, Problem};
use jiff::Timestamp;
use kernel::reader::Folded;
use kernel::store::StoreError;
use kernel::writer;

/// Why a use case was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no such order, or it is not the caller's.
    #[error("there is no such order")]
    Unknown,
    /// Only an admin may do that.
    #[error("only an admin may do that")]
    Forbidden,
    /// The order has changed since the caller read it.
    #[error("the order has changed meanwhile")]
    Stale,
    /// The user for whom it is ordered is gone.
    #[error("the user was erased")]
    ErasedUser,
    /// Lines name products that cannot be ordered, as far as is known here.
    #[error("{} line(s) name no product that can be ordered", .0.len())]
    UnknownProduct(Vec<UnknownProduct>),
    /// A product may be on its way here; come back in a moment.
    #[error("a product may be on its way here")]
    CatchingUp,
    /// Products cost something else than the caller expects.
    #[error("{} line(s) cost something else", .0.len())]
    PriceChanged(Vec<PriceChanged>),
    /// The lines are in several currencies; place one order for each.
    #[error("the lines are in several currencies")]
    MixedCurrencies,
    /// The total is beyond what money can be.
    #[error("the total is too large")]
    TotalTooLarge,
    /// It is fulfilled or has ended.
    #[error("an order that is {status} cannot be cancelled")]
    NotCancellable {
        /// Where it is.
        status: OrderStatus,
    },
    /// The table of states has no such step.
    #[error("an order that is {from} does not become {to}")]
    IllegalTransition {
        /// Where it is.
        from: OrderStatus,
        /// Where it was to go.
        to: OrderStatus,
    },
    /// Its address and metadata cannot be changed any more.
    #[error("the texts of an order that is {status} are settled")]
    TextsSettled {
        /// Where it is.
        status: OrderStatus,
    },
    /// A payment took another amount than the order costs: a fault of payments, or an attempt to cheat.
    #[error("{captured} was captured for an order of {total}")]
    WrongAmount {
        /// What was taken.
        captured: Money,
        /// What is owed.
        total: Money,
    },
    /// The past was asked for by time and by version.
    #[error("at and version exclude each other")]
    TwoPasts,
    /// The store does not answer.
    #[error("the store is not available: {0}")]
    Store(std::sync::Arc<str>),
    /// The command was not carried out.
    #[error(transparent)]
    Write(#[from] writer::Error),
    /// A stored event does not decode.
    #[error("a stream cannot be folded: {0}")]
    Corrupt(std::sync::Arc<str>),
}

/// A line that names no product that can be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownProduct {
    /// Which line, from 0.
    pub line: usize,
    /// When the product was made, if it has never been seen and its id says so.
    pub made_at: Option<Timestamp>,
}

/// A line whose price is not the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceChanged {
    /// Which line, from 0.
    pub line: usize,
    /// What a piece costs.
    pub price: Price,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error.reason.into())
    }
}

impl From<Folded> for Error {
    fn from(error: Folded) -> Self {
        match error {
            Folded::Store(error) => error.into(),
            Folded::Decode(error) => Self::Corrupt(error.to_string().into()),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let words = error.to_string();
        match error {
            Error::Unknown => Code::NotFound.into(),
            Error::Forbidden => Code::Forbidden.into(),
            Error::Stale => Code::StaleVersion.into(),
            Error::ErasedUser => Self::new(Code::UnknownReference).error("user_id", "must be of a user who is there"),
            Error::UnknownProduct(lines) => lines.iter().fold(Self::new(Code::UnknownProduct), |problem, unknown| {
                problem.error(
                    format!("lines[{}]", unknown.line),
                    "must name a product of the catalogue",
                )
            }),
            Error::CatchingUp => Code::CatchingUp.into(),
            Error::PriceChanged(lines) => lines.iter().fold(Self::new(Code::PriceChanged), |problem, changed| {
                let field = format!("lines[{}].expected_unit_price", changed.line);
                problem.error(field, format_args!("is {} now", changed.price))
            }),
            Error::MixedCurrencies => Code::MixedCurrencies.into(),
            Error::TotalTooLarge => Self::invalid("lines", "must cost at most 2^53 - 1 minor units in all"),
            Error::NotCancellable { .. } => Self::new(Code::NotCancellable).detail(sentence(&words)),
            Error::IllegalTransition { .. } => Self::new(Code::IllegalTransition).detail(sentence(&words)),
            Error::TextsSettled { .. } => Self::new(Code::Conflict).detail(sentence(&words)),
            Error::WrongAmount { .. } | Error::Corrupt(_) => Code::Internal.into(),
            Error::TwoPasts => Self::new(Code::InvalidQuery).error("version", "must not be given together with `at`"),
            Error::Store(_) => Code::StoreUnavailable.into(),
            Error::Write(error) => error.into(),
        }
    }
}

/// An error's words, as a person is told.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(char::to_uppercase);
    format!(
        "{}{}.",
        first.into_iter().flatten().collect::<String>(),
        letters.as_str()
    )
}
