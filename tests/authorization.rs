//! Who may do what: every route, asked by everybody [P12].
//!
//! The routes are read out of the services' code, so that a new one without a case here fails, as does a case without a
//! route.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures::future::join_all;
use serde_json::{Value, json};

use support::{Actor, PASSWORD, Product, Server, eventually, id_of, unique};

const SERVICE_SECRET: &str = "what services show each other";
const UNKNOWN: &str = "01h455vb4pex5vsknk084sn02q";

/// Who asks, in the order of the columns of [`CASES`].
const ACTORS: [&str; 7] = [
    "nobody",
    "owner",
    "another",
    "admin",
    "service",
    "a bad token",
    "who was erased",
];

/// A route, what is particular about the case if there are several of it, and the status for each of [`ACTORS`]. What is
/// asked for is always the owner's.
#[rustfmt::skip]
const CASES: &[(&str, &str, [u16; 7])] = &[
    // users
    ("GET /api/users", "",                            [401, 403, 403, 200, 403, 401, 401]),
    ("GET /api/users", "by e-mail",                   [401, 403, 403, 200, 403, 401, 401]),
    ("POST /api/users", "",                           [201, 201, 201, 201, 201, 401, 401]),
    ("GET /api/users/me", "",                         [401, 200, 200, 200, 403, 401, 401]),
    ("GET /api/users/{id}", "",                       [401, 200, 404, 200, 200, 401, 401]),
    ("PUT /api/users/{id}", "",                       [401, 200, 404, 200, 403, 401, 401]),
    ("PATCH /api/users/{id}", "",                     [401, 200, 404, 200, 403, 401, 401]),
    ("DELETE /api/users/{id}", "",                    [401, 204, 404, 204, 403, 401, 401]),
    ("PUT /api/users/{id}/role", "",                  [401, 403, 403, 200, 403, 401, 401]),
    ("POST /api/users/{id}/password", "",             [401, 204, 404, 404, 403, 401, 401]),
    ("POST /api/login", "",                           [200, 200, 200, 200, 200, 401, 401]),
    ("POST /api/logout", "",                          [401, 204, 204, 204, 403, 401, 401]),
    ("POST /api/token/refresh", "",                   [200, 200, 200, 200, 200, 401, 401]),
    ("POST /api/token/service", "",                   [200, 200, 200, 200, 200, 401, 401]),
    ("POST /api/token/service", "with a wrong secret", [401, 401, 401, 401, 401, 401, 401]),
    ("GET /.well-known/jwks.json", "",                [200, 200, 200, 200, 200, 401, 401]),
    // catalog
    ("GET /api/products", "",                         [200, 200, 200, 200, 200, 401, 401]),
    ("POST /api/products", "",                        [401, 403, 403, 201, 403, 401, 401]),
    ("GET /api/products/{id}", "",                    [200, 200, 200, 200, 200, 401, 401]),
    ("PUT /api/products/{id}", "",                    [401, 403, 403, 200, 403, 401, 401]),
    ("PATCH /api/products/{id}", "",                  [401, 403, 403, 200, 403, 401, 401]),
    ("DELETE /api/products/{id}", "",                 [401, 403, 403, 204, 403, 401, 401]),
    // inventory
    ("GET /api/inventory", "",                        [401, 403, 403, 200, 403, 401, 401]),
    ("GET /api/inventory/{sku}", "",                  [200, 200, 200, 200, 200, 401, 401]),
    ("PUT /api/inventory/{sku}", "",                  [401, 403, 403, 200, 403, 401, 401]),
    ("POST /api/inventory/{sku}/adjustments", "",     [401, 403, 403, 201, 403, 401, 401]),
    // orders
    ("GET /api/orders", "",                           [401, 200, 200, 200, 403, 401, 401]),
    ("POST /api/orders", "",                          [401, 201, 201, 201, 403, 401, 401]),
    ("POST /api/orders", "for the owner",             [401, 201, 403, 201, 403, 401, 401]),
    ("GET /api/orders/{id}", "",                      [401, 200, 404, 200, 403, 401, 401]),
    ("GET /api/orders/{id}", "as it was",             [401, 200, 404, 200, 403, 401, 401]),
    ("PATCH /api/orders/{id}", "the address",         [401, 200, 404, 200, 403, 401, 401]),
    ("PATCH /api/orders/{id}", "the metadata",        [401, 403, 404, 200, 403, 401, 401]),
    ("PATCH /api/orders/{id}", "the status",          [401, 403, 404, 200, 403, 401, 401]),
    ("GET /api/orders/{id}/events", "",               [401, 200, 404, 200, 403, 401, 401]),
    ("POST /api/orders/{id}/cancel", "",              [401, 200, 404, 200, 403, 401, 401]),
    // payments
    ("GET /api/payments", "",                         [401, 200, 200, 200, 403, 401, 401]),
    ("POST /api/payments", "",                        [401, 201, 404, 201, 403, 401, 401]),
    ("GET /api/payments/{id}", "",                    [401, 200, 404, 200, 403, 401, 401]),
    ("POST /api/payments/{id}/refunds", "",           [401, 403, 403, 201, 403, 401, 401]),
    // notifications
    ("POST /api/notify", "",                          [401, 403, 403, 202, 202, 401, 401]),
    ("GET /api/notifications", "",                    [401, 200, 200, 200, 403, 401, 401]),
    ("POST /api/notifications/{id}/retry", "of one that was sent", [401, 403, 403, 409, 403, 401, 401]),
    // events
    ("GET /api/events", "",                           [401, 403, 403, 200, 403, 401, 401]),
    ("POST /api/events", "",                          [401, 403, 403, 201, 403, 401, 401]),
    ("GET /api/events/stream", "",                    [401, 200, 200, 200, 403, 401, 401]),
    // dead letters, of every service
    ("GET /api/dead-letters", "",                     [401, 403, 403, 200, 403, 401, 401]),
    ("GET /api/dead-letters", "of one service",       [401, 403, 403, 200, 403, 401, 401]),
    ("DELETE /api/dead-letters/{id}", "of none",      [401, 403, 403, 404, 403, 401, 401]),
    ("POST /api/dead-letters/{id}/retry", "of none",  [401, 403, 403, 404, 403, 401, 401]),
    // journals, of every service; here there is no broker to publish to
    ("GET /api/journals/{service}", "",               [401, 403, 403, 200, 403, 401, 401]),
    ("POST /api/journals/{service}/republish", "",    [401, 403, 403, 409, 403, 401, 401]),
    // The gateway's own pages ask nobody.
    ("GET /", "",                                     [200; 7]),
    ("GET /docs/errors", "",                          [200; 7]),
    ("GET /healthz", "",                              [200; 7]),
    ("GET /readyz", "",                               [200; 7]),
    ("GET /metrics", "",                              [200; 7]),
];

