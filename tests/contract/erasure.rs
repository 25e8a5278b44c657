//! What remains of a person who has gone: orders and totals, and nothing personal.

use std::path::Path;

use serde_json::json;
use testkit::books::Books as _;

use crate::books::{Books, SERVICES};
use crate::support::{Actor, PASSWORD, Server, eventually};

/// Texts that stand nowhere but in what this person gave.
const PERSONAL: [&str; 11] = [
    "zerlinda.erasable@example.com",
    "zerlinda erasable",
    "zerlinda-username",
    "+31 6 99887766",
    "quagmire street 77",
    "forgetmetown",
    "9876 zz",
    "second quagmire street",
    "a reason quite personal",
    "metadata quite personal",
    "a refund quite personal",
];

/// Everything below a directory, by its name.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap_or_default();
            files.push((path.display().to_string(), bytes));
        }
    }
    files
}

/// What is in files, and what databases give to whoever asks. Their own files are their operators'.
fn all_kept(books: &Books, directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut kept = files(directory);
    for service in books.on_servers() {
        let events = books.told(service).into_iter();
        kept.extend(events.map(|event| (format!("the journal of {service}"), event.into_bytes())));
        for (collection, documents) in books.documents(service) {
            let name = format!("{collection} of {service}");
            let documents = documents.into_iter();
            kept.extend(documents.map(|(id, (_, text))| (name.clone(), format!("{id} {text}").into_bytes())));
        }
    }
    kept
}

/// Which of the texts are where, in any case.
fn traces(kept: &[(String, Vec<u8>)], texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, bytes) in kept {
        let bytes = bytes.to_ascii_lowercase();
        for text in texts {
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(format!("{text} in {name}"));
            }
        }
    }
    found
}

/// Somebody who left traces wherever a person can, all in other letters than [`PERSONAL`] has.
async fn zerlinda(server: &Server) -> Actor {
    let body = json!({
        "email": "Zerlinda.Erasable@example.com", "password": PASSWORD, "name": "Zerlinda Erasable",
        "username": "Zerlinda-Username", "phone": "+31 6 99887766",
        "addresses": [{"line1": "Quagmire Street 77", "city": "Forgetmetown", "postal_code": "9876 ZZ", "country": "NL"}],
    });
    server
        .anonymous()
        .post("/api/users", body)
        .key("zerlinda signs up")
        .await
        .expect(201);
    let zerlinda = server
        .anonymous()
        .signed_in("zerlinda.erasable@example.com", PASSWORD)
        .await;
    let change = json!({"name": "Zerlinda Erasable jr", "phone": "+31 6 99887766 2"});
    zerlinda
        .patch(&format!("/api/users/{}", zerlinda.id), change)
        .key("zerlinda changes")
        .await
        .expect(200);
    let wrong = json!({"email": "zerlinda.erasable@example.com", "password": "wrong"});
    server.anonymous().post("/api/login", wrong).await.expect(401);
    zerlinda
}

