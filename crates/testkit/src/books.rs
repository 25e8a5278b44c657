//! The books of a whole shop: what every service's journal and documents say, and the provider's ledger, and what must be
//! so among them. Looked at as an auditor would, without the services' own code.
//!
//! A check panics with what is wrong.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

use std::collections::{BTreeMap, BTreeSet};

use contracts::{EventData as _, PublicEvent, Service};
use serde_json::Value;

/// An event as it stands in a journal.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its place in the journal.
    pub position: u64,
    /// The place of the one before it in its lane.
    pub prev: u64,
    /// Its stream.
    pub stream: String,
    /// Its place in that.
    pub version: u64,
    /// The lane of its stream.
    pub lane: usize,
    /// Its id.
    pub id: String,
    /// Its type.
    pub event_type: String,
    /// When, in microseconds.
    pub time: i64,
    /// What happened.
    pub data: Value,
}

/// Where the books are kept.
pub trait Books {
    /// A service's journal.
    fn journal(&self, service: &str) -> Vec<Event>;

    /// The last position of a service's journal, and of each of its lanes.
    fn head(&self, service: &str) -> (u64, Vec<u64>);

    /// The documents of one collection.
    fn collection(&self, service: &str, name: &str) -> BTreeMap<String, Value>;

    /// The provider's ledger, line by line.
    fn ledger(&self) -> Vec<Value>;
}

fn services() -> impl Iterator<Item = &'static str> {
    Service::ALL.iter().map(|service| service.as_str())
}

/// What is still to be done by anybody but a customer: consumers that are behind, calls without an outcome, dead
/// letters.
pub fn unsettled(books: &impl Books) -> Vec<String> {
    let mut left = Vec::new();
    let heads: BTreeMap<&str, Vec<u64>> = services().map(|name| (name, books.head(name).1)).collect();
    for service in services() {
        let effects = books.collection(service, "effects");
        left.extend(
            effects
                .keys()
                .map(|intent| format!("{service} has not finished {intent}")),
        );
        let erased = books.collection(service, "erased_users");
        let unpurged = erased.values().filter(|user| !user["purge_at"].is_null());
        left.extend(unpurged.map(|user| format!("{service} has not purged {user}")));
        let letters = books.collection(service, "dead_letters");
        left.extend(
            letters
                .values()
                .filter(|letter| letter["discarded"].is_null())
                .map(|letter| format!("{service} has a dead letter: {letter}")),
        );
        let checkpoints = books.collection(service, "checkpoints");
        for group in groups(&checkpoints) {
            let source = group.split_once('/').unwrap().1;
            for (lane, head) in heads[source].iter().enumerate() {
                let at = checkpoints
                    .get(&format!("{group}/{lane}"))
                    .map_or(0, |it| it["position"].as_u64().unwrap());
                if at < *head {
                    left.push(format!("{service}'s {group} is at {at} of {head} in lane {lane}"));
                }
            }
        }
    }
    left
}

/// The consumers of a service and their sources, as `log/orders`.
fn groups(checkpoints: &BTreeMap<String, Value>) -> BTreeSet<&str> {
    checkpoints.keys().map(|id| id.rsplit_once('/').unwrap().0).collect()
}

/// The number of things of each sort.
pub fn counted<T: Ord>(things: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for thing in things {
        *counts.entry(thing).or_default() += 1;
    }
    counts
}

/// P3: Positions are dense, each event names its lane's previous one, streams count from 1, and time does not run back.
pub fn assert_journals_are_sound(books: &impl Books) {
    for service in services() {
        let (mut lanes, mut streams, mut ids) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let (mut last, mut time) = (0, i64::MIN);
        for event in books.journal(service) {
            assert_eq!(event.position, last + 1, "{service}: {event:?}");
            assert_eq!(
                event.prev,
                lanes.insert(event.lane, event.position).unwrap_or(0),
                "{service}: {event:?}"
            );
            let version = streams.insert(event.stream.clone(), event.version).unwrap_or(0);
            assert_eq!(event.version, version + 1, "{service}: {event:?}");
            assert!(event.time >= time, "{service}: {event:?}");
            assert!(ids.insert(event.id.clone()), "{service}: {event:?}");
            (last, time) = (event.position, event.time);
        }
        let (position, heads) = books.head(service);
        let lanes: Vec<u64> = (0..heads.len())
            .map(|lane| lanes.get(&lane).copied().unwrap_or(0))
            .collect();
        assert_eq!((position, heads), (last, lanes), "{service}");
    }
}

