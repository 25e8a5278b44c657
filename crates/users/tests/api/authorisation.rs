//! Who may use which route. A route that is not in the table fails the test at the end.

use serde_json::{Value, json};

use crate::fixture::{App, PASSWORD, Person, app, start};

/// What anonymous, the owner, somebody else, an admin and a service are answered.
type Expected = [u16; 5];

struct Case {
    method: &'static str,
    /// `{id}` is the owner's.
    path: &'static str,
    body: Option<Value>,
    expected: Expected,
}

fn case(method: &'static str, path: &'static str, body: Option<Value>, expected: Expected) -> Case {
    Case {
        method,
        path,
        body,
        expected,
    }
}

fn cases() -> Vec<Case> {
    let passwords = json!({"current_password": PASSWORD, "new_password": "another password"});
    let name = || Some(json!({"name": "Ada"}));
    vec![
        case("GET", "/api/users/{id}", None, [401, 200, 404, 200, 200]),
        case("GET", "/api/users/me", None, [401, 200, 200, 200, 403]),
        case("GET", "/api/users", None, [401, 403, 403, 200, 403]),
        case("PUT", "/api/users/{id}", name(), [401, 200, 404, 200, 403]),
        case("PATCH", "/api/users/{id}", name(), [401, 200, 404, 200, 403]),
        case(
            "PUT",
            "/api/users/{id}/role",
            Some(json!({"role": "customer"})),
            [401, 403, 403, 200, 403],
        ),
        case(
            "POST",
            "/api/users/{id}/password",
            Some(passwords),
            [401, 204, 404, 404, 403],
        ),
        case("DELETE", "/api/users/{id}", None, [401, 204, 404, 204, 403]),
        case("POST", "/api/logout", None, [401, 204, 204, 204, 403]),
        case("GET", "/.well-known/jwks.json", None, [200; 5]),
        case("GET", "/api/dead-letters", None, [401, 403, 403, 200, 403]),
        case(
            "POST",
            "/api/dead-letters/dlq_users/retry",
            None,
            [401, 403, 403, 404, 403],
        ),
        case("DELETE", "/api/dead-letters/dlq_users", None, [401, 403, 403, 404, 403]),
        case(
            "POST",
            "/api/login",
            Some(json!({"email": "owner@example.com", "password": PASSWORD})),
            [200; 5],
        ),
        case(
            "POST",
            "/api/token/refresh",
            Some(json!({"refresh_token": "x"})),
            [401; 5],
        ),
        case(
            "POST",
            "/api/token/service",
            Some(json!({"service": "orders", "secret": crate::fixture::SERVICE_SECRET})),
            [200; 5],
        ),
        case(
            "POST",
            "/api/users",
            Some(json!({"email": "new@example.com", "password": PASSWORD})),
            [201; 5],
        ),
    ]
}

async fn people(app: &App) -> (Person, [Option<String>; 5]) {
    let owner = app.customer("owner@example.com").await;
    let other = app.customer("other@example.com").await;
    let admin = app.admin("admin@example.com").await;
    let tokens = [
        None,
        Some(owner.token.clone()),
        Some(other.token),
        Some(admin.token),
        Some(app.service().await),
    ];
    (owner, tokens)
}

#[tokio::test(start_paused = true)]
async fn each_route_answers_each_caller_as_the_table_says() {
    for Case {
        method,
        path,
        body,
        expected,
    } in cases()
    {
        for (index, name) in ["anonymous", "owner", "other", "admin", "service"]
            .into_iter()
            .enumerate()
        {
            let app = app().await;
            let (owner, tokens) = people(&app).await;
            let path = path.replace("{id}", &owner.id);
            let before = app.journal().await.len();
            let answer = app
                .request(method, &path, tokens[index].as_deref(), &[], body.clone())
                .await;
            assert_eq!(
                answer.status, expected[index],
                "{method} {path} by {name}: {:?}",
                answer.body
            );
            if answer.status >= 400 {
                assert_eq!(answer.header("content-type"), "application/problem+json");
                assert_eq!(
                    app.journal().await.len(),
                    before,
                    "{method} {path} by {name} was refused and happened"
                );
                let body = answer.body.to_string();
                assert!(!body.contains("example.com"), "{method} {path} by {name} tells {body}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_unknown_looks_like_what_is_not_yours() {
    let app = app().await;
    let (owner, tokens) = people(&app).await;
    let other = tokens[2].as_deref().unwrap();
    let own = app.get(&format!("/api/users/{}", owner.id), other).await;
    let unknown = app.get("/api/users/usr_01h455vb4pex5vsknk084sn02q", other).await;
    let malformed = app.get("/api/users/7", other).await;
    for answer in [&unknown, &malformed] {
        let [mut left, mut right] = [own.body.clone(), answer.body.clone()];
        left["instance"].take();
        right["instance"].take();
        assert_eq!((own.status, left), (answer.status, right));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_deployment_is_none() {
    let app = app().await;
    let owner = app.customer("owner@example.com").await;
    let forged = app
        .harness
        .token(crate::fixture::user_id(&owner.id), contracts::Role::Admin);
    assert_eq!(app.get("/api/users", &forged).await.refusal(), (401, "unauthorized"));
}

#[tokio::test(start_paused = true)]
async fn services_sign_in_with_the_secret_and_not_without() {
    let app = app().await;
    let sign_in = async |body: Value| app.post("/api/token/service", body).await;
    let answer = sign_in(json!({"service": "notifications", "secret": crate::fixture::SERVICE_SECRET})).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    assert_eq!(
        (answer.text("token_type"), &answer.body["expires_in"]),
        ("Bearer", &json!(900))
    );
    let caller = app.verifier.verify(answer.text("token")).await.unwrap();
    assert_eq!(caller.to_string(), "service:notifications");
    for wrong in ["", "between service", "between services ", "x"] {
        let answer = sign_in(json!({"service": "notifications", "secret": wrong})).await;
        assert!([401, 422].contains(&answer.status), "{wrong}: {answer:?}");
    }
    let secret = crate::fixture::SERVICE_SECRET;
    assert_eq!(sign_in(json!({"service": "shop", "secret": secret})).await.status, 422);
    assert_eq!(
        sign_in(json!({"service": "orders", "secret": secret, "role": "admin"}))
            .await
            .status,
        422
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_secret_no_service_signs_in() {
    let harness = testkit::harness::Harness::new(contracts::Service::Users, users::COLLECTIONS).await;
    let app = start(
        harness,
        std::sync::Arc::new(users::SimulatedHasher),
        users::Config::default(),
    )
    .await;
    let answer = app
        .post("/api/token/service", json!({"service": "orders", "secret": "x"}))
        .await;
    assert_eq!(answer.refusal(), (404, "not-found"));
}

#[test]
fn every_route_has_a_case() {
    let source = include_str!("../../src/http.rs");
    let routes = source
        .split(".route(\"")
        .skip(1)
        .filter_map(|rest| rest.split_once("\", "));
    let mut missing = Vec::new();
    for (path, methods) in routes {
        let methods = methods.split('\n').next().unwrap_or_default();
        for method in ["get", "post", "put", "patch", "delete"] {
            let routed = methods.contains(&format!("{method}("));
            let covered = cases()
                .iter()
                .any(|case| case.path == path && case.method.eq_ignore_ascii_case(method));
            if routed && !covered {
                missing.push(format!("{method} {path}"));
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}
