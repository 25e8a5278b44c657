//! Every cell: what each command decides in each state, and that deciding it again changes nothing.

use contracts::payment::{Authorized, Captured, Initiated};
use contracts::{Currency, EventData, Service};
use proptest::prelude::*;
use testkit::aggregate::{Given, given, nothing};
use testkit::lives::{Life, assert_views_are_the_fold};
use uuid::Uuid;

use super::*;
use crate::events::{CaptureRequested, VoidRequested};

const ORDER: OrderId = OrderId::from_uuid(Uuid::from_u128(1));
const USER: UserId = UserId::from_uuid(Uuid::from_u128(2));
const PAYMENT: PaymentId = PaymentId::from_uuid(Uuid::from_u128(3));
const OTHER: PaymentId = PaymentId::from_uuid(Uuid::from_u128(4));

fn usd(amount: i64) -> Money {
    Money::new(amount, Currency::USD).unwrap()
}

fn refund(number: u128) -> RefundId {
    RefundId::from_uuid(Uuid::from_u128(number))
}

fn code() -> Slug {
    "insufficient_funds".try_into().unwrap()
}

fn initiated() -> Initiated {
    Initiated {
        payment_id: PAYMENT,
        order_id: ORDER,
        user_id: USER,
        amount: usd(1000),
        provider: "simulated".into(),
        payment_method: None,
    }
}

fn over() -> Command {
    Command::FollowOrder {
        standing: Standing::Over,
        refund_id: refund(90),
    }
}

fn confirmed() -> Command {
    Command::FollowOrder {
        standing: Standing::Confirmed,
        refund_id: refund(91),
    }
}

fn request(number: u128, amount: Option<i64>) -> Command {
    Command::RequestRefund {
        refund_id: refund(number),
        amount: amount.map(usd),
        details: Vec::new(),
    }
}

fn given_back(number: u128) -> Command {
    Command::NoteRefundGiven {
        refund_id: refund(number),
    }
}

/// The payment after these commands, each of which must be accepted.
fn after(commands: impl IntoIterator<Item = Command>) -> Given<Payment> {
    let begun = given::<Payment>([initiated().into()]);
    commands.into_iter().fold(begun, |payment, command| {
        let events = Payment::decide(payment.state(), command, Timestamp::UNIX_EPOCH).unwrap();
        events.into_iter().fold(payment, Given::and)
    })
}

fn states() -> Vec<(&'static str, Given<Payment>)> {
    let captured = || vec![Command::NoteAuthorized, confirmed(), Command::NoteCaptured];
    let captured_and = |more: Vec<Command>| after(captured().into_iter().chain(more));
    vec![
        ("nothing", nothing()),
        ("authorizing", after([])),
        ("requires action", after([Command::NoteActionRequired])),
        ("authorized", after([Command::NoteAuthorized])),
        ("capturing", after([Command::NoteAuthorized, confirmed()])),
        ("captured", captured_and(vec![])),
        (
            "partly refunded",
            captured_and(vec![request(7, Some(400)), given_back(7)]),
        ),
        ("refund pending", captured_and(vec![request(7, Some(400))])),
        (
            "refund pending, over",
            captured_and(vec![request(7, Some(400)), over()]),
        ),
        ("refunded", captured_and(vec![request(7, None), given_back(7)])),
        ("voiding", after([Command::NoteAuthorized, over()])),
        ("voided", after([Command::NoteAuthorized, over(), Command::NoteVoided])),
        ("failed", after([Command::NoteDeclined { code: code() }])),
    ]
}

fn commands() -> Vec<(&'static str, Command)> {
    let follow = |standing| Command::FollowOrder {
        standing,
        refund_id: refund(8),
    };
    vec![
        ("initiate", Command::Initiate(initiated())),
        ("order pending", follow(Standing::Pending)),
        ("order confirmed", follow(Standing::Confirmed)),
        ("order paid by it", follow(Standing::Paid { by: Some(PAYMENT) })),
        ("order paid by other", follow(Standing::Paid { by: Some(OTHER) })),
        ("order paid manually", follow(Standing::Paid { by: None })),
        ("order over", follow(Standing::Over)),
        ("refund 600", request(9, Some(600))),
        ("refund the rest", request(9, None)),
        ("note authorized", Command::NoteAuthorized),
        ("note action required", Command::NoteActionRequired),
        ("note declined", Command::NoteDeclined { code: code() }),
        ("note captured", Command::NoteCaptured),
        ("note capture refused", Command::NoteCaptureRefused { code: code() }),
        ("note voided", Command::NoteVoided),
        ("note refund given", Command::NoteRefundGiven { refund_id: refund(7) }),
        (
            "note refund refused",
            Command::NoteRefundRefused {
                refund_id: refund(7),
                code: code(),
            },
        ),
    ]
}

