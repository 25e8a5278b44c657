//! The books: whatever happens, they add up, and folding the journal again gives the same.

use std::collections::BTreeMap;

use contracts::order::OrderStatus;
use contracts::stock::{AdjustStock, ReleasedFrom, SetStock};
use contracts::{EventData, OrderId, PublicEvent, ReservationId};
use inventory::{COLLECTIONS, fold};
use kernel::clock::Ids;
use kernel::document::Kind;
use kernel::event::{Position, Recorded};
use kernel::http::IfMatch;
use kernel::store::{Query, Store};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

use crate::shop::{Shop, cancelled, expired, paid, placed, refunded, rejected, sku};

const SKUS: [&str; 3] = ["A", "B", "C"];

#[derive(Clone, Debug)]
enum Step {
    Product(usize, u64),
    Placed(u8, Vec<(usize, u32)>),
    Paid(u8),
    Cancelled(u8, OrderStatus),
    Expired(u8),
    Rejected(u8),
    Refunded(u8, OrderStatus),
    Set(usize, u64),
    Adjust(usize, i64),
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let sku = || 0..SKUS.len();
    let order = || 0..6_u8;
    let lines = prop::collection::vec((sku(), 1..4_u32), 1..4);
    let was = || prop::sample::select(vec![OrderStatus::Pending, OrderStatus::Paid, OrderStatus::Fulfilled]);
    prop_oneof![
        2 => (sku(), 0..8_u64).prop_map(|(sku, pieces)| Step::Product(sku, pieces)),
        6 => (order(), lines).prop_map(|(order, lines)| Step::Placed(order, lines)),
        3 => order().prop_map(Step::Paid),
        2 => (order(), was()).prop_map(|(order, was)| Step::Cancelled(order, was)),
        1 => order().prop_map(Step::Expired),
        1 => order().prop_map(Step::Rejected),
        2 => (order(), was()).prop_map(|(order, was)| Step::Refunded(order, was)),
        2 => (sku(), 0..8_u64).prop_map(|(sku, pieces)| Step::Set(sku, pieces)),
        2 => (sku(), prop_oneof![-4..0_i64, 1..5_i64]).prop_map(|(sku, delta)| Step::Adjust(sku, delta)),
        3 => Just(Step::Settle),
    ]
}

async fn take(shop: &Shop, step: Step) {
    let order = |number: u8| OrderId::from_uuid(uuid::Uuid::from_u128(1 + u128::from(number)));
    let happens = async |number: u8, event: PublicEvent| shop.happens(order(number), event).await;
    match step {
        Step::Product(place, pieces) => shop.product(SKUS[place], pieces).await,
        Step::Placed(number, lines) => {
            let lines: Vec<(&str, u32)> = lines
                .into_iter()
                .map(|(place, quantity)| (SKUS[place], quantity))
                .collect();
            happens(number, placed(order(number), &lines).into()).await;
        }
        Step::Paid(number) => happens(number, paid(order(number)).into()).await,
        Step::Cancelled(number, was) => happens(number, cancelled(order(number), was).into()).await,
        Step::Expired(number) => happens(number, expired(order(number)).into()).await,
        Step::Rejected(number) => happens(number, rejected(order(number)).into()).await,
        Step::Refunded(number, was) => happens(number, refunded(order(number), was).into()).await,
        Step::Set(place, pieces) => {
            let request: SetStock = serde_json::from_value(json!({"on_hand": pieces})).unwrap();
            // A refusal changes nothing, which is what is looked at below.
            let _ = shop
                .inventory
                .set(sku(SKUS[place]), request, IfMatch::Absent, shop.admin())
                .await;
        }
        Step::Adjust(place, delta) => {
            let request: AdjustStock = serde_json::from_value(json!({"delta": delta, "reason": "counted"})).unwrap();
            let _ = shop.inventory.adjust(sku(SKUS[place]), request, shop.admin()).await;
        }
        Step::Settle => shop.settle().await,
    }
}

/// What a ledger kept by hand says of a SKU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ledger {
    on_hand: i64,
    reserved: i64,
    sold: i64,
    received: i64,
}

