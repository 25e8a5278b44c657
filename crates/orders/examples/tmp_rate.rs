#![allow(warnings)]
use std::sync::Arc;
use contracts::*;
use kernel::auth::User;
use orders::*;
use serde_json::json;
use testkit::harness::Harness;
use tower::ServiceExt;
use http_body_util::BodyExt;

fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) * 10_000.0
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let harness = Harness::new(Service::Orders, COLLECTIONS).await;
    let engine = harness.engine();
    let accesses = kernel::access::AccessEvents::new(engine.clock().clone(), engine.ids().clone());
    let orders = Orders::start(engine.clone(), harness.bus(), harness.verifier(), accesses, &Config::default()).await.unwrap();
    let lamp = ProductId::from_uuid(harness.uuid());
    harness.publish(Service::Catalog, lamp, product::Created { product_id: lamp, sku: "LAMP".try_into().unwrap(), name: "A thing".try_into().unwrap(), price: Price::new(1250, Currency::USD).unwrap(), description: None, attributes: None, image_url: None, initial_stock: 0 }).await;
    harness.settle(orders.consumers()).await;
    let ada = User { id: UserId::from_uuid(harness.uuid()), role: Role::Customer, session: SessionId::from_uuid(harness.uuid()) };
    let token = format!("Bearer {}", harness.token(ada.id, Role::Customer));
    let n = 100_000usize; let conc = 256;
    // facade
    for round in 0..2 {
        let request: order::PlaceOrder = serde_json::from_value(json!({"lines":[{"product_id": lamp, "quantity": 1}]})).unwrap();
        let c0 = cpu(); let t0 = std::time::Instant::now();
        let mut set = vec![];
        for _ in 0..conc { let orders = orders.clone(); let request = request.clone(); let ctx = harness.context(ada.id);
            set.push(tokio::spawn(async move { for _ in 0..n/conc { orders.place(request.clone(), ada, ctx.clone()).await.unwrap(); } })); }
        for s in set { s.await.unwrap(); }
        println!("facade place: {:.2} us cpu/op, {:.0}/s wall", (cpu()-c0)/n as f64, n as f64/t0.elapsed().as_secs_f64());
    }
    let router = orders.router();
    let body = json!({"lines":[{"product_id": lamp, "quantity": 1}]}).to_string();
    let mut last = String::new();
    for key in [false, true] {
        let c0 = cpu(); let t0 = std::time::Instant::now();
        let mut set = vec![];
        for t in 0..conc { let router = router.clone(); let body = body.clone(); let token = token.clone();
            set.push(tokio::spawn(async move { let mut last = String::new(); for i in 0..n/conc {
                let mut r = axum::http::Request::post("/api/orders").header("content-type","application/json").header("authorization", &token);
                if key { r = r.header("idempotency-key", format!("{t}-{i}")); }
                let a = router.clone().oneshot(r.body(axum::body::Body::from(body.clone())).unwrap()).await.unwrap();
                assert_eq!(a.status(), 201); last = a.headers()["location"].to_str().unwrap().to_owned(); a.into_body().collect().await.unwrap(); } last })); }
        for s in set { last = s.await.unwrap(); }
        println!("http place key={key}: {:.2} us cpu/op, {:.0}/s wall", (cpu()-c0)/n as f64, n as f64/t0.elapsed().as_secs_f64());
    }
    for path in [last.clone(), "/api/nothing".into()] {
        let c0 = cpu();
        for _ in 0..n { let r = axum::http::Request::get(&path).header("authorization", &token).body(axum::body::Body::empty()).unwrap();
            let a = router.clone().oneshot(r).await.unwrap(); a.into_body().collect().await.unwrap(); }
        println!("http get {path}: {:.2} us cpu/op", (cpu()-c0)/n as f64);
    }
    // confirm
    let n = 20_000usize;
    let list = orders.orders(&Default::default(), &Default::default(), ada).await.unwrap();
    println!("{}", list.data.len());
}