/// P10: Each consumer has applied every event of its sources, each once, or somebody has given it up.
pub fn assert_consumers_account_for_everything(books: &impl Books) {
    let in_lane: BTreeMap<(&str, usize), usize> = services()
        .flat_map(|service| counted(books.journal(service).iter().map(|it| (service, it.lane))))
        .collect();
    let mut consumers = 0;
    for service in services() {
        let checkpoints = books.collection(service, "checkpoints");
        consumers += groups(&checkpoints).len();
        for (id, checkpoint) in &checkpoints {
            let parts: Vec<&str> = id.split('/').collect();
            let lane: usize = parts[2].parse().unwrap();
            let count = |name: &str| checkpoint[name].as_u64().unwrap();
            assert_eq!(count("parked"), 0, "{service} {id}: {checkpoint}");
            assert_eq!(
                count("applied") + count("discarded"),
                // A consumer that begins at the present has a checkpoint in each lane from the first.
                in_lane.get(&(parts[1], lane)).copied().unwrap_or(0) as u64,
                "{service} {id}: {checkpoint}"
            );
        }
    }
    assert!(
        consumers > Service::ALL.len(),
        "{consumers} consumers are too few to prove anything"
    );
}

/// The log of the events service holds every public event of the other services, once, and nothing else.
pub fn assert_the_log_is_complete(books: &impl Books) {
    let public: BTreeSet<&str> = PublicEvent::TYPES.iter().map(|kind| kind.name).collect();
    let sources = services()
        .filter(|name| *name != "events")
        .flat_map(|name| books.journal(name));
    let told = sources.filter(|event| public.contains(event.event_type.as_str()));
    let (ids, types): (Vec<String>, Vec<String>) = told.map(|event| (event.id, event.event_type)).unzip();
    let log = books.journal("events");
    assert_eq!(
        counted(log.iter().map(|event| event.event_type.clone())),
        counted(types)
    );
    assert_eq!(counted(log.into_iter().map(|event| event.id)), counted(ids));
}

/// P6: What the provider took for each order, less what it gave back, in minor units; no payment was captured twice.
pub fn kept_by_order(books: &impl Books) -> BTreeMap<String, i64> {
    let payments: BTreeMap<String, Value> = books
        .journal("payments")
        .into_iter()
        .filter(|event| event.event_type == "payment.initiated")
        .map(|event| (event.data["payment_id"].as_str().unwrap().to_owned(), event.data))
        .collect();
    let mut kept = BTreeMap::new();
    let mut captured = BTreeSet::new();
    for entry in books.ledger() {
        let payment = entry["payment"].as_str().unwrap();
        let asked = payments
            .get(payment)
            .unwrap_or_else(|| panic!("the shop does not know of {entry}"));
        let order = asked["order_id"].as_str().unwrap().to_owned();
        let change = match (entry["request"].as_str(), entry["answer"].as_str()) {
            (Some("capture"), Some("captured")) => {
                assert!(captured.insert(payment.to_owned()), "captured twice: {entry}");
                asked["amount"]["amount"].as_i64().unwrap()
            }
            (Some("refund"), Some("refunded")) => -entry["amount"]["amount"].as_i64().unwrap(),
            _ => 0,
        };
        *kept.entry(order).or_default() += change;
    }
    kept
}

/// Steps that the customer is told of.
pub const STEPS: [&str; 7] = [
    "order.confirmed",
    "order.rejected",
    "order.paid",
    "order.cancelled",
    "order.expired",
    "order.fulfilled",
    "payment.refunded",
];

/// The word for where an order is.
#[must_use]
pub fn status(order: &Value) -> &str {
    let state = &order["state"];
    state
        .as_str()
        .unwrap_or_else(|| state.as_object().unwrap().keys().next().unwrap())
}

/// P5: What came is reserved, available or sold, and it is what the orders say.
pub fn assert_stock_adds_up(books: &impl Books, received: &BTreeMap<String, u64>) {
    let mut by_orders: BTreeMap<(String, &str), u64> = BTreeMap::new();
    let orders = books.collection("orders", "orders");
    for order in orders.values() {
        for line in order["lines"].as_array().unwrap() {
            let sku = line["sku"].as_str().unwrap().to_owned();
            *by_orders.entry((sku, status(order))).or_default() += line["quantity"].as_u64().unwrap();
        }
    }
    let mut delivered: BTreeMap<String, u64> = BTreeMap::new();
    for event in books.journal("orders") {
        if event.event_type == "order.refunded" && event.data["was"] == "fulfilled" {
            for line in orders[&event.stream]["lines"].as_array().unwrap() {
                let sku = line["sku"].as_str().unwrap().to_owned();
                *delivered.entry(sku).or_default() += line["quantity"].as_u64().unwrap();
            }
        }
    }
    for (sku, stock) in books.collection("inventory", "stock") {
        let number = |name: &str| stock[name].as_u64().unwrap_or_else(|| panic!("{name}: {stock}"));
        let (on_hand, reserved, sold) = (number("on_hand"), number("reserved"), number("sold"));
        let of = |status: &str| by_orders.get(&(sku.clone(), status)).copied().unwrap_or(0);
        assert_eq!(number("received"), received[&sku], "{stock}");
        assert!(reserved <= on_hand, "{stock}");
        assert_eq!(on_hand + sold, received[&sku], "{stock}");
        // What was delivered before its money was given back is not on the shelf again.
        let gone = of("paid") + of("fulfilled") + delivered.get(&sku).copied().unwrap_or(0);
        assert_eq!((reserved, sold), (of("confirmed"), gone), "{stock}");
    }
}