/// Reads the journal as a bookkeeper would, and never sees anything fall below zero.
fn audit(journal: &[Recorded]) -> BTreeMap<String, Ledger> {
    let mut ledgers: BTreeMap<String, Ledger> = BTreeMap::new();
    let mut open: BTreeMap<ReservationId, &str> = BTreeMap::new();
    for event in journal {
        let mut entry = |name: &str, on_hand: i64, reserved: i64, sold: i64, received: i64| {
            let ledger = ledgers.entry(name.to_owned()).or_default();
            ledger.on_hand += on_hand;
            ledger.reserved += reserved;
            ledger.sold += sold;
            ledger.received += received;
            assert!(
                ledger.reserved >= 0 && ledger.sold >= 0 && ledger.on_hand >= ledger.reserved,
                "{ledger:?}"
            );
            assert_eq!(ledger.on_hand + ledger.sold, ledger.received, "{ledger:?}");
            *ledger
        };
        let pieces = |quantity: u64| i64::try_from(quantity).unwrap();
        match PublicEvent::decode(&event.event_type, event.meta.schema, event.data.get()).unwrap() {
            PublicEvent::InventoryUpdated(it) => {
                let ledger = entry(it.sku.as_str(), it.delta, 0, 0, it.delta);
                assert_eq!(ledger.on_hand, pieces(it.on_hand));
                assert_eq!(ledger.on_hand - ledger.reserved, pieces(it.available));
            }
            PublicEvent::InventoryReserved(it) => {
                assert_eq!(open.insert(it.reservation_id, "reserved"), None);
                it.lines.iter().for_each(|line| {
                    entry(line.sku.as_str(), 0, pieces(line.quantity), 0, 0);
                });
            }
            PublicEvent::InventorySold(it) => {
                assert_eq!(open.insert(it.reservation_id, "sold"), Some("reserved"));
                it.lines.iter().for_each(|line| {
                    let quantity = pieces(line.quantity);
                    entry(line.sku.as_str(), -quantity, -quantity, quantity, 0);
                });
            }
            PublicEvent::InventoryReleased(it) => {
                let before = open.insert(it.reservation_id, "released");
                assert!(
                    before.is_none_or(|before| before == it.from.as_str()) && before.is_some() != it.lines.is_empty()
                );
                it.lines.iter().for_each(|line| {
                    let quantity = pieces(line.quantity);
                    match it.from {
                        ReleasedFrom::Reserved => entry(line.sku.as_str(), 0, -quantity, 0, 0),
                        ReleasedFrom::Sold => entry(line.sku.as_str(), quantity, 0, -quantity, 0),
                    };
                });
            }
            PublicEvent::InventoryRejected(it) => {
                assert_eq!(open.insert(it.reservation_id, "rejected"), None);
                assert!(
                    it.shortages
                        .iter()
                        .all(|shortage| shortage.available < shortage.requested)
                );
            }
            other => panic!("{other:?}"),
        }
    }
    ledgers
}

async fn views(store: &Arc<dyn Store>) -> Vec<(&'static str, Arc<str>, Arc<str>)> {
    let mut views = Vec::new();
    for collection in COLLECTIONS.iter().filter(|collection| collection.kind == Kind::View) {
        let found = store.query(&Query::all(collection, 1000)).await.unwrap();
        views.extend(
            found
                .into_iter()
                .map(|found| (collection.name, found.id, found.stored.document)),
        );
    }
    views
}

async fn run(steps: Vec<Step>) {
    let shop = Shop::open().await;
    for step in steps {
        take(&shop, step).await;
    }
    shop.settle().await;
    let store = Arc::clone(shop.harness.engine().reader().store());
    let journal = store.tail(Position::START, 10_000).await.unwrap().events;
    for (name, ledger) in audit(&journal) {
        let stock = shop.inventory.stock(&sku(&name)).await.unwrap();
        let shown = stock.shown();
        let of = |pieces: u64| i64::try_from(pieces).unwrap();
        let view = Ledger {
            on_hand: of(shown.on_hand),
            reserved: of(shown.reserved),
            sold: of(stock.sold()),
            received: of(stock.received()),
        };
        assert_eq!(view, ledger, "{name}");
        assert_eq!(shown.reserved + shown.available + stock.sold(), stock.received());
    }
    shop.harness.engine().stop().await;

    let live = views(&store).await;
    kernel::rebuild::rebuild(&store, COLLECTIONS, fold, &Ids::from_seed(1), |_, _| {})
        .await
        .unwrap();
    assert_eq!(views(&store).await, live);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_the_books_add_up_and_can_be_folded_again(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(steps));
    }
}
