//! Fifty pieces and three hundred buyers at once: nothing is oversold, and nobody is charged twice [P5, P6].
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

mod books;
#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::{Value, json};

use books::Books;
use support::{Actor, Answer, Product, Server, eventually, id_of};
use testkit::books::{
    Books as _, assert_journals_are_sound, assert_the_log_is_complete, counted, kept_by_order, unsettled,
};

const BUYERS: usize = 300;
const UNITS: u64 = 50;
/// Sign-ups at once: more passwords than the server hashes in a moment would be put off.
const SIGN_UPS_AT_ONCE: usize = 32;
/// How often one payment is asked for at once, under one key.
const REPEATS: usize = 4;
/// A pause between two looks at the same.
const PAUSE: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_buyers_get_fifty_pieces_and_each_pays_once() {
    let mut server = Server::start().await;
    let admin = server.admin().await;
    let product = admin.product(UNITS).await;
    let buyers = buyers(&server).await;
    let (sold_out, watching) = watch(&admin, &product);

    let orders = join_all(
        buyers
            .iter()
            .enumerate()
            .map(|(number, buyer)| buy(buyer, &product, number)),
    )
    .await;
    let decided = join_all(buyers.iter().zip(&orders).map(|(buyer, order)| decided(buyer, order))).await;
    let confirmed: Vec<(&Actor, &Value)> = buyers
        .iter()
        .zip(&decided)
        .filter(|(_, order)| order["status"] == "confirmed")
        .collect();
    let pieces: u64 = confirmed.iter().map(|(_, order)| quantity(order)).sum();
    assert_eq!(pieces, UNITS);
    assert_eq!(admin.stock(&product).await, (UNITS, UNITS, 0));
    assert_eq!(
        counted(decided.iter().map(|order| order["status"] == "rejected"))[&true],
        BUYERS - confirmed.len()
    );

    let payments = join_all(confirmed.iter().map(|(buyer, order)| pay_often(buyer, order))).await;
    for (buyer, order) in &confirmed {
        buyer.until_order(&id_of(order), "paid").await;
    }
    admin.until_stock(&product, (0, 0, 0)).await;
    sold_out.store(true, Ordering::Relaxed);
    let looks = watching.await.unwrap();
    println!(
        "{} orders confirmed, {} rejected; the stock was seen {looks} times",
        confirmed.len(),
        BUYERS - confirmed.len()
    );

    for ((buyer, order), payment) in confirmed.iter().zip(&payments) {
        let shown = buyer
            .get(&format!("/api/payments?order_id={}", id_of(order)))
            .await
            .expect(200);
        assert_eq!(shown.ids(), std::slice::from_ref(payment), "{shown}");
        assert_eq!(
            (&shown.data()[0]["status"], &shown.data()[0]["amount"]),
            (&json!("captured"), &order["total"])
        );
    }
    let books = Books::of(&server);
    eventually("everything is settled", async || {
        unsettled(&books).is_empty().then_some(())
    })
    .await;
    server.stop();
    the_books_agree(&books, &product, &confirmed, &payments);
    assert_journals_are_sound(&books);
    assert_the_log_is_complete(&books);
}

async fn buyers(server: &Server) -> Vec<Actor> {
    let nobody = server.anonymous();
    let buyers = (0..BUYERS).map(|_| nobody.sign_up());
    futures::stream::iter(buyers)
        .buffer_unordered(SIGN_UPS_AT_ONCE)
        .collect()
        .await
}

/// Every third wants two pieces, every other of these in two lines of one SKU.
async fn buy(buyer: &Actor, product: &Product, number: usize) -> Value {
    let line = |quantity: u64| json!({"sku": product.sku, "quantity": quantity});
    let lines = match number % 6 {
        0 => vec![line(1), line(1)],
        3 => vec![line(2)],
        _ => vec![line(1)],
    };
    buyer
        .post("/api/orders", json!({"lines": lines}))
        .await
        .expect(201)
        .json
}