/// P6: Paid ⇔ the provider has captured the order's total, once, less what was refunded; what an admin declared paid and
/// whatever ended otherwise cost nothing, and what was never confirmed was not captured at all.
pub fn assert_money_adds_up(books: &impl Books) {
    assert_one_payment_at_a_time(books);
    assert_nothing_is_held(books);
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
    let confirmed = books
        .journal("orders")
        .into_iter()
        .filter(|event| event.event_type == "order.confirmed");
    let confirmed: BTreeSet<String> = confirmed.map(|event| event.stream).collect();
    for order in field("order_id") {
        assert!(confirmed.contains(&order), "{order} was captured and never confirmed");
    }
    let at_the_provider = books
        .ledger()
        .into_iter()
        .filter(|entry| entry["answer"] == "captured" && entry["request"] == "capture");
    let at_the_provider: BTreeSet<String> = at_the_provider
        .map(|entry| entry["payment"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(field("payment_id").collect::<BTreeSet<_>>(), at_the_provider);
    let mut refunded: BTreeMap<String, i64> = BTreeMap::new();
    for event in books.journal("payments") {
        if event.event_type == "payment.refunded" {
            let order = event.data["order_id"].as_str().unwrap().to_owned();
            *refunded.entry(order).or_default() += event.data["amount"]["amount"].as_i64().unwrap();
        }
    }
    let paid = books.journal("orders").into_iter();
    let paid_otherwise: BTreeSet<String> = paid
        .filter(|event| event.event_type == "order.paid" && event.data["paid_by"]["kind"] == "manual")
        .map(|event| event.stream)
        .collect();
    for (id, order) in books.collection("orders", "orders") {
        let expected = match status(&order) {
            "paid" | "fulfilled" if !paid_otherwise.contains(&id) => {
                order["total"]["amount"].as_i64().unwrap() - refunded.get(&id).copied().unwrap_or(0)
            }
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
        let pending = &payment["state"]["captured"]["pending"];
        assert!(
            pending.as_object().is_none_or(serde_json::Map::is_empty),
            "a refund is under way: {payment}"
        );
    }
}

/// P6: At any time an order has one payment that is under way or captured, at most.
fn assert_one_payment_at_a_time(books: &impl Books) {
    let mut holding: BTreeMap<String, String> = BTreeMap::new();
    for event in books.journal("payments") {
        let field = |name: &str| event.data[name].as_str().unwrap_or_default().to_owned();
        match event.event_type.as_str() {
            "payment.initiated" => {
                let before = holding.insert(field("order_id"), field("payment_id"));
                assert_eq!(before, None, "a second payment was begun: {event:?}");
            }
            "payment.failed" | "payment.voided" => {
                let before = holding.remove(&field("order_id"));
                assert_eq!(before, Some(field("payment_id")), "it was not under way: {event:?}");
            }
            _ => {}
        }
    }
}

/// What the provider did for a payment, in whatever order its log has that.
#[derive(Debug, Default)]
struct Account {
    /// Authorisations that it was asked for.
    asked: usize,
    /// Money was held, or would have been had the payer confirmed.
    was_open: bool,
    is_declined: bool,
    is_voided: bool,
    is_captured: bool,
}

/// P6: Once all is settled, the provider holds nobody's money ready: what was authorised was captured or let go, and the
/// payments say which.
fn assert_nothing_is_held(books: &impl Books) {
    let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
    for entry in books.ledger() {
        let payment = entry["payment"].as_str().unwrap().to_owned();
        let account = accounts.entry(payment).or_default();
        let (request, answer) = (entry["request"].as_str().unwrap(), entry["answer"].as_str().unwrap());
        account.asked += usize::from(request == "authorise");
        match (request, answer) {
            ("authorise", "authorised" | "requires_action") => account.was_open = true,
            ("authorise" | "act", "declined") => account.is_declined = true,
            ("void", "voided") => account.is_voided = true,
            ("capture", "captured") => account.is_captured = true,
            _ => {}
        }
    }
    let payments = books.collection("payments", "payments");
    for (id, account) in &accounts {
        assert_eq!(account.asked, 1, "{id} was authorised more than once: {account:?}");
        let is_over = account.is_declined || account.is_voided || account.is_captured;
        assert!(is_over || !account.was_open, "{id} is still held: {account:?}");
        let payment = payments.get(id).unwrap_or_else(|| panic!("there is no payment {id}"));
        let state = payment["state"]
            .as_str()
            .unwrap_or_else(|| payment["state"].as_object().unwrap().keys().next().unwrap());
        let fits = match state {
            "captured" => account.is_captured,
            "voided" => !account.is_captured && account.is_voided,
            _ => !account.is_captured && (account.is_declined || account.is_voided),
        };
        assert!(fits, "{id} is {state}, and at the provider {account:?}");
    }
}

/// P4: One message for each step, and each was handed over once as far as the journal knows.
pub fn assert_each_step_was_told_once(books: &impl Books) {
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