/// A decision in a few words: the events without their prefix, `-` for "already so", the refusal in brackets.
fn cell(payment: &Given<Payment>, command: &Command) -> (String, Vec<Event>) {
    match Payment::decide(payment.state(), command.clone(), Timestamp::UNIX_EPOCH) {
        Err(error) => {
            let name = format!("{error:?}");
            (format!("[{}]", name.split([' ', '(']).next().unwrap()), Vec::new())
        }
        Ok(events) if events.is_empty() => ("-".into(), events),
        Ok(events) => {
            let words: Vec<String> = events
                .iter()
                .map(|event| {
                    let name = event.event_type().trim_start_matches("payment.");
                    match event {
                        Event::RefundRequested(it) => format!("{name} {}", it.amount.amount()),
                        Event::Refunded(it) => {
                            format!("{name} {}{}", it.amount.amount(), if it.full { " full" } else { "" })
                        }
                        Event::Failed(it) => format!("{name} {}", it.stage),
                        _ => name.into(),
                    }
                })
                .collect();
            (words.join(", "), events)
        }
    }
}

#[test]
fn every_command_in_every_state_happens_or_is_so_already_or_is_refused_by_name() {
    let mut table = String::new();
    for (state, payment) in states() {
        table.push_str(&format!("{state}\n"));
        for (name, command) in commands() {
            let (cell, _) = cell(&payment, &command);
            if cell != "-" {
                table.push_str(&format!("    {name}: {cell}\n"));
            }
        }
    }
    assert_eq!(table, include_str!("cells.txt"), "the table is now:\n{table}");
}

#[test]
fn whatever_comes_twice_happens_once() {
    for (state, payment) in states() {
        for (name, command) in commands() {
            let (_, events) = cell(&payment, &command);
            if events.is_empty() || matches!(command, Command::RequestRefund { .. }) {
                continue;
            }
            let then = events.into_iter().fold(payment.clone(), Given::and);
            let (again, _) = cell(&then, &command);
            assert_eq!(again, "-", "{name} again, in {state}");
        }
    }
}

/// A state that forgot its call would stand still for ever.
#[test]
fn a_payment_that_is_not_at_rest_waits_for_one_call() {
    for (state, payment) in states() {
        let Some(payment) = payment.state() else { continue };
        if !payment.is_at_rest() {
            assert_eq!(payment.calls().len(), 1, "{state}");
            assert!(payment.status().is_open(), "{state}");
        }
    }
}

#[test]
fn a_payment_is_captured_only_after_its_order_is_confirmed() {
    let authorized = after([Command::NoteAuthorized]);
    let capturing = authorized.when(confirmed()).then([CaptureRequested {
        payment_id: PAYMENT,
        order_id: ORDER,
        user_id: USER,
    }
    .into()]);
    let captured = Captured {
        payment_id: PAYMENT,
        order_id: ORDER,
        user_id: USER,
        amount: usd(1000),
    };
    capturing
        .when(Command::NoteCaptured)
        .then([captured.into()])
        .when(confirmed())
        .then_nothing();
}

#[test]
fn an_outcome_unknown_when_the_order_ends_is_undone_as_soon_as_it_is_known() {
    let (payment_id, order_id, user_id, amount) = (PAYMENT, ORDER, USER, usd(1000));
    let authorized = Authorized {
        payment_id,
        order_id,
        user_id,
        amount,
    }
    .into();
    let authorizing = after([]).when(over()).then_nothing();
    let authorized = authorizing.when(Command::NoteAuthorized).then([authorized]);
    authorized.when(over()).then([VoidRequested {
        payment_id,
        order_id,
        user_id,
    }
    .into()]);
}

#[test]
fn refunds_never_exceed_what_was_captured() {
    let captured = [Command::NoteAuthorized, confirmed(), Command::NoteCaptured];
    let payment = after(
        captured
            .into_iter()
            .chain([request(1, Some(400)), request(2, Some(500)), given_back(1)]),
    );
    let refused = payment.clone().when(request(3, Some(101))).then_refused();
    assert!(matches!(refused, Error::RefundExceedsCaptured), "{refused:?}");
    let amount = Some(Money::new(1, Currency::EUR).unwrap());
    let euro = Command::RequestRefund {
        refund_id: refund(3),
        amount,
        details: Vec::new(),
    };
    assert!(matches!(
        payment.clone().when(euro).then_refused(),
        Error::OtherCurrency
    ));
    let nothing = payment.clone().when(request(3, Some(0))).then_refused();
    assert!(matches!(nothing, Error::RefundExceedsCaptured), "{nothing:?}");
    assert_eq!(cell(&payment, &request(3, Some(100))).0, "refund_requested 100");
    assert_eq!(cell(&payment, &request(3, None)).0, "refund_requested 100");
    // What the provider refuses can be asked for again.
    let refused = Command::NoteRefundRefused {
        refund_id: refund(2),
        code: code(),
    };
    let (_, events) = cell(&payment, &refused);
    let payment = events.into_iter().fold(payment, Given::and);
    assert_eq!(cell(&payment, &request(4, None)).0, "refund_requested 600");
}

#[test]
fn refunds_under_way_are_limited() {
    let captured = [Command::NoteAuthorized, confirmed(), Command::NoteCaptured];
    let many = (0..REFUNDS_PENDING_MAX as u128).map(|number| request(1000 + number, Some(1)));
    let refused = after(captured.into_iter().chain(many))
        .when(request(1, Some(1)))
        .then_refused();
    assert!(matches!(refused, Error::TooManyRefunds), "{refused:?}");
}

