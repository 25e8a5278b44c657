use axum::Router;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use contracts::{DeadLetterId, Page, Service};
use insta::assert_snapshot;
use kernel::auth::Caller;
use kernel::http::{Failure, serve_with};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixture::{App, Setup, setup};

#[derive(Deserialize)]
struct Asked {
    limit: usize,
    cursor: Option<String>,
}

fn id(service: Service, number: u128) -> String {
    DeadLetterId::new(service, Uuid::from_u128(number)).to_string()
}

/// A service with so many dead letters, whose cursor is the number of those seen.
fn keeper(setup: &Setup, service: Service, letters: usize) -> Router {
    let list = async move |Query(Asked { limit, cursor }): Query<Asked>| {
        let from = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let to = letters.min(from + limit);
        let data = (from..to)
            .map(|number| json!({"id": id(service, number as u128), "new-field": number}))
            .collect();
        let next_cursor = (to < letters).then(|| to.to_string().try_into().unwrap());
        axum::Json(Page::<Value> { data, next_cursor })
    };
    let named = async move |Path(id): Path<String>| format!("{service} {id}");
    let discarded = async |kernel::http::Path(_): kernel::http::Path<DeadLetterId>| StatusCode::NO_CONTENT;
    let routes = Router::new()
        .route("/api/dead-letters", get(list))
        .route("/api/dead-letters/{id}", delete(discarded))
        .route("/api/dead-letters/{id}/retry", post(named));
    serve_with(routes, setup.kit(service))
}

fn keepers(letters: &[(Service, usize)]) -> App {
    letters
        .iter()
        .fold(setup(), |setup, &(service, letters)| {
            let router = keeper(&setup, service, letters);
            setup.with(service, router)
        })
        .open()
}

fn all(letters: [usize; 7]) -> App {
    keepers(&Service::ALL.iter().copied().zip(letters).collect::<Vec<_>>())
}

async fn page(app: &App, query: &str) -> (Vec<String>, Option<String>) {
    let answer = app
        .get(&format!("/api/dead-letters{query}"), &[("authorization", &app.admin())])
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let page: Page<Value> = serde_json::from_slice(&answer.body).unwrap();
    let ids = page.data.iter().map(|letter| letter["id"].as_str().unwrap().to_owned());
    (ids.collect(), page.next_cursor.map(|cursor| cursor.as_str().to_owned()))
}

