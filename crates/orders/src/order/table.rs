//! The table of states, cell by cell, and what its cells together must never do.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use contracts::EventData;
use contracts::order::OrderStatus;
use contracts::payment::Stage;
use insta::assert_snapshot;
use kernel::aggregate::Aggregate;
use proptest::prelude::*;
use testkit::aggregate::given;
use testkit::lives::Life;

use super::fixture::*;
use super::*;

/// What comes of a command, in words: the events, or nothing, or the refusal.
fn outcome(decision: Result<Vec<Event>, Error>) -> String {
    match decision {
        Ok(events) if events.is_empty() => "already so".to_owned(),
        Ok(events) => {
            let words = events.iter().map(|event| match event {
                Event::PaymentNoted(noted) => format!("payment noted as {}", noted.status),
                event => event.event_type().trim_start_matches("order.").to_owned(),
            });
            words.collect::<Vec<_>>().join(" and ")
        }
        Err(error) => format!("refused: {error}"),
    }
}

/// Each command, with what comes of it and in which states that is so.
fn table() -> String {
    let mut table = String::new();
    for (name, command, now) in commands() {
        let mut outcomes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (state, history) in states() {
            let order = given::<Order>(history);
            let outcome = outcome(Order::decide(order.state(), command.clone(), now));
            outcomes.entry(outcome).or_default().push(state);
        }
        writeln!(table, "{name}").unwrap();
        for (outcome, states) in outcomes {
            writeln!(table, "    {outcome} ← {}", states.join(" | ")).unwrap();
        }
    }
    table
}

