//! Every event of an order in every state of its reservation, everything twice.

use std::time::Duration;

use contracts::order::OrderStatus;
use contracts::{OrderId, PublicEvent};

use crate::shop::{Shop, cancelled, confirmed, expired, fulfilled, paid, placed, product_created, refunded, rejected};

const STOCK: u64 = 10;
const WANTED: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// The order was not seen.
    Absent,
    /// Its SKU was not seen.
    Waiting,
    Reserved,
    Rejected,
    Sold,
    Released,
    Returned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happens {
    Placed,
    Confirmed,
    Rejected,
    Paid,
    Cancelled,
    CancelledPaid,
    Expired,
    Fulfilled,
    RefundedPaid,
    RefundedFulfilled,
}

const BEFORE: [Before; 7] = [
    Before::Absent,
    Before::Waiting,
    Before::Reserved,
    Before::Rejected,
    Before::Sold,
    Before::Released,
    Before::Returned,
];

const HAPPENS: [Happens; 10] = [
    Happens::Placed,
    Happens::Confirmed,
    Happens::Rejected,
    Happens::Paid,
    Happens::Cancelled,
    Happens::CancelledPaid,
    Happens::Expired,
    Happens::Fulfilled,
    Happens::RefundedPaid,
    Happens::RefundedFulfilled,
];

/// What the reservation's stream holds afterwards, what is then (available, reserved, sold), and whether somebody has
/// to look at it.
fn expected(before: Before, happens: Happens) -> (&'static [&'static str], (u64, u64, u64), bool) {
    const UNTOUCHED: (u64, u64, u64) = (10, 0, 0);
    const HELD: (u64, u64, u64) = (8, 2, 0);
    const GONE: (u64, u64, u64) = (8, 0, 2);
    let ends = matches!(
        happens,
        Happens::Rejected | Happens::Cancelled | Happens::CancelledPaid | Happens::Expired | Happens::RefundedPaid
    );
    match (before, happens) {
        (Before::Absent, Happens::Placed) => (&["reserved"], HELD, false),
        (Before::Absent, Happens::Paid) => (&[], UNTOUCHED, true),
        (Before::Absent, _) if ends => (&["released"], UNTOUCHED, false),
        (Before::Absent, _) => (&[], UNTOUCHED, false),
        // The product comes in the end.
        (Before::Waiting, Happens::Paid) => (&["reserved"], HELD, true),
        (Before::Waiting, _) if ends => (&["released"], UNTOUCHED, false),
        (Before::Waiting, _) => (&["reserved"], HELD, false),
        (Before::Reserved, Happens::Paid) => (&["reserved", "sold"], GONE, false),
        (Before::Reserved, _) if ends => (&["reserved", "released"], UNTOUCHED, false),
        (Before::Reserved, _) => (&["reserved"], HELD, false),
        (Before::Rejected, Happens::Paid) => (&["rejected"], UNTOUCHED, true),
        (Before::Rejected, _) => (&["rejected"], UNTOUCHED, false),
        (Before::Sold, _) if ends => (&["reserved", "sold", "released"], UNTOUCHED, false),
        (Before::Sold, _) => (&["reserved", "sold"], GONE, false),
        (Before::Released, _) => (&["reserved", "released"], UNTOUCHED, false),
        (Before::Returned, _) => (&["reserved", "sold", "released"], UNTOUCHED, false),
    }
}

/// How the order came there.
fn history(before: Before, order: OrderId, sku: &str) -> Vec<PublicEvent> {
    let placed = placed(order, &[(sku, WANTED)]).into();
    match before {
        Before::Absent => Vec::new(),
        Before::Waiting | Before::Reserved => vec![placed],
        Before::Rejected => vec![crate::shop::placed(order, &[(sku, 11)]).into()],
        Before::Sold => vec![placed, confirmed(order).into(), paid(order).into()],
        Before::Released => vec![placed, expired(order).into()],
        Before::Returned => vec![placed, paid(order).into(), cancelled(order, OrderStatus::Paid).into()],
    }
}

fn event(happens: Happens, order: OrderId, sku: &str) -> PublicEvent {
    match happens {
        Happens::Placed => placed(order, &[(sku, WANTED)]).into(),
        Happens::Confirmed => confirmed(order).into(),
        Happens::Rejected => rejected(order).into(),
        Happens::Paid => paid(order).into(),
        Happens::Cancelled => cancelled(order, OrderStatus::Confirmed).into(),
        Happens::CancelledPaid => cancelled(order, OrderStatus::Paid).into(),
        Happens::Expired => expired(order).into(),
        Happens::Fulfilled => fulfilled(order).into(),
        Happens::RefundedPaid => refunded(order, OrderStatus::Paid).into(),
        Happens::RefundedFulfilled => refunded(order, OrderStatus::Fulfilled).into(),
    }
}