#[tokio::test]
async fn the_lists_of_all_services_are_one() {
    let app = all([1, 0, 0, 2, 0, 0, 1]);
    let expected = [
        id(Service::Users, 0),
        id(Service::Orders, 0),
        id(Service::Orders, 1),
        id(Service::Events, 0),
    ];
    assert_eq!(page(&app, "").await, (expected.to_vec(), None));
    assert_eq!(page(&all([0; 7]), "").await, (Vec::new(), None));
    let answer = app
        .get("/api/dead-letters?limit=1", &[("authorization", &app.admin())])
        .await;
    assert_snapshot!(answer.shown(), @r#"200 {"data":[{"id":"dlq_users_00000000000000000000000000","new-field":0}],"next_cursor":"catalog"}"#);
    let head = app
        .request("HEAD", "/api/dead-letters", &[("authorization", &app.admin())])
        .await;
    assert_eq!((head.status, head.text()), (200, ""));
}

#[tokio::test]
async fn pages_of_any_size_add_up_to_the_whole_list() {
    for letters in [
        [1, 0, 0, 2, 0, 0, 1],
        [3, 3, 3, 3, 3, 3, 3],
        [0, 0, 5, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 4],
    ] {
        let app = all(letters);
        let (whole, _) = page(&app, "").await;
        assert_eq!(whole.len(), letters.iter().sum::<usize>());
        for limit in 1..=6 {
            let (mut seen, mut cursor) = page(&app, &format!("?limit={limit}")).await;
            while let Some(next) = cursor.take() {
                let (more, next) = page(&app, &format!("?limit={limit}&cursor={next}")).await;
                assert!(more.len() <= limit);
                seen.extend(more);
                cursor = next;
            }
            assert_eq!(seen, whole, "{letters:?} by {limit}");
        }
    }
}

#[tokio::test]
async fn one_service_can_be_asked_alone() {
    let users = async || axum::Json(json!({"from": "users"}));
    let app = setup()
        .with(Service::Users, Router::new().route("/api/dead-letters", get(users)))
        .open();
    let token = app.admin();
    let answer = app
        .get("/api/dead-letters?service=users&limit=3", &[("authorization", &token)])
        .await;
    assert_eq!(answer.json()["from"], "users");
    let answer = app
        .get("/api/dead-letters?service=orders&limit=3", &[("authorization", &token)])
        .await
        .json();
    assert_eq!(
        (&answer["service"], &answer["uri"]),
        (&"orders".into(), &"/api/dead-letters?service=orders&limit=3".into())
    );
}

#[tokio::test]
async fn only_admins_see_the_list() {
    let app = all([1; 7]);
    assert_eq!(app.get("/api/dead-letters", &[]).await.status, 401);
    assert_eq!(app.get("/api/dead-letters?limit=x", &[]).await.status, 401);
    assert_eq!(
        app.get("/api/dead-letters", &[("authorization", &app.customer(1))])
            .await
            .status,
        403
    );
    let service = app.bearer(Caller::Service(Service::Orders));
    assert_eq!(
        app.get("/api/dead-letters?service=orders", &[("authorization", &service)])
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn a_wrong_query_is_named() {
    let app = all([1; 7]);
    for (query, field) in [
        ("limit=0", "limit"),
        ("service=shop", "service"),
        ("page=2", "page"),
        ("cursor=shop", "cursor"),
        ("cursor=orders.", "cursor"),
        ("cursor=LQ", "cursor"),
    ] {
        let answer = app
            .get(
                &format!("/api/dead-letters?{query}"),
                &[("authorization", &app.admin())],
            )
            .await;
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["field"]),
            (422, &field.into()),
            "{query}"
        );
    }
    let mut setup = setup();
    setup.upstreams.remove(&Service::Orders);
    let app = setup.open();
    let answer = app
        .get("/api/dead-letters?cursor=orders", &[("authorization", &app.admin())])
        .await;
    assert_eq!(answer.status, 422);
}

#[tokio::test]
async fn a_service_that_fails_is_not_left_out_in_silence() {
    let setup = setup();
    let users = keeper(&setup, Service::Users, 1);
    let failing = async || Err::<(), Failure>(contracts::Code::StoreUnavailable.into());
    let catalog = serve_with(
        Router::new().route("/api/dead-letters", get(failing)),
        setup.kit(Service::Catalog),
    );
    let app = setup.with(Service::Users, users).with(Service::Catalog, catalog).open();
    let answer = app.get("/api/dead-letters", &[("authorization", &app.admin())]).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &"store-unavailable".into())
    );
    // The echo of the third service is no list.
    let app = keepers(&[(Service::Users, 1), (Service::Catalog, 1)]);
    let answer = app.get("/api/dead-letters", &[("authorization", &app.admin())]).await;
    assert_snapshot!(answer.shown(), @r#"500 {"type":"/docs/errors#internal","title":"Internal error","status":500,"detail":"Repeat the request later; if it persists, report its x-request-id.","instance":"/api/dead-letters#ID","code":"internal"}"#);
}

#[tokio::test]
async fn a_letter_is_retried_and_discarded_by_the_service_that_its_id_names() {
    let app = all([1; 7]);
    let token = app.admin();
    for &service in Service::ALL {
        let id = id(service, 1);
        let retried = app
            .request(
                "POST",
                &format!("/api/dead-letters/{id}/retry"),
                &[("authorization", &token)],
            )
            .await;
        assert_eq!(retried.text(), format!("{service} {id}"));
        let discarded = app
            .request(
                "DELETE",
                &format!("/api/dead-letters/{id}"),
                &[("authorization", &token)],
            )
            .await;
        assert_eq!(discarded.status, 204);
    }
    let unknown = app
        .request("DELETE", "/api/dead-letters/7", &[("authorization", &token)])
        .await;
    assert_eq!((unknown.status, &unknown.json()["code"]), (404, &"not-found".into()));
    let posted = app
        .request("POST", "/api/dead-letters", &[("authorization", &token)])
        .await;
    assert_eq!((posted.status, posted.header("allow")), (405, "GET,HEAD"));
    let options = app.request("OPTIONS", "/api/dead-letters", &[]).await;
    assert_eq!((options.status, options.header("allow")), (204, "GET,HEAD,OPTIONS"));
}