/// A shop with everybody in it.
struct World {
    server: Server,
    nobody: Actor,
    owner: Actor,
    another: Actor,
    admin: Actor,
    service: Actor,
    erased: Actor,
    product: Product,
    /// A message to the owner that was sent.
    message: String,
}

/// What a case asks for.
struct Target {
    /// Whose it is.
    owner: Actor,
    path: String,
    body: Option<Value>,
}

impl World {
    async fn new() -> Self {
        let server = Server::settings().with("service_secret", SERVICE_SECRET).start().await;
        let (nobody, admin) = (server.anonymous(), server.admin().await);
        let (owner, another, erased) = (
            server.customer().await,
            server.customer().await,
            server.customer().await,
        );
        let body = json!({"service": "notifications", "secret": SERVICE_SECRET});
        let token = nobody
            .post("/api/token/service", body)
            .await
            .expect(200)
            .text_at("token");
        let service = nobody.with_token(&token);
        erased.delete(&format!("/api/users/{}", erased.id)).await.expect(204);
        // Every service refuses her token once it has seen that she is gone.
        for path in [
            "/api/users/me",
            "/api/products",
            "/api/inventory/x",
            "/api/orders",
            "/api/payments",
            "/api/notifications",
        ] {
            eventually(path, async || (erased.get(path).await.status == 401).then_some(())).await;
        }
        let events = "/api/events/stream?type=custom.x";
        eventually(events, async || {
            (erased.get(events).response().await.status() == 401).then_some(())
        })
        .await;
        let product = admin.product(1_000_000).await;
        owner.confirmed_order(&product, 1).await;
        let messages = "/api/notifications?status=sent";
        let message = eventually(messages, async || owner.get(messages).await.expect(200).ids().pop()).await;
        Self {
            server,
            nobody,
            owner,
            another,
            admin,
            service,
            erased,
            product,
            message,
        }
    }

    fn actor(&self, name: &str, target: &Target) -> Actor {
        match name {
            "nobody" => self.nobody.clone(),
            "owner" => target.owner.clone(),
            "another" => self.another.clone(),
            "admin" => self.admin.clone(),
            "service" => self.service.clone(),
            "a bad token" => self.nobody.with_token("x.y.z"),
            "who was erased" => self.erased.clone(),
            _ => panic!("{name} is nobody"),
        }
    }