#[tokio::test(start_paused = true)]
async fn every_event_of_an_order_has_its_effect_once_in_every_state_of_its_reservation() {
    let shop = Shop::open().await;
    let mut cells = Vec::new();
    for before in BEFORE {
        for happens in HAPPENS {
            let order = OrderId::from_uuid(shop.harness.uuid());
            let sku = format!("{before:?}-{happens:?}");
            if before != Before::Waiting {
                shop.product(&sku, STOCK).await;
            }
            cells.push((before, happens, order, sku));
        }
    }
    shop.settle().await;
    for (before, happens, order, sku) in &cells {
        for event in history(*before, *order, sku)
            .into_iter()
            .chain([event(*happens, *order, sku)])
        {
            shop.happens(*order, event.clone()).await;
            shop.happens(*order, event).await;
        }
    }
    shop.settle().await;
    for (before, _, _, sku) in &cells {
        if *before == Before::Waiting {
            let created = product_created(sku, STOCK);
            shop.product(sku, STOCK).await;
            shop.harness
                .publish(contracts::Service::Catalog, created.product_id, created)
                .await;
        }
    }
    shop.settle().await;
    shop.pass(Duration::from_secs(10)).await;

    let letters = shop.dead_letters().await;
    for (before, happens, order, sku) in cells {
        let (steps, counts, parked) = expected(before, happens);
        assert_eq!(shop.steps(order).await, steps, "{sku}");
        assert_eq!(shop.counts(&sku).await, counts, "{sku}");
        let about = letters
            .iter()
            .filter(|letter| letter.subject == order.to_string())
            .count();
        assert_eq!(about, if parked { 2 } else { 0 }, "{sku}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_events_of_a_reservation_name_the_order_its_owner_and_its_lines() {
    let shop = Shop::open().await;
    shop.stocked("A", 10).await;
    let order = shop.order(&[("A", 1), ("A", 2)]).await;
    shop.happens(order, paid(order)).await;
    shop.happens(order, cancelled(order, OrderStatus::Paid)).await;
    shop.settle().await;
    let history = shop.history(order).await;
    assert_eq!(history.len(), 3);
    for event in history {
        let data: serde_json::Value = serde_json::from_str(event.data.get()).unwrap();
        assert_eq!(data["order_id"], order.to_string());
        assert_eq!(data["user_id"], crate::shop::buyer(order).to_string());
        assert_eq!(data["lines"][0]["quantity"], 3);
        assert_eq!(&*event.meta.actor, "service:inventory");
        assert!(event.meta.causation.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_of_several_skus_is_reserved_whole_or_not_at_all() {
    let shop = Shop::open().await;
    shop.product("A", 5).await;
    shop.stocked("B", 1).await;
    let too_much = shop.order(&[("A", 2), ("B", 2)]).await;
    shop.settle().await;
    assert_eq!(shop.steps(too_much).await, ["rejected"]);
    assert_eq!((shop.counts("A").await, shop.counts("B").await), ((5, 0, 0), (1, 0, 0)));
    let data: serde_json::Value = serde_json::from_str(shop.history(too_much).await[0].data.get()).unwrap();
    assert_eq!(
        data["shortages"],
        serde_json::json!([{"sku": "B", "requested": 2, "available": 1}])
    );

    let fits = shop.order(&[("A", 2), ("B", 1)]).await;
    shop.settle().await;
    assert_eq!(shop.steps(fits).await, ["reserved"]);
    assert_eq!((shop.counts("A").await, shop.counts("B").await), ((3, 2, 0), (0, 1, 0)));
}

#[tokio::test(start_paused = true)]
async fn an_archived_product_is_still_reserved() {
    let shop = Shop::open().await;
    shop.stocked("A", 5).await;
    let created = product_created("A", 5);
    let archived = contracts::product::Archived {
        product_id: created.product_id,
        sku: created.sku,
    };
    shop.harness
        .publish(contracts::Service::Catalog, created.product_id, archived)
        .await;
    shop.settle().await;
    let order = shop.order(&[("A", 5)]).await;
    shop.settle().await;
    assert_eq!(shop.steps(order).await, ["reserved"]);
}
