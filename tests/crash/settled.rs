//! What must be so once everything has settled, as the files tell it.
#![expect(unreachable_pub, reason = "nobody depends on a test; `pub` marks what its files use")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::books::{Books, SERVICES, counted, kept_by_order};
use crate::customers::Told;
use crate::support::{Server, id_of};

/// After a crash everything has settled within this time.
const SETTLED_SECONDS: u64 = 60;
const GLANCE: Duration = Duration::from_millis(100);
/// Steps that the customer is told of.
const STEPS: [&str; 7] = [
    "order.confirmed",
    "order.rejected",
    "order.paid",
    "order.cancelled",
    "order.expired",
    "order.fulfilled",
    "payment.refunded",
];

/// Waits until nothing is left to be done, and nothing more happens.
pub async fn wait(server: &Server) {
    let books = Books::of(&server.data());
    let heads = || SERVICES.map(|(service, _)| books.head(service).0);
    let (mut left, mut before) = (Vec::new(), None);
    let settling = async {
        loop {
            left = books.unsettled();
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

/// The word for where an order is.
fn status(order: &Value) -> &str {
    let state = &order["state"];
    state
        .as_str()
        .unwrap_or_else(|| state.as_object().unwrap().keys().next().unwrap())
}

/// [P1, P7, P11] Every acknowledged order is there once, as it was acknowledged; no request made two; none is on its way.
pub fn assert_orders_are_as_acknowledged(books: &Books, told: &Told) {
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
    let statuses = counted(orders.values().map(status));
    println!(
        "{} orders, {} of them acknowledged: {statuses:?}",
        orders.len(),
        told.orders.len()
    );
    assert!(!statuses.contains_key("pending"), "{statuses:?}");
}

/// [P5] What came is reserved, available or sold, and it is what the orders say.
pub fn assert_stock_adds_up(books: &Books, told: &Told) {
    let mut by_orders: BTreeMap<(String, &str), u64> = BTreeMap::new();
    let orders = books.collection("orders", "orders");
    for order in orders.values() {
        for line in order["lines"].as_array().unwrap() {
            let sku = line["sku"].as_str().unwrap().to_owned();
            *by_orders.entry((sku, status(order))).or_default() += line["quantity"].as_u64().unwrap();
        }
    }
    for (sku, stock) in books.collection("inventory", "stock") {
        let number = |name: &str| stock[name].as_u64().unwrap_or_else(|| panic!("{name}: {stock}"));
        let (on_hand, reserved, sold) = (number("on_hand"), number("reserved"), number("sold"));
        let of = |status: &str| by_orders.get(&(sku.clone(), status)).copied().unwrap_or(0);
        assert_eq!(number("received"), told.received[&sku], "{stock}");
        assert!(reserved <= on_hand, "{stock}");
        assert_eq!(on_hand + sold, told.received[&sku], "{stock}");
        assert_eq!(
            (reserved, sold),
            (of("confirmed"), of("paid") + of("fulfilled")),
            "{stock}"
        );
    }
}

/// [P6] Paid ⇔ the provider has captured the order's total, once; whatever ended otherwise cost nothing.
pub fn assert_money_adds_up(books: &Books) {
    let kept = kept_by_order(books);
    let captured = books
        .journal("payments")
        .into_iter()
        .filter(|event| event.event_type == "payment.captured");
    let captured: Vec<Value> = captured.map(|event| event.data).collect();
    let field = |name: &'static str| captured.iter().map(move |data| data[name].as_str().unwrap().to_owned());
    for (order, times) in counted(field("order_id")) {
        assert_eq!(times, 1, "{order} was captured {times} times");
    }
    let at_the_provider = books
        .ledger()
        .into_iter()
        .filter(|entry| entry["answer"] == "captured" && entry["request"] == "capture");
    let at_the_provider: BTreeSet<String> = at_the_provider
        .map(|entry| entry["payment"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(field("payment_id").collect::<BTreeSet<_>>(), at_the_provider);
    for (id, order) in books.collection("orders", "orders") {
        let expected = match status(&order) {
            "paid" | "fulfilled" => order["total"]["amount"].as_i64().unwrap(),
            _ => 0,
        };
        assert_eq!(kept.get(&id).copied().unwrap_or(0), expected, "{order}");
    }
    for payment in books.collection("payments", "payments").values() {
        let state = payment["state"]
            .as_str()
            .unwrap_or_else(|| payment["state"].as_object().unwrap().keys().next().unwrap());
        assert!(
            ["captured", "voided", "failed"].contains(&state),
            "a payment is under way: {payment}"
        );
    }
}

/// [P4] One message for each step, and each was handed over once as far as the journal knows.
pub fn assert_each_step_was_told_once(books: &Books) {
    let bare = |id: &str| id.split_once('_').unwrap().1.to_owned();
    let steps = ["orders", "payments"]
        .into_iter()
        .flat_map(|service| books.journal(service));
    let steps = steps.filter(|event| STEPS.contains(&event.event_type.as_str()));
    let steps = counted(steps.map(|event| bare(&event.id)));
    let journal = books.journal("notifications");
    for event_type in ["notification.queued", "notification.sent"] {
        let told = journal.iter().filter(|event| event.event_type == event_type);
        let told = counted(told.map(|event| bare(event.data["notification_id"].as_str().unwrap())));
        assert_eq!(told, steps, "{event_type}");
    }
}
