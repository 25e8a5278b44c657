//! Whatever happens to a shop, its views are the fold of its journal.

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::PaymentId;
use contracts::order::Order;
use contracts::payment::Stage;
use kernel::document::Kind;
use kernel::store::Query;
use orders::COLLECTIONS;
use proptest::prelude::*;
use serde_json::json;

use crate::shop::{Shop, address, usd};

/// Something that happens to one of the orders, or beside them.
#[derive(Clone, Debug)]
enum Step {
    Place,
    PlaceWithAddress,
    Reserved,
    Rejected,
    Authorized,
    Captured,
    Failed(Stage),
    Voided,
    Refunded(i64),
    Status(&'static str),
    Move,
    Cancel,
    Pass(u64),
    Erase,
}

fn steps() -> impl Strategy<Value = Vec<(Step, usize)>> {
    let step = prop_oneof![
        2 => Just(Step::Place),
        2 => Just(Step::PlaceWithAddress),
        6 => Just(Step::Reserved),
        1 => Just(Step::Rejected),
        4 => Just(Step::Authorized),
        6 => Just(Step::Captured),
        1 => Just(Step::Failed(Stage::Authorize)),
        2 => Just(Step::Failed(Stage::Capture)),
        1 => Just(Step::Voided),
        1 => Just(Step::Refunded(1)),
        2 => Just(Step::Refunded(2500)),
        2 => prop_oneof![Just("paid"), Just("fulfilled"), Just("cancelled")].prop_map(Step::Status),
        1 => Just(Step::Move),
        1 => Just(Step::Cancel),
        2 => prop_oneof![Just(1), Just(20), Just(31)].prop_map(Step::Pass),
        1 => Just(Step::Erase),
    ];
    prop::collection::vec((step, 0..3_usize), 1..40)
}

/// Carries a step out on the order, and on its first payment or, rarely, its second.
async fn take(shop: &Shop, step: Step, order: &Order, payment: PaymentId) {
    match step {
        Step::Place | Step::PlaceWithAddress => {}
        Step::Reserved => shop.reserved(order).await,
        Step::Rejected => shop.rejected(order).await,
        Step::Authorized => shop.authorized(order, payment).await,
        Step::Captured => shop.captured(order, payment).await,
        Step::Failed(stage) => shop.failed(order, payment, stage).await,
        Step::Voided => shop.voided(order, payment).await,
        Step::Refunded(amount) => shop.refunded(order, payment, usd(amount)).await,
        Step::Status(status) => drop(shop.update(order, json!({"status": status}), shop.admin).await),
        Step::Move => {
            drop(
                shop.update(order, json!({"shipping_address": address("Herengracht 9")}), shop.admin)
                    .await,
            );
        }
        Step::Cancel => drop(shop.cancel(order, shop.ada).await),
        Step::Pass(minutes) => shop.pass(Duration::from_mins(minutes)).await,
        Step::Erase => shop.erase(shop.ada).await,
    }
}

/// Every view, byte for byte.
async fn views(shop: &Shop) -> BTreeMap<(&'static str, String), String> {
    let mut views = BTreeMap::new();
    for collection in COLLECTIONS.iter().filter(|collection| collection.kind == Kind::View) {
        let found = shop
            .harness
            .engine()
            .reader()
            .store()
            .query(&Query::all(collection, 1000))
            .await
            .unwrap();
        views.extend(
            found
                .into_iter()
                .map(|it| ((collection.name, it.id.to_string()), it.stored.document.to_string())),
        );
    }
    views
}

async fn run(steps: Vec<(Step, usize)>) {
    let shop = Shop::open().await;
    let mut orders: Vec<(Order, [PaymentId; 2])> = Vec::new();
    for (step, which) in steps {
        let placed = match step {
            Step::Place => shop
                .try_place(json!({"lines": [{"sku": "LAMP", "quantity": 2}]}), shop.ada)
                .await
                .ok(),
            Step::PlaceWithAddress => {
                let lines = json!([{"sku": "LAMP", "quantity": 2}]);
                let request = json!({"lines": lines, "shipping_address": address("Herengracht 1")});
                shop.try_place(request, shop.ada).await.ok()
            }
            _ => None,
        };
        orders.extend(placed.map(|order| (order, [shop.new_payment(), shop.new_payment()])));
        let chosen = if orders.is_empty() {
            None
        } else {
            orders.get(which % orders.len())
        };
        if let Some((order, payments)) = chosen {
            take(&shop, step, order, payments[usize::from(which == 2)]).await;
        }
    }
    let live = views(&shop).await;
    assert_eq!(live.len(), orders.len());
    let journal = shop.harness.journal().await;
    let paid = journal.iter().filter(|event| *event == "order.paid").count();
    assert!(paid <= orders.len());

    let engine = shop.harness.engine();
    engine.stop().await;
    let store = engine.reader().store();
    kernel::rebuild::rebuild(store, COLLECTIONS, orders::fold, engine.ids(), |_, _| {})
        .await
        .unwrap();
    assert_eq!(views(&shop).await, live);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn views_are_the_fold_of_the_journal_byte_for_byte(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(steps));
    }
}