fn quantity(order: &Value) -> u64 {
    order["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["quantity"].as_u64().unwrap())
        .sum()
}

/// Asks now and then: hundreds who ask all the time would be what is tested.
async fn decided(buyer: &Actor, order: &Value) -> Value {
    let path = format!("/api/orders/{}", id_of(order));
    eventually(format!("{path} is decided"), async || {
        tokio::time::sleep(PAUSE).await;
        let order = buyer.get(&path).await.expect(200).json;
        (order["status"] != "pending").then_some(order)
    })
    .await
}

/// Pays several times at once under one key, and under another one; the payment.
async fn pay_often(buyer: &Actor, order: &Value) -> String {
    let body = json!({"order_id": id_of(order)});
    let key = format!("pay-{}", id_of(order));
    let same = join_all((0..REPEATS).map(|_| pay(buyer, &body, &key)));
    let (same, other) = futures::join!(same, pay(buyer, &body, "another-key"));
    // Whichever key came first has the payment; the other one is told that there is one.
    let (winners, losers) = if other.status == 201 {
        (vec![other], same)
    } else {
        (same, vec![other])
    };
    for loser in losers {
        assert!(
            loser.status == 409 && ["payment-open", "already-paid"].contains(&loser.text_at("code").as_str()),
            "{loser}"
        );
    }
    let ids = counted(winners.into_iter().map(|winner| id_of(&winner.expect(201).json)));
    assert_eq!(ids.len(), 1, "one key, several payments: {ids:?}");
    ids.into_keys().next().unwrap()
}

/// Asks until the first request with the key has an answer.
async fn pay(buyer: &Actor, body: &Value, key: &str) -> Answer {
    eventually("a payment is answered", async || {
        let answer = buyer.post("/api/payments", body.clone()).key(key).await;
        if answer.json["code"] != "in-progress" {
            return Some(answer);
        }
        tokio::time::sleep(PAUSE).await;
        None
    })
    .await
}

/// Looks at the stock all the time until told to stop. How often it looked.
fn watch(admin: &Actor, product: &Product) -> (Arc<AtomicBool>, tokio::task::JoinHandle<u64>) {
    let sold_out = Arc::new(AtomicBool::new(false));
    let (stop, admin, path) = (Arc::clone(&sold_out), admin.clone(), product.stock_path());
    let watching = tokio::spawn(async move {
        let mut looks = 0;
        while !stop.load(Ordering::Relaxed) {
            let stock = admin.get(&path).await.expect(200);
            // A negative number is no u64, and so stops the test by itself.
            let (on_hand, reserved) = (stock.number_at("on_hand"), stock.number_at("reserved"));
            assert!(
                on_hand <= UNITS && on_hand - reserved == stock.number_at("available"),
                "{stock}"
            );
            looks += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        looks
    });
    (sold_out, watching)
}

/// Ledger, journals and API tell the same.
fn the_books_agree(books: &Books, product: &Product, confirmed: &[(&Actor, &Value)], payments: &[String]) {
    let kept = kept_by_order(books);
    let totals: BTreeMap<String, i64> = confirmed
        .iter()
        .map(|(_, order)| (id_of(order), order["total"]["amount"].as_i64().unwrap()))
        .collect();
    assert_eq!(kept, totals);
    let captured = books
        .journal("payments")
        .into_iter()
        .filter(|event| event.event_type == "payment.captured");
    let captured = counted(captured.map(|event| event.data["payment_id"].as_str().unwrap().to_owned()));
    assert_eq!(captured, payments.iter().map(|payment| (payment.clone(), 1)).collect());
    let orders = counted(books.journal("orders").into_iter().map(|event| event.event_type));
    assert_eq!(
        (orders["order.placed"], orders["order.paid"]),
        (BUYERS, confirmed.len())
    );
    let inventory = counted(books.journal("inventory").into_iter().map(|event| event.event_type));
    let moved = ["inventory.reserved", "inventory.sold", "inventory.rejected"].map(|name| inventory[name]);
    assert_eq!(moved, [confirmed.len(), confirmed.len(), BUYERS - confirmed.len()]);
    let stock = &books.collection("inventory", "stock")[&product.sku];
    assert_eq!((&stock["received"], &stock["sold"]), (&json!(UNITS), &json!(UNITS)));
}

#[tokio::test]
async fn lines_of_one_sku_count_together() {
    let server = Server::start().await;
    let (admin, customer) = (server.admin().await, server.customer().await);
    let product = admin.product(5).await;
    let lines = |first: u64, second: u64| {
        let line = |quantity| json!({"sku": product.sku, "quantity": quantity});
        json!({"lines": [line(first), line(second)]})
    };
    let too_many = customer
        .post("/api/orders", lines(3, 3))
        .await
        .expect(201)
        .text_at("id");
    customer.until_order(&too_many, "rejected").await;
    assert_eq!(admin.stock(&product).await, (5, 0, 5));
    let just_enough = customer
        .post("/api/orders", lines(3, 2))
        .await
        .expect(201)
        .text_at("id");
    customer.until_order(&just_enough, "confirmed").await;
    assert_eq!(admin.stock(&product).await, (5, 5, 0));
}
