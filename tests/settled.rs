//! What must be so once everything has settled, as the files tell it.
#![expect(unreachable_pub, reason = "nobody depends on a test; `pub` marks what its files use")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use testkit::books::{
    Books as _, Event, assert_consumers_account_for_everything, assert_each_step_was_told_once,
    assert_journals_are_sound, assert_money_adds_up, assert_stock_adds_up, assert_the_log_is_complete, counted, status,
    unsettled,
};

use crate::books::{Books, SERVICES};
use crate::customers::Told;
use crate::support::id_of;

/// After a crash everything has settled within this time.
const SETTLED_SECONDS: u64 = 60;
const GLANCE: Duration = Duration::from_millis(100);

/// Waits until nothing is left to be done, and nothing more happens.
pub async fn wait(books: &Books) {
    let heads = || SERVICES.map(|(service, _)| books.head(service).0);
    let (mut left, mut before) = (Vec::new(), None);
    let settling = async {
        loop {
            left = unsettled(books);
            let now = heads();
            if left.is_empty() && before == Some(now) {
                return;
            }
            before = Some(now);
            tokio::time::sleep(GLANCE).await;
        }
    };
    let settled = tokio::time::timeout(Duration::from_secs(SETTLED_SECONDS), settling).await;
    assert!(settled.is_ok(), "not settled after {SETTLED_SECONDS} s: {left:#?}");
}

/// The books of a shop that has settled, of which its customers were told this.
pub fn assert_books_are_right(books: &Books, told: &Told) {
    assert_journals_are_sound(books);
    assert_consumers_account_for_everything(books);
    assert_the_log_is_complete(books);
    assert_all_is_as_acknowledged(books, told);
    assert_stock_adds_up(books, &told.received);
    assert_money_adds_up(books);
    assert_each_step_was_told_once(books);
}

/// P1, P7, P11: Every acknowledged order is there once, as it was acknowledged, and so are payments, refunds, and what was
/// cancelled or sent off; no request made two; none is on its way.
fn assert_all_is_as_acknowledged(books: &Books, told: &Told) {
    let orders = books.collection("orders", "orders");
    for acknowledged in told.orders.values() {
        let order = orders
            .get(&id_of(acknowledged))
            .unwrap_or_else(|| panic!("lost: {acknowledged}"));
        for field in ["id", "user_id", "lines", "total", "created_at"] {
            assert_eq!(order[field], acknowledged[field], "{field} of {order}");
        }
    }
    let texts = books.collection("orders", "order_texts");
    let requests = texts
        .iter()
        .map(|(order, texts)| (texts["metadata"]["request"].as_str().unwrap(), order));
    let mut orders_of: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    requests.for_each(|(request, order)| orders_of.entry(request).or_default().push(order));
    assert_eq!(orders_of.values().map(Vec::len).sum::<usize>(), orders.len());
    for (request, orders) in &orders_of {
        assert_eq!(orders.len(), 1, "{request} made {orders:?}");
        if let Some(acknowledged) = told.orders.get(*request) {
            assert_eq!(*orders[0], id_of(acknowledged), "{request}");
        }
    }
    let placed = books
        .journal("orders")
        .into_iter()
        .filter(|event| event.event_type == "order.placed");
    assert_eq!(
        counted(placed.map(|event| event.stream)),
        orders.keys().map(|id| (id.clone(), 1)).collect()
    );
    let events = |service: &str, event_type: &str| {
        let of_type = move |event: &Event| event.event_type == event_type;
        let streams = books.journal(service).into_iter().filter(of_type);
        streams.map(|event| event.stream).collect::<BTreeSet<_>>()
    };
    let cancelled = events("orders", "order.cancelled");
    let lost: Vec<&String> = told.cancelled.difference(&cancelled).collect();
    assert!(lost.is_empty(), "cancelled as they were told, and not: {lost:?}");
    let fulfilled = events("orders", "order.fulfilled");
    let lost: Vec<&String> = told.fulfilled.difference(&fulfilled).collect();
    assert!(lost.is_empty(), "sent off as they were told, and not: {lost:?}");
    let journal = books.journal("payments").into_iter();
    let asked = journal.filter(|event| event.event_type == "payment.refund_requested");
    let asked: Vec<String> = asked
        .map(|event| event.data["refund_id"].as_str().unwrap().to_owned())
        .collect();
    let lost: Vec<&String> = told.refunds.iter().filter(|id| !asked.contains(id)).collect();
    assert!(lost.is_empty(), "given back as they were told, and not: {lost:?}");
    let payments = events("payments", "payment.initiated");
    let lost: Vec<&String> = told.payments.difference(&payments).collect();
    assert!(lost.is_empty(), "paid as they were told, and not: {lost:?}");
    let statuses = counted(orders.values().map(status));
    assert!(!statuses.contains_key("pending"), "{statuses:?}");
}
