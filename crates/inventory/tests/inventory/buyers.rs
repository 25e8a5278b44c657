//! More buyers than pieces.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::shop::{Shop, paid};

const BUYERS: usize = 300;
const PIECES: u64 = 50;

/// Each seventh buyer has two lines of the one SKU, each of which would pass alone when the other has taken the last.
fn lines(buyer: usize) -> &'static [(&'static str, u32)] {
    if buyer % 7 == 3 {
        &[("HOT", 1), ("HOT", 1)]
    } else {
        &[("HOT", 1)]
    }
}

#[tokio::test(start_paused = true)]
async fn three_hundred_buyers_of_fifty_pieces_get_fifty() {
    let shop = Arc::new(Shop::open().await);
    shop.stocked("HOT", PIECES).await;
    let mut buyers = JoinSet::new();
    for buyer in 0..BUYERS {
        let shop = Arc::clone(&shop);
        buyers.spawn(async move { (buyer, shop.order(lines(buyer)).await) });
    }
    let orders = buyers.join_all().await;
    shop.settle().await;

    let mut reserved = Vec::new();
    let mut pieces = 0;
    for (buyer, order) in orders {
        match &*shop.steps(order).await.concat() {
            "reserved" => {
                reserved.push(order);
                pieces += lines(buyer).len() as u64;
            }
            "rejected" => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(pieces, PIECES);
    assert_eq!(shop.counts("HOT").await, (0, PIECES, 0));

    for order in reserved {
        shop.happens(order, paid(order)).await;
    }
    shop.settle().await;
    assert_eq!(shop.counts("HOT").await, (0, 0, PIECES));
    assert!(shop.dead_letters().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_lines_of_one_sku_never_pass_alone() {
    let shop = Shop::open().await;
    shop.stocked("HOT", 3).await;
    let order = shop.order(&[("HOT", 2), ("OTHER", 1), ("HOT", 2)]).await;
    shop.stocked("OTHER", 1).await;
    assert_eq!(shop.steps(order).await, ["rejected"]);
    assert_eq!(shop.counts("HOT").await, (3, 0, 0));
}
