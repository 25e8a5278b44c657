//! How far the events of each service have come, in one list.

use axum::Router;
use axum::routing::get;
use contracts::Service;

use crate::fixture::setup;

#[tokio::test(start_paused = true)]
async fn a_service_that_stands_still_is_missing_and_keeps_nothing_back_of_the_others() {
    let still = Router::new().fallback(get(std::future::pending::<()>));
    let app = setup().with(Service::Orders, still).open();
    let answer = app.get("/api/journals", &[("authorization", &app.admin())]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = answer.json();
    assert_eq!(list["missing"], serde_json::json!(["orders"]));
    assert_eq!(list["data"].as_array().unwrap().len(), Service::ALL.len() - 1);
}
