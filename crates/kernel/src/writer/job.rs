//! A command in the writer's queue, its types erased.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::context::Context;
use crate::overlay::Overlay;
use crate::unit::{Turn, Unit};
use crate::writer::Error;

/// How a decision ended.
pub(crate) enum Verdict {
    Accepted,
    Refused,
    Panicked(Arc<str>),
}

/// A command: decided any number of times, then settled once.
pub(crate) trait Job: Send {
    fn decide(&mut self, overlay: &mut Overlay, turn: &Turn) -> Verdict;
    /// Answers with the last decision, or with the reason why it could not be carried out.
    fn settle(self: Box<Self>, outcome: Result<(), Error>);
}

pub(crate) struct Call<F, R, E> {
    context: Context,
    decide: F,
    decision: Option<Result<R, E>>,
    answer: oneshot::Sender<Result<R, E>>,
}

impl<F, R, E> Call<F, R, E> {
    pub(crate) fn new(context: Context, decide: F, answer: oneshot::Sender<Result<R, E>>) -> Self {
        Self {
            context,
            decide,
            decision: None,
            answer,
        }
    }
}

impl<F, R, E> Job for Call<F, R, E>
where
    F: FnMut(&mut Unit<'_>) -> Result<R, E> + Send,
    R: Send,
    E: From<Error> + Send,
{
    fn decide(&mut self, overlay: &mut Overlay, turn: &Turn) -> Verdict {
        let mut unit = Unit::new(overlay, turn, &self.context);
        match catch_unwind(AssertUnwindSafe(|| (self.decide)(&mut unit))) {
            Ok(decision) => {
                let verdict = if decision.is_ok() {
                    Verdict::Accepted
                } else {
                    Verdict::Refused
                };
                self.decision = Some(decision);
                verdict
            }
            Err(panic) => Verdict::Panicked(panic_message(panic.as_ref())),
        }
    }

    fn settle(self: Box<Self>, outcome: Result<(), Error>) {
        let answer = match outcome {
            Ok(()) => self
                .decision
                .expect("a job is settled as carried out only after its decision"),
            Err(error) => Err(error.into()),
        };
        // The caller may have gone away; its command was carried out all the same.
        let _ = self.answer.send(answer);
    }
}

/// The text of a panic.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> Arc<str> {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").into()
}
