//! What must be so after every run [P3 to P8, P10, P11, P13].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kernel::document::{Collection, Kind};
use kernel::event::Position;
use kernel::rebuild::rebuild;
use kernel::store::{Query, Store};
use serde_json::Value;
use testkit::books::{
    self, Books, Event, assert_consumers_account_for_everything, assert_journals_are_sound, assert_money_adds_up,
    assert_stock_adds_up, assert_the_log_is_complete,
};

use crate::people::{PERSONAL, People, Told};
use crate::world::{SERVICES, World};

/// All that the stores and the provider's log say, at one moment.
#[derive(Debug)]
pub(crate) struct Ledgers {
    journals: BTreeMap<&'static str, Journal>,
    documents: BTreeMap<(&'static str, &'static str), BTreeMap<String, Value>>,
    provider: Vec<Value>,
}

/// A service's events, and where its journal ends: in all, and in each lane.
#[derive(Debug)]
struct Journal {
    events: Vec<Event>,
    /// The same, whole, with what they carry beside their data.
    texts: Vec<String>,
    head: u64,
    lanes: Vec<u64>,
}

impl Ledgers {
    pub(crate) async fn read(world: &World) -> Self {
        let (mut journals, mut documents) = (BTreeMap::new(), BTreeMap::new());
        for (service, own, _) in SERVICES {
            let store = world.store(service);
            let (mut events, mut texts) = (Vec::new(), Vec::new());
            let mut after = Position::START;
            let head = loop {
                let tail = store.tail(after, usize::MAX).await.expect("a store in memory answers");
                match tail.events.last() {
                    Some(last) => after = last.position,
                    None => break tail.head,
                }
                events.extend(tail.events.iter().map(event));
                texts.extend(tail.events.iter().map(text));
            };
            let lanes = head.lanes.iter().map(|position| position.0).collect();
            let journal = Journal {
                events,
                texts,
                head: head.position.0,
                lanes,
            };
            journals.insert(service.as_str(), journal);
            for collection in kernel::engine::KERNEL_COLLECTIONS.iter().chain(own) {
                let found = all(store.as_ref(), collection).await;
                let found = found
                    .into_iter()
                    .map(|(id, document)| (id, serde_json::from_str(&document).expect("a document is JSON")));
                documents.insert((service.as_str(), collection.name), found.collect());
            }
        }
        Self {
            journals,
            documents,
            provider: world.house().log().values().cloned().collect(),
        }
    }

    /// What is left to do by anybody but a customer, and how far everything has come.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let mut left = books::unsettled(self);
        for (service, journal) in &self.journals {
            // A consumer that has never been handed anything has no checkpoint to be behind with.
            let cursors = self.collection(service, "relay_cursors");
            let published = cursors.get("bus").and_then(|cursor| cursor["position"].as_u64());
            if published.unwrap_or(0) < journal.head {
                left.push(format!("{service} has published {published:?} of {}", journal.head));
            }
        }
        left
    }

    /// Whether something waits for somebody to see to a dead letter.
    pub(crate) fn have_letters(&self) -> bool {
        SERVICES.iter().any(|(service, ..)| {
            let letters = self.collection(service.as_str(), "dead_letters");
            letters.values().any(|letter| letter["discarded"].is_null())
        })
    }

    pub(crate) fn heads(&self) -> Vec<u64> {
        self.journals.values().map(|journal| journal.head).collect()
    }

    /// Where the orders are, by the word for it.
    pub(crate) fn statuses(&self) -> BTreeMap<String, u64> {
        let mut statuses = BTreeMap::new();
        for order in self.collection("orders", "orders").values() {
            *statuses.entry(books::status(order).to_owned()).or_default() += 1;
        }
        statuses
    }
}

impl Books for Ledgers {
    fn journal(&self, service: &str) -> Vec<Event> {
        self.journals[service].events.clone()
    }

    fn head(&self, service: &str) -> (u64, Vec<u64>) {
        let Journal { head, lanes, .. } = &self.journals[service];
        (*head, lanes.clone())
    }

    fn collection(&self, service: &str, name: &str) -> BTreeMap<String, Value> {
        let found = self
            .documents
            .iter()
            .find(|((it, collection), _)| *it == service && *collection == name);
        found.map(|(_, documents)| documents.clone()).unwrap_or_default()
    }

    fn ledger(&self) -> Vec<Value> {
        self.provider.clone()
    }
}

fn event(recorded: &kernel::event::Recorded) -> Event {
    Event {
        position: recorded.position.0,
        prev: recorded.prev.0,
        stream: recorded.stream.to_string(),
        version: recorded.version,
        lane: recorded.lane.index(),
        id: recorded.id.to_string(),
        event_type: recorded.event_type.to_string(),
        time: recorded.time.as_microsecond(),
        data: serde_json::from_str(recorded.data.get()).expect("an event is JSON"),
    }
}

fn text(recorded: &kernel::event::Recorded) -> String {
    serde_json::to_string(recorded).expect("an event is JSON")
}

async fn all(store: &dyn Store, collection: &'static Collection) -> BTreeMap<String, Arc<str>> {
    let found = store.query(&Query::all(collection, usize::MAX)).await;
    let found = found.expect("a store in memory answers").into_iter();
    found
        .map(|found| (found.id.to_string(), found.stored.document))
        .collect()
}