#[test]
fn the_table_says_what_comes_of_every_command_in_every_state() {
    assert_snapshot!(table(), @r"
    place
        already so ← pending | pending, authorized | pending, captured | confirmed | confirmed, authorized | rejected | paid | paid manually | fulfilled | fulfilled, paid manually | cancelled | cancelled, captured | expired | refunded
        placed ← nothing
    stock reserved
        already so ← confirmed | confirmed, authorized | rejected | paid | paid manually | fulfilled | fulfilled, paid manually | cancelled | cancelled, captured | expired | refunded
        confirmed ← pending | pending, authorized
        confirmed and paid ← pending, captured
        refused: there is no such order ← nothing
    stock rejected
        already so ← rejected | cancelled | cancelled, captured | expired | refunded
        refused: an order that is confirmed does not become rejected ← confirmed | confirmed, authorized
        refused: an order that is fulfilled does not become rejected ← fulfilled | fulfilled, paid manually
        refused: an order that is paid does not become rejected ← paid | paid manually
        refused: there is no such order ← nothing
        rejected ← pending | pending, authorized | pending, captured
    cancelled by its owner
        already so ← cancelled | cancelled, captured
        cancelled ← pending | pending, authorized | pending, captured | confirmed | confirmed, authorized | paid | paid manually
        refused: an order that is expired cannot be cancelled ← expired
        refused: an order that is fulfilled cannot be cancelled ← fulfilled | fulfilled, paid manually
        refused: an order that is refunded cannot be cancelled ← refunded
        refused: an order that is rejected cannot be cancelled ← rejected
        refused: there is no such order ← nothing
    cancelled by an admin
        already so ← cancelled | cancelled, captured
        cancelled ← pending | pending, authorized | pending, captured | confirmed | confirmed, authorized | paid | paid manually
        refused: an order that is expired cannot be cancelled ← expired
        refused: an order that is fulfilled cannot be cancelled ← fulfilled | fulfilled, paid manually
        refused: an order that is refunded cannot be cancelled ← refunded
        refused: an order that is rejected cannot be cancelled ← rejected
        refused: there is no such order ← nothing
    cancelled by erasure
        already so ← rejected | paid | paid manually | fulfilled | fulfilled, paid manually | cancelled | cancelled, captured | expired | refunded
        cancelled ← pending | pending, authorized | pending, captured | confirmed | confirmed, authorized
        refused: there is no such order ← nothing
    payment authorized
        already so ← pending, authorized | pending, captured | confirmed, authorized | paid | fulfilled | cancelled, captured | refunded
        payment noted as authorized ← pending | confirmed | rejected | paid manually | fulfilled, paid manually | cancelled | expired
        refused: there is no such order ← nothing
    payment captured
        already so ← pending, captured | paid | fulfilled | cancelled, captured | refunded
        paid ← confirmed | confirmed, authorized
        payment noted as captured ← pending | pending, authorized | rejected | paid manually | fulfilled, paid manually | cancelled | expired
        refused: there is no such order ← nothing
    too little captured
        already so ← pending, captured | paid | fulfilled | cancelled, captured | refunded
        payment noted as captured ← rejected | paid manually | fulfilled, paid manually | cancelled | expired
        refused: 24.99 USD was captured for an order of 25.00 USD ← pending | pending, authorized | confirmed | confirmed, authorized
        refused: there is no such order ← nothing
    payment failed at once
        already so ← pending, captured | paid | fulfilled | cancelled, captured | refunded
        payment noted as failed ← pending | pending, authorized | confirmed | confirmed, authorized | rejected | paid manually | fulfilled, paid manually | cancelled | expired
        refused: there is no such order ← nothing
    capture failed
        already so ← pending, captured | paid | fulfilled | cancelled, captured | refunded
        payment noted as failed ← pending | pending, authorized | confirmed | confirmed, authorized | rejected | paid manually | fulfilled, paid manually | cancelled | expired
        refused: there is no such order ← nothing
    payment voided
        already so ← pending, captured | paid | fulfilled | cancelled, captured | refunded
        payment noted as voided ← pending | pending, authorized | confirmed | confirmed, authorized | rejected | paid manually | fulfilled, paid manually | cancelled | expired
        refused: there is no such order ← nothing
    payment refunded in part
        already so ← refunded
        payment noted as partially_refunded ← pending | pending, authorized | pending, captured | confirmed | confirmed, authorized | rejected | paid | paid manually | fulfilled | fulfilled, paid manually | cancelled | cancelled, captured | expired
        refused: there is no such order ← nothing
    payment refunded
        already so ← refunded
        payment noted as refunded ← pending | pending, authorized | pending, captured | confirmed | confirmed, authorized | rejected | paid manually | fulfilled, paid manually | cancelled | cancelled, captured | expired
        refunded ← paid | fulfilled
        refused: there is no such order ← nothing
    another payment authorized
        payment noted as authorized ← pending | pending, authorized | pending, captured | confirmed | confirmed, authorized | rejected | paid | paid manually | fulfilled | fulfilled, paid manually | cancelled | cancelled, captured | expired | refunded
        refused: there is no such order ← nothing
    another payment captured
        paid ← confirmed | confirmed, authorized
        payment noted as captured ← pending | pending, authorized | pending, captured | rejected | paid | paid manually | fulfilled | fulfilled, paid manually | cancelled | cancelled, captured | expired | refunded
        refused: there is no such order ← nothing
    another payment refunded
        payment noted as refunded ← pending | pending, authorized | pending, captured | confirmed | confirmed, authorized | rejected | paid | paid manually | fulfilled | fulfilled, paid manually | cancelled | cancelled, captured | expired | refunded
        refused: there is no such order ← nothing
    paid manually
        already so ← paid | paid manually
        paid ← confirmed | confirmed, authorized
        refused: an order that is cancelled does not become paid ← cancelled | cancelled, captured
        refused: an order that is expired does not become paid ← expired
        refused: an order that is fulfilled does not become paid ← fulfilled | fulfilled, paid manually
        refused: an order that is pending does not become paid ← pending | pending, authorized | pending, captured
        refused: an order that is refunded does not become paid ← refunded
        refused: an order that is rejected does not become paid ← rejected
        refused: there is no such order ← nothing
    fulfil
        already so ← fulfilled | fulfilled, paid manually
        fulfilled ← paid | paid manually
        refused: an order that is cancelled does not become fulfilled ← cancelled | cancelled, captured
        refused: an order that is confirmed does not become fulfilled ← confirmed | confirmed, authorized
        refused: an order that is expired does not become fulfilled ← expired
        refused: an order that is pending does not become fulfilled ← pending | pending, authorized | pending, captured
        refused: an order that is refunded does not become fulfilled ← refunded
        refused: an order that is rejected does not become fulfilled ← rejected
        refused: there is no such order ← nothing
    expire, too early
        already so ← pending | pending, authorized | pending, captured | confirmed | confirmed, authorized | rejected | paid | paid manually | fulfilled | fulfilled, paid manually | cancelled | cancelled, captured | expired | refunded
        refused: there is no such order ← nothing
    expire
        already so ← pending | pending, authorized | pending, captured | confirmed, authorized | rejected | paid | paid manually | fulfilled | fulfilled, paid manually | cancelled | cancelled, captured | expired | refunded
        expired ← confirmed
        refused: there is no such order ← nothing
    updated by its owner
        refused: the texts of an order that is cancelled are settled ← cancelled | cancelled, captured
        refused: the texts of an order that is expired are settled ← expired
        refused: the texts of an order that is fulfilled are settled ← fulfilled | fulfilled, paid manually
        refused: the texts of an order that is refunded are settled ← refunded
        refused: the texts of an order that is rejected are settled ← rejected
        refused: there is no such order ← nothing
        updated ← pending | pending, authorized | pending, captured | confirmed | confirmed, authorized | paid | paid manually
    updated by an admin
        refused: there is no such order ← nothing
        updated ← pending | pending, authorized | pending, captured | confirmed | confirmed, authorized | rejected | paid | paid manually | fulfilled | fulfilled, paid manually | cancelled | cancelled, captured | expired | refunded
    ");
}

#[test]
fn nothing_happens_twice() {
    for (name, command, now) in commands() {
        for (state, history) in states() {
            let before = given::<Order>(history).at(now);
            let Ok(events) = Order::decide(before.state(), command.clone(), now) else {
                continue;
            };
            let after = events.into_iter().fold(before, |order, event| order.and(event));
            let status = after.state().map(Order::status);
            let again = Order::decide(after.state(), command.clone(), now);
            // Texts may change as often as somebody changes them; whether they do is known before.
            let is_update = matches!(command, Command::Update { .. });
            assert!(
                is_update || again.as_ref().is_ok_and(Vec::is_empty),
                "{name} in {state}: {again:?}"
            );
            assert_eq!(after.state().map(Order::status), status, "{name} in {state}");
        }
    }
}

#[test]
fn a_status_becomes_only_what_the_design_says() {
    for (name, command, now) in commands() {
        for (state, history) in states() {
            let before = given::<Order>(history);
            let from = before.state().map(Order::status);
            let Ok(events) = Order::decide(before.state(), command.clone(), now) else {
                continue;
            };
            for event in &events {
                assert!(is_legal(from, event), "{name} in {state}: {event:?}");
            }
        }
    }
}

/// The steps of the design, section 6.
fn is_legal(from: Option<OrderStatus>, event: &Event) -> bool {
    use OrderStatus::{Confirmed, Fulfilled, Paid, Pending};
    match event {
        Event::Placed(_) => from.is_none(),
        Event::Confirmed(_) | Event::Rejected(_) => from == Some(Pending),
        // A payment that came before the reservation pays in the commit that confirms.
        Event::Paid(_) => matches!(from, Some(Pending | Confirmed)),
        Event::Cancelled(_) => matches!(from, Some(Pending | Confirmed | Paid)),
        Event::Expired(_) => from == Some(Confirmed),
        Event::Fulfilled(_) => from == Some(Paid),
        Event::Refunded(_) => matches!(from, Some(Paid | Fulfilled)),
        Event::Updated(_) | Event::PaymentNoted(_) => from.is_some(),
    }
}

/// Everything that may come, of three payments, at any time within some hours.
fn anything() -> impl Strategy<Value = (Command, u32)> {
    let payment = prop_oneof![
        Just(PAYMENT),
        Just(OTHER),
        Just(PaymentId::from_uuid(uuid::Uuid::from_u128(9)))
    ];
    let fact = prop_oneof![
        Just(PaymentFact::Authorized),
        Just(captured()),
        Just(PaymentFact::Failed {
            stage: Stage::Authorize
        }),
        Just(PaymentFact::Failed { stage: Stage::Capture }),
        Just(PaymentFact::Voided),
        Just(refund(1)),
        Just(refund(2500)),
    ];
    let payments = (payment, fact).prop_map(|(payment, fact)| follow(payment, fact));
    let others = (0..commands().len()).prop_map(|index| commands()[index].1.clone());
    (prop_oneof![payments, others], 0..4 * 3600_u32)
}

proptest! {
    #[test]
    fn whatever_comes_in_whatever_order_an_order_is_paid_at_most_once_and_its_end_is_its_end(
        commands in prop::collection::vec(anything(), 0..40)
    ) {
        let mut life = Life::<Order>::default();
        let (mut payments, mut ended) = (0, None);
        for (command, seconds) in commands {
            life.pass(seconds);
            let mut from = life.state().map(Order::status);
            for event in life.ask(command) {
                prop_assert!(is_legal(from, &event), "{from:?} {event:?}");
                from = after(from, &event);
                payments += usize::from(matches!(event, Event::Paid(_)));
            }
            let Some(order) = life.state() else { continue };
            let status = order.status();
            prop_assert_eq!(from, Some(status));
            prop_assert!(ended.is_none_or(|ended| ended == status), "{ended:?} became {status}");
            ended = ended.or(Some(status).filter(|status| status.is_final()));
            prop_assert!(order.expires_at().is_none() || status == OrderStatus::Confirmed);
            let total = Money::checked_sum(order.total.currency(), order.lines.iter().map(|line| line.total));
            prop_assert_eq!(total, Ok(order.total));
        }
        prop_assert!(payments <= 1);
    }
}

/// The status that an event makes of another.
fn after(from: Option<OrderStatus>, event: &Event) -> Option<OrderStatus> {
    Some(match event {
        Event::Placed(_) => OrderStatus::Pending,
        Event::Confirmed(_) => OrderStatus::Confirmed,
        Event::Rejected(_) => OrderStatus::Rejected,
        Event::Paid(_) => OrderStatus::Paid,
        Event::Cancelled(_) => OrderStatus::Cancelled,
        Event::Expired(_) => OrderStatus::Expired,
        Event::Fulfilled(_) => OrderStatus::Fulfilled,
        Event::Refunded(_) => OrderStatus::Refunded,
        Event::Updated(_) | Event::PaymentNoted(_) => return from,
    })
}