    /// Something new of the owner's, so that no cell meets what another has left.
    async fn target(&self, route: &str, particular: &str) -> Target {
        let mut owner = self.owner.clone();
        let order = async || self.owner.confirmed_order(&self.product, 1).await;
        let line = json!([{"sku": self.product.sku, "quantity": 1}]);
        let new_product = || json!({"sku": unique("NEW"), "name": "x", "price": {"amount": 1, "currency": "USD"}});
        let (_, template) = route.split_once(' ').unwrap();
        let (id, body) = match (route, particular) {
            ("POST /api/users", _) => (
                String::new(),
                Some(json!({"email": format!("{}@example.com", unique("new")), "password": PASSWORD})),
            ),
            ("POST /api/login", _) => (
                String::new(),
                Some(json!({"email": self.owner.email, "password": PASSWORD})),
            ),
            ("POST /api/token/refresh", _) => {
                let session = self.nobody.signed_in(&self.owner.email, PASSWORD).await;
                (String::new(), Some(json!({"refresh_token": session.refresh_token})))
            }
            ("POST /api/token/service", "") => (
                String::new(),
                Some(json!({"service": "orders", "secret": SERVICE_SECRET})),
            ),
            ("POST /api/token/service", _) => (String::new(), Some(json!({"service": "orders", "secret": "a guess"}))),
            (route, _) if template.starts_with("/api/users/{id}") => {
                owner = self.server.customer().await;
                let body = match route.split_once(' ').unwrap() {
                    ("PUT", "/api/users/{id}/role") => Some(json!({"role": "customer"})),
                    ("POST", _) => Some(json!({"current_password": PASSWORD, "new_password": "another password"})),
                    ("PUT" | "PATCH", _) => Some(json!({"name": "Ada"})),
                    _ => None,
                };
                (owner.id.clone(), body)
            }
            ("POST /api/products", _) => (String::new(), Some(new_product())),
            (route, _) if template.starts_with("/api/products/{id}") => {
                let id = id_of(&self.admin.post("/api/products", new_product()).await.expect(201).json);
                (id, matches!(&route[..3], "PUT" | "PAT").then(|| json!({"name": "y"})))
            }
            ("PUT /api/inventory/{sku}", _) => (self.product.sku.clone(), Some(json!({"on_hand": 1_000_000}))),
            ("POST /api/inventory/{sku}/adjustments", _) => {
                (self.product.sku.clone(), Some(json!({"delta": 1, "reason": "found"})))
            }
            (_, _) if template.starts_with("/api/inventory/{sku}") => (self.product.sku.clone(), None),
            ("POST /api/orders", "") => (String::new(), Some(json!({"lines": line}))),
            ("POST /api/orders", _) => (String::new(), Some(json!({"lines": line, "user_id": self.owner.id}))),
            ("PATCH /api/orders/{id}", "the address") => {
                let address = json!({"line1": "x", "city": "y", "country": "NL"});
                (order().await, Some(json!({"shipping_address": address})))
            }
            ("PATCH /api/orders/{id}", "the metadata") => (order().await, Some(json!({"metadata": {"a": 1}}))),
            ("PATCH /api/orders/{id}", _) => (order().await, Some(json!({"status": "paid"}))),
            (_, _) if template.starts_with("/api/orders/{id}") => (order().await, None),
            ("POST /api/payments", _) => (String::new(), Some(json!({"order_id": order().await}))),
            (_, _) if template.starts_with("/api/payments/{id}") => {
                (self.owner.paid_order(&self.product, 1).await.1, None)
            }
            ("POST /api/notify", _) => {
                let body =
                    json!({"user_id": self.owner.id, "order_id": format!("ord_{UNKNOWN}"), "template": "order-paid"});
                (String::new(), Some(body))
            }
            ("POST /api/notifications/{id}/retry", _) => (self.message.clone(), None),
            ("POST /api/events", _) => (
                String::new(),
                Some(json!({"type": "custom.x", "subject": "x", "data": {}})),
            ),
            (_, _) if template.starts_with("/api/dead-letters/{id}") => (format!("dlq_orders_{UNKNOWN}"), None),
            ("POST /api/journals/{service}/republish", _) => ("orders".to_owned(), Some(json!({"from": 0}))),
            ("GET /api/journals/{service}", _) => ("orders".to_owned(), None),
            (_, _) => (String::new(), None),
        };
        let query = match (route, particular) {
            ("GET /api/users", "by e-mail") => format!("?email={}", self.owner.email),
            ("GET /api/orders/{id}", "as it was") => "?version=1".to_owned(),
            ("GET /api/dead-letters", "of one service") => "?service=orders".to_owned(),
            _ => String::new(),
        };
        let path = ["{id}", "{sku}", "{service}"]
            .iter()
            .fold(template.to_owned(), |path, part| path.replace(part, &id))
            + &query;
        assert!(!path.contains('{'), "{route} has no target");
        Target { owner, path, body }
    }

