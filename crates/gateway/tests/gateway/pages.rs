use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use contracts::Service;
use gateway::health::{Condition, Consumer, Health, Process, Report};
use insta::assert_snapshot;
use kernel::clock::Ids;
use kernel::engine::{Engine, Parts};
use kernel::event::Epoch;
use kernel::memory::MemoryStore;
use uuid::Uuid;

use crate::fixture::setup;

#[tokio::test]
async fn the_gateways_own_pages_are_open_and_for_reading() {
    let app = setup().open();
    assert_snapshot!(app.get("/healthz", &[]).await.shown(), @r#"200 {"status":"up"}"#);
    assert_snapshot!(app.get("/", &[]).await.shown(), @r#"200 {"name":"tradewind","version":"0.1.0","api":["/api/users","/api/login","/api/products","/api/inventory","/api/orders","/api/payments","/api/notifications","/api/events","/api/notify","/api/dead-letters","/api/token"],"errors":"/docs/errors","keys":"/.well-known/jwks.json","health":"/healthz","readiness":"/readyz","metrics":"/metrics"}"#);
    let errors = app.get("/docs/errors", &[]).await;
    assert_eq!(
        (errors.status, errors.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    for code in contracts::Code::ALL {
        assert!(errors.text().contains(&format!("id=\"{code}\"")), "{code}");
    }
    // A bad token is nothing to them.
    assert_eq!(app.get("/healthz", &[("authorization", "Bearer x")]).await.status, 200);
    let head = app.request("HEAD", "/healthz", &[]).await;
    assert_eq!(
        (head.status, head.header("content-length"), head.text()),
        (200, "15", "")
    );
    let posted = app.request("POST", "/healthz", &[]).await;
    assert_eq!(
        (posted.header("allow"), posted.json()["code"].as_str()),
        ("GET,HEAD", Some("method-not-allowed"))
    );
    let options = app.request("OPTIONS", "/healthz", &[]).await;
    assert_eq!((options.status, options.header("allow")), (204, "GET,HEAD,OPTIONS"));
}

#[tokio::test]
async fn metrics_are_shown_if_they_are_recorded() {
    assert_eq!(setup().open().get("/metrics", &[]).await.status, 404);
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || metrics::counter!("orders_total").increment(7));
    let app = setup().open_with(|gateway| gateway.with_metrics(recorder.handle()));
    let answer = app.get("/metrics", &[]).await;
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(answer.text().contains("orders_total 7"), "{}", answer.text());
}

/// Says what it is told to say, and counts how often it is asked.
#[derive(Debug)]
struct Said(Report, AtomicUsize);

#[async_trait]
impl Health for Said {
    async fn look(&self) -> Report {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.clone()
    }
}

fn said(stores: &[(Service, Condition)], bus: Condition) -> Arc<Said> {
    let consumer = Consumer {
        behind: true,
        lanes_held: 1,
        handled: 7,
    };
    let report = Report {
        stores: stores.iter().copied().collect(),
        journals: BTreeMap::new(),
        failed: Vec::new(),
        bus: Some(bus),
        consumers: BTreeMap::from([("orders.catalog/catalog".to_owned(), consumer)]),
    };
    Arc::new(Said(report, AtomicUsize::new(0)))
}

#[tokio::test(start_paused = true)]
async fn a_process_is_ready_if_its_own_stores_answer_whatever_else_is_down() {
    let health = said(&[(Service::Orders, Condition::Up)], Condition::Down);
    let app = setup().open_with(|gateway| gateway.with_health(health));
    assert_snapshot!(app.get("/readyz", &[]).await.shown(), @r#"200 {"status":"ready","stores":{"orders":"up"},"bus":"down","consumers":{"orders.catalog/catalog":{"behind":true,"lanes_held":1,"handled":7}},"upstreams":{"users":"in-process","catalog":"in-process","inventory":"in-process","orders":"in-process","payments":"in-process","notifications":"in-process","events":"in-process"}}"#);
    let health = said(
        &[(Service::Orders, Condition::Up), (Service::Users, Condition::Down)],
        Condition::Up,
    );
    let mut setup = setup();
    setup.upstreams.clear();
    let app = setup.open_with(|gateway| gateway.with_health(health));
    assert_snapshot!(app.get("/readyz", &[]).await.shown(), @r#"503 {"status":"not-ready","stores":{"users":"down","orders":"up"},"bus":"up","consumers":{"orders.catalog/catalog":{"behind":true,"lanes_held":1,"handled":7}},"upstreams":{}}"#);
}

#[tokio::test(start_paused = true)]
async fn readiness_is_looked_at_once_a_second_however_many_ask() {
    let health = said(&[], Condition::Up);
    let app = setup().open_with(|gateway| gateway.with_health(Arc::clone(&health) as Arc<dyn Health>));
    for _ in 0..5 {
        app.get("/readyz", &[]).await;
    }
    assert_eq!(health.1.load(Ordering::Relaxed), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    app.get("/readyz", &[]).await;
    assert_eq!(health.1.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_process_looks_at_its_stores_and_at_its_tasks() {
    let schema = kernel::engine::schema(&[]);
    let setup = setup();
    let parts = Parts {
        store: Arc::new(MemoryStore::new(schema, Uuid::nil())),
        replica: None,
        clock: Arc::clone(&setup.clock) as _,
        ids: Arc::new(Ids::from_seed(1)),
    };
    let engine = Engine::start(Service::Orders, parts).await.unwrap();
    let process = Process {
        engines: vec![engine.clone()],
        consumers: Vec::new(),
        clock: Arc::clone(&setup.clock) as _,
    };
    let report = process.look().await;
    assert_eq!(report.stores[&Service::Orders], Condition::Up);
    assert_eq!(report.journals[&Service::Orders], Epoch(Uuid::nil()));
    assert!(report.is_ready());
    engine.spawn(async |_| panic!("as the test asks"));
    tokio::task::yield_now().await;
    let report = process.look().await;
    assert!(!report.is_ready());
    assert_eq!(report.failed, [Service::Orders]);
}
