//! What can be asked of the inventory.

use std::time::Duration;

use contracts::stock::{AdjustStock, ListStock, SetStock};
use contracts::{Code, Problem, Service, UserId, user};
use inventory::Error;
use kernel::document::{Collection, Kind};
use kernel::freshness::Missing;
use kernel::http::{IfMatch, Paging};
use kernel::store::Query;
use serde_json::json;

use crate::shop::{Shop, sku};

fn set(on_hand: u64) -> SetStock {
    serde_json::from_value(json!({"on_hand": on_hand})).unwrap()
}

fn adjust(delta: i64) -> AdjustStock {
    serde_json::from_value(json!({"delta": delta, "reason": "Ada dropped them"})).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_product_begins_with_its_first_stock() {
    let shop = Shop::open().await;
    shop.stocked("A", 5).await;
    shop.stocked("B", 0).await;
    let stock = shop.stock("A").await;
    assert_eq!(
        (stock.on_hand, stock.reserved, stock.available, stock.version),
        (5, 0, 5, 1)
    );
    assert_eq!(shop.stock("B").await.on_hand, 0);
    assert_eq!(shop.harness.journal().await, ["inventory.updated", "inventory.updated"]);
}

#[tokio::test(start_paused = true)]
async fn a_set_covers_what_is_reserved() {
    let shop = Shop::open().await;
    shop.stocked("A", 5).await;
    shop.order(&[("A", 3)]).await;
    shop.settle().await;
    let refused = shop
        .inventory
        .set(sku("A"), set(2), IfMatch::Absent, shop.admin())
        .await;
    assert!(matches!(refused, Err(Error::BelowReserved)), "{refused:?}");
    let stock = shop
        .inventory
        .set(sku("A"), set(3), IfMatch::Absent, shop.admin())
        .await
        .unwrap();
    assert_eq!(
        (stock.on_hand, stock.reserved, stock.available, stock.version),
        (3, 3, 0, 3)
    );
    let again = shop
        .inventory
        .set(sku("A"), set(3), IfMatch::Absent, shop.admin())
        .await
        .unwrap();
    assert_eq!(again, stock);
}

#[tokio::test(start_paused = true)]
async fn a_stale_if_match_changes_nothing() {
    let shop = Shop::open().await;
    shop.stocked("A", 5).await;
    let stale = shop
        .inventory
        .set(sku("A"), set(9), IfMatch::Versions(vec![7]), shop.admin())
        .await;
    assert!(matches!(stale, Err(Error::Stale)), "{stale:?}");
    // A reservation changes the stock too, though not the SKU's own stream.
    shop.order(&[("A", 1)]).await;
    shop.settle().await;
    let fresh = shop
        .inventory
        .set(sku("A"), set(9), IfMatch::Versions(vec![2]), shop.admin())
        .await
        .unwrap();
    assert_eq!((fresh.on_hand, fresh.version), (9, 3));
}

#[tokio::test(start_paused = true)]
async fn an_adjustment_keeps_its_reason_beside_the_event() {
    let shop = Shop::open().await;
    shop.stocked("A", 5).await;
    let stock = shop.inventory.adjust(sku("A"), adjust(-2), shop.admin()).await.unwrap();
    assert_eq!((stock.on_hand, stock.version), (3, 2));
    let refused = shop.inventory.adjust(sku("A"), adjust(-4), shop.admin()).await;
    assert!(matches!(refused, Err(Error::BelowReserved)), "{refused:?}");

    let engine = shop.harness.engine();
    let history = engine
        .reader()
        .history(&inventory::Stock::stream(&sku("A")))
        .await
        .unwrap();
    assert!(history.iter().all(|event| !event.data.get().contains("Ada")));
    let kept = engine.reader().find(&Query::all(reasons(), 10)).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(*kept[0].id, history[1].id.to_string());
    assert!(kept[0].stored.document.contains("Ada dropped them"));
}

#[tokio::test(start_paused = true)]
async fn the_reasons_of_an_erased_user_are_deleted_and_the_stock_stays() {
    let shop = Shop::open().await;
    shop.stocked("A", 5).await;
    let [gone, stays] = [(); 2].map(|()| UserId::from_uuid(shop.harness.uuid()));
    for author in [gone, stays, gone] {
        shop.inventory
            .adjust(sku("A"), adjust(1), shop.harness.context(author))
            .await
            .unwrap();
    }
    let erased: user::Erased = serde_json::from_value(json!({"user_id": gone})).unwrap();
    shop.harness.publish(Service::Users, gone, erased).await;
    shop.settle().await;
    shop.pass(Duration::from_secs(3)).await;
    let kept = shop
        .harness
        .engine()
        .reader()
        .find(&Query::all(reasons(), 10))
        .await
        .unwrap();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].stored.document.contains(&stays.to_string()));
    assert_eq!(shop.stock("A").await.on_hand, 8);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_sku_is_waited_for() {
    let shop = Shop::open().await;
    shop.pass(Duration::from_secs(2)).await;
    let (found, ()) = tokio::join!(shop.stock("A"), async {
        shop.pass(Duration::from_millis(100)).await;
        shop.product("A", 5).await;
    });
    assert_eq!(found.on_hand, 5);
    let (set, ()) = tokio::join!(
        shop.inventory.set(sku("B"), set(7), IfMatch::Absent, shop.admin()),
        async {
            shop.pass(Duration::from_millis(100)).await;
            shop.product("B", 5).await;
        }
    );
    assert_eq!(set.unwrap().on_hand, 7);
    let missing = shop.inventory.stock(&sku("C")).await;
    assert!(matches!(missing, Err(Error::Missing(Missing::Unknown))), "{missing:?}");
    let missing = shop.inventory.adjust(sku("C"), adjust(1), shop.admin()).await;
    assert!(matches!(missing, Err(Error::Missing(Missing::Unknown))), "{missing:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_sku_may_be_on_its_way_while_the_catalogue_is_ahead() {
    let shop = Shop::open().await;
    // Nobody can count so many: the lane of this product is held until it is parked.
    shop.product("TOO-MANY", u64::MAX).await;
    shop.pass(Duration::from_millis(500)).await;
    let missing = shop.inventory.stock(&sku("A")).await.unwrap_err();
    assert!(matches!(missing, Error::Missing(Missing::CatchingUp)), "{missing:?}");
    let problem = Problem::from(missing);
    assert_eq!(
        (problem.code, problem.retry_after_seconds()),
        (Code::CatchingUp, Some(1))
    );
    shop.pass(Duration::from_secs(5)).await;
    let missing = shop.inventory.stock(&sku("A")).await.unwrap_err();
    assert!(matches!(missing, Error::Missing(Missing::Unknown)), "{missing:?}");
}

#[tokio::test(start_paused = true)]
async fn stocks_are_listed_by_what_is_available() {
    let shop = Shop::open().await;
    for (name, pieces) in [("A", 5), ("B", 9), ("C", 2), ("D", 4)] {
        shop.stocked(name, pieces).await;
    }
    shop.order(&[("B", 8)]).await;
    shop.settle().await;
    let below = async |available_below, limit: u64, cursor| {
        let filter = ListStock {
            available_below,
            limit: limit.try_into().unwrap(),
            cursor,
        };
        let paging = Paging::new(filter.limit, filter.cursor.as_ref()).unwrap();
        let page = shop.inventory.stocks(&filter, &paging).await.unwrap();
        let listed: Vec<(String, u64)> = page
            .data
            .into_iter()
            .map(|stock| (stock.sku.into_string(), stock.available))
            .collect();
        (listed, page.next_cursor)
    };
    let owned = |listed: &[(&str, u64)]| -> Vec<(String, u64)> {
        listed
            .iter()
            .map(|(name, available)| ((*name).to_owned(), *available))
            .collect()
    };
    let (first, next) = below(Some(5), 2, None).await;
    assert_eq!(first, owned(&[("B", 1), ("C", 2)]));
    let (second, end) = below(Some(5), 2, next).await;
    assert_eq!((second, end), (owned(&[("D", 4)]), None));
    assert_eq!(
        below(None, 50, None).await.0,
        owned(&[("A", 5), ("B", 1), ("C", 2), ("D", 4)])
    );
    assert_eq!(below(Some(u64::MAX), 50, None).await.0.len(), 4);
    assert!(below(Some(0), 50, None).await.0.is_empty());
}

fn reasons() -> &'static Collection {
    let found = inventory::COLLECTIONS
        .iter()
        .find(|collection| collection.name == "adjustment_reasons")
        .unwrap();
    assert_eq!(found.kind, Kind::Record);
    found
}