#[tokio::test]
async fn nothing_personal_is_left_and_orders_stay() {
    let mut server = Server::settings().with("log", "debug").start().await;
    let (admin, zerlinda) = (server.admin().await, zerlinda(&server).await);
    let product = admin.product_at(1000, 100).await;
    let place = async |quantity: u64, key: &str| {
        let body = json!({
            "lines": [{"sku": product.sku, "quantity": quantity}],
            "shipping_address": {"line1": "Quagmire Street 77", "line2": "Second Quagmire Street",
                "city": "Forgetmetown", "postal_code": "9876 ZZ", "country": "NL", "phone": "+31 6 99887766"},
            "metadata": {"note": "Metadata Quite Personal"},
        });
        let order = zerlinda
            .post("/api/orders", body)
            .key(key)
            .await
            .expect(201)
            .text_at("id");
        zerlinda.until_order(&order, "confirmed").await;
        order
    };
    let (unpaid, cancelled, paid, done) = (
        place(1, "1").await,
        place(2, "2").await,
        place(3, "3").await,
        place(4, "4").await,
    );
    let reason = json!({"reason": "A Reason Quite Personal"});
    zerlinda
        .post(&format!("/api/orders/{cancelled}/cancel"), reason)
        .key("5")
        .await
        .expect(200);
    zerlinda.pay(&paid).await;
    let payment = zerlinda.pay(&done).await;
    for order in [&paid, &done] {
        zerlinda.until_order(order, "paid").await;
    }
    let refund = json!({"amount": {"amount": 1, "currency": "USD"}, "reason": "A Refund Quite Personal"});
    admin
        .post(&format!("/api/payments/{payment}/refunds"), refund)
        .key("6")
        .await
        .expect(201);
    let address =
        json!({"shipping_address": {"line1": "Second Quagmire Street", "city": "Forgetmetown", "country": "NL"}});
    zerlinda
        .patch(&format!("/api/orders/{done}"), address)
        .key("7")
        .await
        .expect(200);
    admin
        .patch(&format!("/api/orders/{done}"), json!({"status": "fulfilled"}))
        .await
        .expect(200);
    let messages = format!("/api/notifications?user_id={}&status=sent", zerlinda.id);
    eventually("her messages are sent", async || {
        (admin.get(&messages).await.data().len() >= 7).then_some(())
    })
    .await;
    let (books, directory) = (Books::of(&server), server.data().parent().unwrap().to_owned());
    assert!(
        !traces(&all_kept(&books, &directory), &PERSONAL).is_empty(),
        "the search finds what is there"
    );

    zerlinda
        .delete(&format!("/api/users/{}", zerlinda.id))
        .await
        .expect(204);
    let order = admin.until_order(&unpaid, "cancelled").await;
    assert!(order.get("shipping_address").is_none(), "{order}");
    // A paid one keeps its address until it is delivered.
    let kept = admin.get(&format!("/api/orders/{paid}")).await.expect(200);
    assert_eq!(kept.json["shipping_address"]["city"], "Forgetmetown", "{kept}");
    admin
        .patch(&format!("/api/orders/{paid}"), json!({"status": "fulfilled"}))
        .await
        .expect(200);
    for (order, total) in [(&unpaid, 1000), (&cancelled, 2000), (&paid, 3000), (&done, 4000)] {
        let path = format!("/api/orders/{order}");
        eventually(format!("{path} is nameless"), async || {
            let shown = admin.get(&path).await.expect(200);
            assert_eq!(
                (&shown.json["total"]["amount"], &shown.json["user_id"]),
                (&json!(total), &json!(zerlinda.id))
            );
            ["shipping_address", "metadata", "reason"]
                .iter()
                .all(|field| shown.json.get(field).is_none())
                .then_some(())
        })
        .await;
        let then = admin.get(&format!("{path}?version=1")).await.expect(200);
        assert!(
            !then.text.contains("Forgetmetown"),
            "time travel shows today's text: {then}"
        );
    }
    eventually("every service has seen it", async || {
        let (order, payment) = (format!("/api/orders/{paid}"), format!("/api/payments/{payment}"));
        let mut refused = true;
        for path in [
            "/api/users/me",
            &order,
            &payment,
            "/api/notifications",
            "/api/events/stream?type=custom.x",
        ] {
            refused &= zerlinda.get(path).response().await.status() == 401;
        }
        refused.then_some(())
    })
    .await;
    zerlinda.get("/api/products").await.refused(401, "unauthorized");
    admin.until_stock(&product, (93, 0, 93)).await;
    // Answers are kept under her name no more: who comes with her address is another.
    eventually("her answers are forgotten", async || {
        let counts = ["users", "orders", "payments"].map(|service| answers(&books, service, &zerlinda.id));
        (counts == [0; 3]).then_some(())
    })
    .await;

    eventually("no file of the running server has any of it", async || {
        traces(&all_kept(&books, &directory), &PERSONAL)
            .is_empty()
            .then_some(())
    })
    .await;
    server.stop();
    assert_eq!(traces(&all_kept(&books, &directory), &PERSONAL), [""; 0]);
    server.start_again().await;
    let admin = server.admin().await;
    let orders = admin
        .get(&format!("/api/orders?user_id={}", zerlinda.id))
        .await
        .expect(200);
    assert_eq!(orders.data().len(), 4);
}

/// How many answers a service keeps for a principal.
fn answers(books: &Books, service: &str, principal: &str) -> usize {
    let answers = books.collection(service, "idempotency");
    answers.values().filter(|it| it["principal"] == principal).count()
}

#[tokio::test]
async fn a_journal_and_a_log_hold_nothing_personal_while_the_person_is_there() {
    let server = Server::settings().with("log", "debug").start().await;
    let (admin, zerlinda) = (server.admin().await, zerlinda(&server).await);
    let product = admin.product(10).await;
    let body = json!({
        "lines": [{"sku": product.sku, "quantity": 1}],
        "shipping_address": {"line1": "Quagmire Street 77", "city": "Forgetmetown", "country": "NL"},
        "metadata": {"note": "Metadata Quite Personal"},
    });
    let order = zerlinda.post("/api/orders", body).await.expect(201).text_at("id");
    zerlinda.until_order(&order, "confirmed").await;
    zerlinda.pay(&order).await;
    zerlinda
        .post(
            &format!("/api/orders/{order}/cancel"),
            json!({"reason": "A Reason Quite Personal"}),
        )
        .await
        .expect(200);
    let messages = format!("/api/notifications?user_id={}&status=sent", zerlinda.id);
    eventually("her messages are sent", async || {
        (admin.get(&messages).await.data().len() >= 3).then_some(())
    })
    .await;
    let books = Books::of(&server);
    for (service, _) in SERVICES {
        for event in books.told(service) {
            let event = event.to_lowercase();
            assert!(PERSONAL.iter().all(|text| !event.contains(text)), "{service}: {event}");
        }
    }
    let log = server.log().to_lowercase();
    for text in PERSONAL.iter().chain(&[PASSWORD, "127.0.0.1:"]) {
        let line = log.lines().find(|line| line.contains(text)).unwrap_or_default();
        assert!(line.is_empty(), "{line}");
    }
    for token in [zerlinda.token.clone(), zerlinda.refresh_token.clone()]
        .into_iter()
        .flatten()
    {
        assert!(!server.log().contains(&token), "a token in the log");
        let kept = all_kept(&books, &server.data());
        assert_eq!(traces(&kept, &[&token.to_lowercase()]), [""; 0], "a token in a file");
    }
    assert_eq!(
        traces(&all_kept(&books, &server.data()), &[PASSWORD]),
        [""; 0],
        "a password in a file"
    );
}