/// Panics with what is wrong.
pub(crate) async fn audit(world: &World, people: &People) {
    let ledgers = Ledgers::read(world).await;
    let failed = world.failed();
    assert!(failed.is_empty(), "tasks of {failed:?} have panicked");
    only_poison_was_parked(world);
    assert_journals_are_sound(&ledgers);
    assert_consumers_account_for_everything(&ledgers);
    assert_the_log_is_complete(&ledgers);
    assert_stock_adds_up(&ledgers, &people.told().received);
    assert_money_adds_up(&ledgers);
    orders_are_as_acknowledged(&ledgers, &people.told());
    each_step_was_told_at_most_once(&ledgers, &people.told());
    nothing_personal_is_left(&ledgers, &people.told());
    views_equal_the_fold(world).await;
}

/// [P10] Nothing is parked but what the simulation has made unreadable, and what is behind that.
pub(crate) fn only_poison_was_parked(world: &World) {
    let strangers = world.poison().strangers();
    assert!(strangers.is_empty(), "dead letters of nobody's making: {strangers:#?}");
}

/// [P1, P7, P11] Every acknowledged order is there, as it was acknowledged; no request made two; none is on its way.
fn orders_are_as_acknowledged(ledgers: &Ledgers, told: &Told) {
    let orders = ledgers.collection("orders", "orders");
    for acknowledged in told.orders.values() {
        let id = acknowledged["id"].as_str().unwrap_or_default();
        let order = orders.get(id).unwrap_or_else(|| panic!("lost: {acknowledged}"));
        for field in ["id", "user_id", "lines", "total", "created_at"] {
            assert_eq!(order[field], acknowledged[field], "{field} of {order}");
        }
        for line in order["lines"].as_array().into_iter().flatten() {
            let prices = &told.prices[line["sku"].as_str().unwrap_or_default()];
            let price = line["unit_price"]["amount"].as_u64().unwrap_or_default();
            assert!(prices.contains(&price), "this was never the price: {line}");
        }
    }
    for (id, order) in &orders {
        let status = books::status(order);
        assert!(
            !["pending", "confirmed"].contains(&status),
            "{id} is {status} for ever: {order}"
        );
    }
    let mut by_request: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (id, texts) in ledgers.collection("orders", "order_texts") {
        if let Some(request) = texts["metadata"]["request"].as_str() {
            by_request.entry(request.to_owned()).or_default().push(id);
        }
    }
    for (request, orders) in by_request {
        assert_eq!(orders.len(), 1, "request {request} made {orders:?}");
    }
}

/// [P4] One message for each step, to whoever is still there.
fn each_step_was_told_at_most_once(ledgers: &Ledgers, told: &Told) {
    let bare = |id: &str| id.split_once('_').map_or(id, |(_, bare)| bare).to_owned();
    let steps = ["orders", "payments"]
        .into_iter()
        .flat_map(|service| ledgers.journal(service));
    let steps: BTreeMap<String, Event> = steps
        .filter(|event| books::STEPS.contains(&event.event_type.as_str()))
        .map(|event| (bare(&event.id), event))
        .collect();
    let queued = ledgers
        .journal("notifications")
        .into_iter()
        .filter(|event| event.event_type == "notification.queued");
    let queued = books::counted(queued.map(|event| bare(event.data["notification_id"].as_str().unwrap_or_default())));
    // Dead letters that are still there were given up.
    let given_up: BTreeSet<String> = ledgers
        .collection("notifications", "dead_letters")
        .values()
        .map(|letter| bare(letter["event"]["id"].as_str().unwrap_or_default()))
        .collect();
    for (id, times) in &queued {
        assert!(*times == 1 && steps.contains_key(id), "{times} messages {id}");
    }
    for (id, step) in steps {
        let user = step.data["user_id"].as_str().unwrap_or_default();
        assert!(
            queued.contains_key(&id) != given_up.contains(&id) || told.erased.contains_key(user),
            "nobody was told of {} {}",
            step.event_type,
            step.stream
        );
    }
}

/// [P13] No journal names anybody; of whoever is gone, no document has a word either, whosever it seems to be.
fn nothing_personal_is_left(ledgers: &Ledgers, told: &Told) {
    for (service, journal) in &ledgers.journals {
        for event in &journal.texts {
            assert!(!event.contains(PERSONAL), "{service}: {event}");
        }
    }
    for ((service, collection), documents) in &ledgers.documents {
        for (id, document) in documents {
            let text = document.to_string();
            let is_left = |word: &&String| text.contains(word.as_str()) || id.contains(word.as_str());
            let left = told.erased.values().find(is_left);
            assert_eq!(left, None, "{service} still has {collection}/{id}: {text}");
        }
    }
    // Texts stand apart from their order, which says whose they are.
    let orders = ledgers.collection("orders", "orders");
    for (id, texts) in ledgers.collection("orders", "order_texts") {
        let owner = orders[&id]["user_id"].as_str().unwrap_or_default();
        assert!(
            !told.erased.contains_key(owner),
            "the texts of {id} are still there: {texts}"
        );
    }
}

/// [P8] Views folded anew are as they were, byte for byte.
async fn views_equal_the_fold(world: &World) {
    for (service, collections, fold) in SERVICES {
        let store = world.store(service);
        let views: Vec<&'static Collection> = collections.iter().copied().filter(|it| it.kind == Kind::View).collect();
        let mut before = BTreeMap::new();
        for view in &views {
            before.insert(view.name, all(store.as_ref(), view).await);
        }
        let as_store: Arc<dyn Store> = Arc::clone(store) as _;
        let rebuilt = rebuild(&as_store, collections, fold, world.ids(), |_, _| {}).await;
        rebuilt.unwrap_or_else(|error| panic!("{service} cannot be rebuilt: {error}"));
        for view in views {
            let after = all(store.as_ref(), view).await;
            for (id, document) in &before[view.name] {
                assert_eq!(after.get(id), Some(document), "{service}: {}/{id}", view.name);
            }
            assert_eq!(before[view.name].len(), after.len(), "{service}: {}", view.name);
        }
    }
}
