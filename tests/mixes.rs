//! Services on several databases at once, as the systems had them that Tradewind takes the place of.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

mod books;
#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use books::{Books, assert_views_equal_the_fold};
use servers::{Fresh, Kind};
use support::{Actor, Product, Server, eventually};
use testkit::books::{assert_journals_are_sound, assert_money_adds_up, assert_the_log_is_complete, unsettled};

/// Messages about an order that is paid.
const MESSAGES: [&str; 2] = ["order-confirmed", "order-paid"];

#[tokio::test]
async fn postgres_for_users_and_orders_with_mongodb_and_files_for_the_rest() {
    let (postgres, mongodb) = (Fresh::new(Kind::Postgres).unwrap(), Fresh::new(Kind::Mongodb).unwrap());
    let stores = [
        ("users", &postgres),
        ("orders", &postgres),
        ("catalog", &mongodb),
        ("inventory", &mongodb),
        ("notifications", &mongodb),
        ("events", &mongodb),
    ];
    let stores = stores.map(|(service, databases)| (service, databases.url_for(service).unwrap()));
    a_shop_runs_on(stores.into(), &["payments"]).await;
}

#[tokio::test]
async fn mysql_for_users_and_orders_with_mongodb_for_the_rest() {
    let (mysql, mongodb) = (Fresh::new(Kind::Mariadb).unwrap(), Fresh::new(Kind::Mongodb).unwrap());
    let stores = [
        ("users", mysql.url_for("users").unwrap()),
        ("orders", mysql.url_for("orders").unwrap()),
        (ALL, mongodb.url()),
    ];
    a_shop_runs_on(stores.into(), &[]).await;
}

#[tokio::test]
async fn mongodb_for_users_and_a_file_for_orders_with_postgres_for_the_rest() {
    let (postgres, mongodb) = (Fresh::new(Kind::Postgres).unwrap(), Fresh::new(Kind::Mongodb).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let stores = [
        ("users", mongodb.url_for("users").unwrap()),
        (
            "orders",
            format!("sqlite:{}", directory.path().join("of/orders.db").display()),
        ),
        (ALL, postgres.url()),
    ];
    a_shop_runs_on(stores.into(), &["orders"]).await;
}

/// In place of a service: all that have no store of their own.
const ALL: &str = "";

/// From signing up to messages, once and again after a restart, and then the books. These services are in files.
async fn a_shop_runs_on(stores: Vec<(&str, String)>, in_files: &[&str]) {
    let setting = |service: &str| match service {
        ALL => "store".to_owned(),
        _ => format!("{service}_store"),
    };
    let settings = Server::settings();
    let settings = stores.iter().fold(settings, |settings, (service, url)| {
        settings.with(&setting(service), url)
    });
    let mut server = settings.start().await;
    let (admin, customer) = (server.admin().await, server.customer().await);
    let product = admin.product(5).await;
    buys(&customer, &product).await;
    admin.until_stock(&product, (4, 0, 4)).await;

    server.restart().await;
    let (admin, customer) = (admin.moved_to(&server), customer.moved_to(&server));
    buys(&customer, &product).await;
    admin.until_stock(&product, (3, 0, 3)).await;
    let orders = customer.get("/api/orders?status=paid").await.expect(200);
    assert_eq!(orders.data().len(), 2, "{orders}");

    let books = Books::of(&server);
    eventually("everything is settled", async || {
        unsettled(&books).is_empty().then_some(())
    })
    .await;
    server.stop();
    assert_journals_are_sound(&books);
    assert_the_log_is_complete(&books);
    assert_money_adds_up(&books);
    let on_servers: Vec<&str> = books.on_servers().collect();
    assert_eq!(
        on_servers.len() + in_files.len(),
        books::SERVICES.len(),
        "{on_servers:?}"
    );
    assert!(
        in_files.iter().all(|service| !on_servers.contains(service)),
        "{on_servers:?}"
    );
    assert_views_equal_the_fold(&server);
}

/// Orders, pays, and is told.
async fn buys(customer: &Actor, product: &Product) {
    let (order, _) = customer.paid_order(product, 1).await;
    eventually("the messages are sent", async || {
        let page = customer.get("/api/notifications?status=sent").await.expect(200);
        let about = page.data().iter().filter(|message| message["order_id"] == order);
        let sent: Vec<&str> = about.map(|message| message["template"].as_str().unwrap()).collect();
        MESSAGES.iter().all(|template| sent.contains(template)).then_some(())
    })
    .await;
}