    /// Asks, and gives the status.
    async fn ask(&self, route: &str, particular: &str, actor: &str) -> u16 {
        let target = self.target(route, particular).await;
        let (method, _) = route.split_once(' ').unwrap();
        let mut call = self.actor(actor, &target).request(method, &target.path);
        if let Some(body) = &target.body {
            call = call.json(body);
        }
        if target.path == "/api/events/stream" {
            // It has no end, if it begins.
            return call.response().await.status().as_u16();
        }
        call.await.status
    }
}

#[tokio::test]
async fn everybody_may_do_what_the_contract_says_and_nothing_else() {
    let world = &World::new().await;
    let wrong = join_all(CASES.iter().map(|(route, particular, statuses)| async move {
        let mut wrong = Vec::new();
        for (actor, expected) in ACTORS.iter().zip(statuses) {
            let status = world.ask(route, particular, actor).await;
            if status != *expected {
                wrong.push(format!("{route} {particular}: {actor} gets {status}, not {expected}"));
            }
        }
        wrong
    }));
    let wrong = wrong.await.concat();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_route_has_a_case_and_every_case_a_route() {
    let cased: BTreeSet<String> = CASES.iter().map(|(route, ..)| (*route).to_owned()).collect();
    let routes = routes();
    let without: Vec<_> = routes.difference(&cased).collect();
    assert!(without.is_empty(), "without a case: {without:#?}");
    let gone: Vec<_> = cased.difference(&routes).collect();
    assert!(gone.is_empty(), "without a route: {gone:#?}");
}

/// Every route of the services and of the gateway, as their code declares them: `GET /api/orders/{id}`.
fn routes() -> BTreeSet<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut routes = BTreeSet::new();
    // These have routes that are in no shop.
    let elsewhere = ["tradewind/src/bench", "fuzzing"].map(|directory| crates.join(directory));
    let in_a_shop = |path: &PathBuf| !elsewhere.iter().any(|directory| path.starts_with(directory));
    for path in rust_files(crates).into_iter().filter(in_a_shop) {
        let shown = path.strip_prefix(crates).unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        // Those that the kernel's own tests serve are in its tests.
        for declared in text.split(".route(").skip(1) {
            if declared.starts_with(')') {
                // A getter of that name.
                continue;
            }
            let (path, handlers) = declaration(declared);
            assert!(
                path.starts_with('/'),
                "{shown}: a route whose path is no literal: {path}"
            );
            let methods: Vec<&str> = ["get", "post", "put", "patch", "delete"]
                .into_iter()
                .filter(|it| calls(handlers, it))
                .collect();
            assert!(!methods.is_empty(), "{shown}: {path} has no method that is known here");
            routes.extend(methods.iter().map(|method| format!("{} {path}", method.to_uppercase())));
        }
        for wider in [".nest(", ".route_service(", ".nest_service(", ".fallback_service("] {
            assert!(
                !text.contains(wider),
                "{shown} has routes that are not found here: {wider}"
            );
        }
    }
    let table = std::fs::read_to_string(crates.join("gateway/src/route.rs")).unwrap();
    let pages = table
        .split("    page(\"")
        .skip(1)
        .map(|page| format!("GET {}", page.split('"').next().unwrap()));
    routes.extend(pages);
    assert!(routes.len() > 40, "{routes:#?}");
    routes
}

/// The path of a route, and the text of its handlers up to the closing bracket.
fn declaration(declared: &str) -> (&str, &str) {
    let path = declared.trim_start().trim_start_matches('"').split('"').next().unwrap();
    let mut depth = 1;
    let end = declared.find(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        depth == 0
    });
    (path, &declared[..end.unwrap_or(declared.len())])
}

/// Whether `handlers` has `get(` or `.get(`, and not as the end of another name.
fn calls(handlers: &str, method: &str) -> bool {
    handlers.match_indices(&format!("{method}(")).any(|(start, _)| {
        let before = handlers[..start].chars().next_back();
        before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_')
    })
}

/// The services' sources. What is tested with its own routes is not served.
fn rust_files(crates: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories: Vec<PathBuf> = std::fs::read_dir(crates)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("src"))
        .filter(|source| source.is_dir() && !source.starts_with(crates.join("testkit")))
        .collect();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|it| it == "rs")
                && path.file_name().is_none_or(|it| it != "fixture.rs")
            {
                files.push(path);
            }
        }
    }
    files
}