/// Everything that may come. A refund that is asked for has the number of its command, as each has an id of its own.
fn anything(number: u128) -> impl Strategy<Value = Command> {
    let standing = prop::sample::select(vec![
        Standing::Pending,
        Standing::Confirmed,
        Standing::Confirmed,
        Standing::Paid { by: Some(PAYMENT) },
        Standing::Paid { by: None },
        Standing::Over,
    ]);
    let refund_id = refund(number);
    let earlier = (0..=number).prop_map(refund);
    let amount = prop_oneof![Just(None), (-1..400_i64).prop_map(Some), (900..1100_i64).prop_map(Some)];
    prop_oneof![
        2 => Just(Command::Initiate(initiated())),
        3 => standing.prop_map(move |standing| Command::FollowOrder { standing, refund_id }),
        5 => amount.prop_map(move |amount| request(number, amount)),
        3 => Just(Command::NoteAuthorized),
        1 => Just(Command::NoteActionRequired),
        1 => Just(Command::NoteDeclined { code: code() }),
        3 => Just(Command::NoteCaptured),
        1 => Just(Command::NoteCaptureRefused { code: code() }),
        1 => Just(Command::NoteVoided),
        4 => earlier.clone().prop_map(|refund_id| Command::NoteRefundGiven { refund_id }),
        2 => earlier.prop_map(|refund_id| Command::NoteRefundRefused { refund_id, code: code() }),
    ]
}

/// Often up to the money being taken in the usual way, since chance alone seldom comes so far.
fn anything_often_after_a_capture() -> impl Strategy<Value = Vec<Command>> {
    let usual = [
        Command::Initiate(initiated()),
        Command::NoteAuthorized,
        confirmed(),
        Command::NoteCaptured,
    ];
    let beginning = (0..=usual.len()).prop_map(move |length| usual[..length].to_vec());
    let rest = (0..25_usize).prop_flat_map(|length| (0..length as u128).map(anything).collect::<Vec<_>>());
    (beginning, rest).prop_map(|(beginning, rest)| beginning.into_iter().chain(rest).collect())
}

proptest! {
    #[test]
    fn whatever_comes_a_payment_is_captured_once_and_never_gives_back_more(
        commands in anything_often_after_a_capture()
    ) {
        let mut life = Life::<Payment>::default();
        let (mut captures, mut asked, mut given, mut refused) = (0, 0, 0, 0);
        for command in commands {
            life.pass(1);
            let before = life.state().map(|it| it.state.clone());
            for event in life.ask(command) {
                // The money moves only after the provider was asked to move it.
                let is_legal = match &event {
                    Event::Initiated(_) => before.is_none(),
                    Event::ActionRequired(_) => before == Some(State::Authorizing),
                    Event::Authorized(_) => matches!(before, Some(State::Authorizing | State::RequiresAction)),
                    Event::CaptureRequested(_) => before == Some(State::Authorized),
                    Event::Captured(_) => matches!(before, Some(State::Capturing | State::Voiding)),
                    Event::VoidRequested(_) => matches!(before, Some(State::RequiresAction | State::Authorized)),
                    Event::Voided(_) => before == Some(State::Voiding),
                    Event::Failed(_) => !matches!(
                        before,
                        None | Some(State::Voiding | State::Captured(_) | State::Voided | State::Failed { .. })
                    ),
                    Event::RefundRequested(_) | Event::Refunded(_) | Event::RefundFailed(_) => {
                        matches!(before, Some(State::Captured(_)))
                    }
                };
                prop_assert!(is_legal, "{before:?}: {event:?}");
                match event {
                    Event::Captured(_) => captures += 1,
                    Event::RefundRequested(it) => {
                        prop_assert!(it.amount.amount() > 0);
                        asked += it.amount.amount();
                    }
                    Event::Refunded(it) => {
                        given += it.amount.amount();
                        prop_assert_eq!(it.refunded_total.amount(), given);
                        prop_assert_eq!(it.full, given == it.captured.amount());
                    }
                    Event::RefundFailed(it) => refused += it.amount.amount(),
                    _ => {}
                }
            }
            prop_assert!(given <= asked - refused && asked - refused <= 1000, "{asked} asked, {given} given");
            prop_assert!(captures <= 1);
            let Some(payment) = life.state() else { continue };
            prop_assert_eq!(payment.amount, usd(1000));
            if let State::Captured(refunds) = &payment.state {
                let pending: i64 = refunds.pending.values().map(|it| it.amount.amount()).sum();
                prop_assert_eq!((refunds.given.amount(), pending), (given, asked - given - refused));
            }
            // Each call that it waits for is one that it has journaled.
            prop_assert!(payment.calls().is_empty() || !payment.is_at_rest() || captures == 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn views_of_payments_are_the_fold_of_the_journal(commands in anything_often_after_a_capture()) {
        let commands = commands.into_iter().map(|command| (PAYMENT.to_string(), command));
        assert_views_are_the_fold::<Payment>(Service::Payments, crate::COLLECTIONS, crate::fold, commands);
    }
}
