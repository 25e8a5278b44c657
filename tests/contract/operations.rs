//! Health, metrics, configuration, and starting and stopping.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{ADMIN_EMAIL, PASSWORD, Server, eventually, id_of, shop, tradewind};

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// What a command says: its exit code, its standard output and its standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    (status.code().unwrap_or(-1), text(&stdout), text(&stderr))
}

#[tokio::test]
async fn the_process_says_how_it_is() {
    let shop = shop().await;
    let health = shop.anonymous.get("/healthz").await.expect(200);
    assert!(health.json.is_object(), "{health}");
    let ready = shop.anonymous.get("/readyz").await.expect(200);
    for service in [
        "users",
        "catalog",
        "inventory",
        "orders",
        "payments",
        "notifications",
        "events",
    ] {
        assert_eq!(ready.json["stores"][service], "up", "{ready}");
        assert!(!ready.json["upstreams"][service].is_null(), "{ready}");
    }
    let consumers = ready.json["consumers"].as_object().unwrap();
    assert!(consumers.len() > 10, "{ready}");
    assert!(
        consumers.values().all(|consumer| consumer["lanes_held"] == 0),
        "{ready}"
    );
    let index = shop.anonymous.get("/").await.expect(200);
    assert_eq!(index.json["name"], "tradewind");
}

#[tokio::test]
async fn metrics_are_prometheus() {
    let shop = shop().await;
    let customer = shop.customer().await;
    customer.get("/api/orders").await.expect(200);
    let seen = eventually("the request is counted", async || {
        let metrics = shop.anonymous.get("/metrics").await.expect(200);
        metrics.text.contains("/api/orders").then_some(metrics)
    })
    .await;
    assert!(seen.header("content-type").starts_with("text/plain"), "{seen}");
    for line in seen
        .text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    assert!(
        !seen.text.contains(&customer.id) && !seen.text.contains(&customer.email),
        "labels name nobody"
    );
}

#[tokio::test]
async fn the_first_admin_is_made_up_and_told_once() {
    let settings = Server::settings().without("admin_email").without("admin_password");
    let mut server = settings.start().await;
    let file = server.data().join("admin-password");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let password = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert!(password.len() >= 16, "{password}");
    assert!(server.printed().contains(&password) && server.printed().contains("admin@tradewind.local"));
    assert!(!server.log().contains(&password));
    let admin = server.anonymous().signed_in("admin@tradewind.local", &password).await;
    admin.get("/api/users").await.expect(200);
    server.restart().await;
    assert!(!server.printed().contains(&password), "{}", server.printed());
    let admin = server.anonymous().signed_in("admin@tradewind.local", &password).await;
    assert_eq!(admin.get("/api/users").await.data().len(), 1);
}

#[tokio::test]
async fn a_data_directory_is_one_processes() {
    let mut server = Server::start().await;
    let admin = json!({"email": "second@example.com", "password": PASSWORD});
    for arguments in [
        &["serve"][..],
        &["migrate"],
        &["rebuild"],
        &[
            "admin",
            "create",
            "--email",
            "second@example.com",
            "--password",
            PASSWORD,
        ],
    ] {
        let (code, _, error) = run(server.command().args(arguments));
        assert_ne!(code, 0, "{arguments:?}");
        assert!(
            error.contains("in use by another tradewind process"),
            "{arguments:?}: {error}"
        );
    }
    server
        .anonymous()
        .post("/api/login", admin.clone())
        .await
        .refused(401, "invalid-credentials");
    server.stop();
    let create = [
        "admin",
        "create",
        "--email",
        "second@example.com",
        "--password",
        PASSWORD,
        "--json",
    ];
    for outcome in ["created", "already"] {
        let (code, printed, error) = run(server.command().args(create));
        assert_eq!(code, 0, "{error}");
        let told: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(told["outcome"], outcome);
    }
    assert_eq!(run(server.command().arg("migrate")).0, 0);
    assert_eq!(run(server.command().arg("rebuild")).0, 0);
    server.start_again().await;
    let second = server.anonymous().signed_in("second@example.com", PASSWORD).await;
    second.get("/api/users").await.expect(200);
}

#[tokio::test]
async fn a_customer_is_promoted_from_the_command_line() {
    let mut server = Server::start().await;
    let customer = server.customer().await;
    server.stop();
    let create = [
        "admin",
        "create",
        "--email",
        &customer.email,
        "--password",
        "another password",
        "--json",
    ];
    let (code, printed, error) = run(server.command().args(create));
    assert_eq!(code, 0, "{error}");
    let told: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (&told["outcome"], &told["user_id"]),
        (&json!("promoted"), &json!(customer.id))
    );
    server.start_again().await;
    let promoted = server.anonymous().signed_in(&customer.email, "another password").await;
    promoted.get("/api/users").await.expect(200);
    let refresh = json!({"refresh_token": customer.refresh_token});
    server
        .anonymous()
        .post("/api/token/refresh", refresh)
        .await
        .refused(401, "session-ended");
}

#[tokio::test]
async fn what_was_answered_survives_a_stop_and_a_kill() {
    let mut server = Server::start().await;
    let (mut customer, mut admin) = (server.customer().await, server.admin().await);
    let product = admin.product(100).await;
    let mut orders = Vec::new();
    for round in 1..=3 {
        for _ in 0..5 {
            orders.push(id_of(&customer.place_order(&product, 1).await));
        }
        if round == 2 {
            server.restart().await;
        } else {
            server.kill();
            server.start_again().await;
        }
        (customer, admin) = (customer.moved_to(&server), admin.moved_to(&server));
        for order in &orders {
            customer.until_order(order, "confirmed").await;
        }
        admin.until_stock(&product, (100, 5 * round, 100 - 5 * round)).await;
    }
}

#[tokio::test]
async fn what_is_under_way_is_finished_before_the_end() {
    let mut server = Server::start().await;
    let (customer, product) = (server.customer().await, server.admin().await.product(100_000).await);
    let body = json!({"lines": [{"sku": product.sku, "quantity": 1}]});
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let (customer, body) = (customer.clone(), body.clone());
            tokio::spawn(async move {
                let mut placed = Vec::new();
                while let Some(answer) = customer.post("/api/orders", body.clone()).attempt().await {
                    match answer.status {
                        201 => placed.push(answer.text_at("id")),
                        _ => assert_eq!(answer.status, 503, "{answer}"),
                    }
                }
                placed
            })
        })
        .collect();
    let list = "/api/orders?limit=200";
    eventually("orders come in", async || {
        (customer.get(list).await.data().len() >= 50).then_some(())
    })
    .await;
    let server = tokio::task::spawn_blocking(move || {
        server.stop();
        server
    });
    let mut server = server.await.unwrap();
    server.start_again().await;
    let customer = customer.moved_to(&server);
    let mut all = 0;
    for writer in writers {
        let placed = writer.await.unwrap();
        all += placed.len();
        for order in placed {
            customer.get(&format!("/api/orders/{order}")).await.expect(200);
        }
    }
    assert!(all >= 50, "{all}");
}

#[tokio::test]
async fn an_open_stream_does_not_keep_the_server() {
    let mut server = Server::start().await;
    let mut stream = server.admin().await.stream("", None).await;
    let started = tokio::time::Instant::now();
    let server = tokio::task::spawn_blocking(move || server.stop());
    while stream.frame().await.is_some() {}
    server.await.unwrap();
    assert!(
        started.elapsed() < std::time::Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn the_configuration_is_shown_and_its_secrets_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let config = |arguments: &[&str]| {
        let mut command = tradewind();
        command.current_dir(directory.path()).arg("config").args(arguments);
        command
    };
    let settings = |command: &mut Command| -> Vec<Value> {
        let (code, printed, error) = run(command);
        assert_eq!(code, 0, "{error}");
        serde_json::from_str(&printed).unwrap()
    };
    let setting = |all: &[Value], name: &str| all.iter().find(|it| it["name"] == name).unwrap().clone();
    let defaults = settings(&mut config(&["print", "--json"]));
    for (name, value) in [
        ("listen", "127.0.0.1:3000"),
        ("rate_limit_anonymous", "100/15m"),
        ("rate_limit_user", "6000/15m"),
        ("rate_limit_ip", "off"),
        ("payment_window", "30m"),
    ] {
        let shown = setting(&defaults, name);
        assert_eq!(
            (&shown["value"], &shown["from"]),
            (&json!(value), &json!("default")),
            "{shown}"
        );
        assert!(!shown["meaning"].as_str().unwrap().is_empty());
    }
    // The file, then a `.env` file, then the environment.
    std::fs::write(
        directory.path().join("tradewind.toml"),
        "payment_window = '1m'\nlisten = '127.0.0.1:1'\nlog = 'warn'\n",
    )
    .unwrap();
    std::fs::write(
        directory.path().join(".env"),
        "TRADEWIND_LISTEN=127.0.0.1:2\nTRADEWIND_LOG=error\n",
    )
    .unwrap();
    let mut print = config(&["print", "--json"]);
    print
        .env("TRADEWIND_LOG", "debug")
        .env("TRADEWIND_ADMIN_EMAIL", ADMIN_EMAIL)
        .env("TRADEWIND_ADMIN_PASSWORD", PASSWORD);
    let shown = settings(&mut print);
    assert_eq!(setting(&shown, "payment_window")["value"], "1m");
    assert_eq!(setting(&shown, "listen")["value"], "127.0.0.1:2");
    assert_eq!(setting(&shown, "log")["value"], "debug");
    assert!(!json!(shown).to_string().contains(PASSWORD));
    let (code, table, _) = run(config(&["print"]).env("TRADEWIND_SERVICE_SECRET", "swordfish-swordfish"));
    assert!(
        code == 0 && table.contains("service_secret") && !table.contains("swordfish"),
        "{table}"
    );
    let (code, said, _) = run(&mut config(&["check"]));
    assert!(code == 0 && said.contains("valid"), "{said}");
    let named = directory.path().join("named.toml");
    std::fs::write(&named, "listen = '127.0.0.1:5'").unwrap();
    let mut print = tradewind();
    print
        .current_dir(directory.path())
        .args(["config", "print", "--json", "--config"])
        .arg(&named);
    std::fs::remove_file(directory.path().join(".env")).unwrap();
    assert_eq!(setting(&settings(&mut print), "listen")["value"], "127.0.0.1:5");
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    for (name, value, said) in [
        ("TRADEWIND_LISTEN", "3000", "listen"),
        ("TRADEWIND_LISTEN", "not an address", "listen"),
        ("TRADEWIND_RATE_LIMIT_USER", "many", "rate_limit_user"),
        ("TRADEWIND_RATE_LIMIT_USER", "0/1m", "rate_limit_user"),
        ("TRADEWIND_TRUSTED_PROXIES", "everybody", "trusted_proxies"),
        ("TRADEWIND_CORS_ORIGINS", "shop.example", "cors_origins"),
        ("TRADEWIND_PAYMENT_WINDOW", "0s", "payment_window"),
        ("TRADEWIND_REQUEST_TIMEOUT", "soon", "request_timeout"),
        ("TRADEWIND_LOG_FORMAT", "xml", "log_format"),
        ("TRADEWIND_LOG", "orders=loud", "log"),
        ("TRADEWIND_ADMIN_EMAIL", "a@example.com", "admin_password"),
        ("TRADEWIND_ADMIN_EMAIL", "ada", "admin_email"),
        ("TRADEWIND_RATE_LIMITS", "1/m", "TRADEWIND_RATE_LIMITS"),
        ("TRADEWIND_SURPRISE", "1", "TRADEWIND_SURPRISE"),
    ] {
        let mut command = tradewind();
        let (code, _, error) = run(command
            .current_dir(directory.path())
            .args(["config", "check"])
            .env(name, value));
        assert_ne!(code, 0, "{name}={value}");
        assert!(error.contains(said), "{name}={value}: {error}");
    }
    std::fs::write(directory.path().join("tradewind.toml"), "surprise = 1").unwrap();
    let (code, _, error) = run(tradewind().current_dir(directory.path()).args(["config", "check"]));
    assert!(code != 0 && error.contains("surprise"), "{error}");
}

#[test]
fn names_of_the_original_documents_are_answered_with_what_to_use_instead() {
    let directory = tempfile::tempdir().unwrap();
    for name in [
        "MONGO_URI",
        "STRIPE_SECRET_KEY",
        "EMAIL_USER",
        "EMAIL_PASS",
        "JWT_SECRET",
    ] {
        let mut command = tradewind();
        let (code, said, error) = run(command
            .current_dir(directory.path())
            .args(["config", "check"])
            .env(name, "a secret value"));
        assert!(code == 0 && said.contains(name), "{said}{error}");
        assert!(
            !said.contains("a secret value") && !error.contains("a secret value"),
            "{said}{error}"
        );
    }
}

#[test]
fn an_unknown_command_is_refused_and_help_names_all() {
    assert_ne!(run(tradewind().arg("surprise")).0, 0);
    let (code, help, _) = run(tradewind().arg("--help"));
    assert_eq!(code, 0);
    for command in [
        "serve",
        "demo",
        "replay",
        "migrate",
        "rebuild",
        "events",
        "dead-letters",
        "admin",
        "config",
    ] {
        assert!(help.contains(command), "{command}: {help}");
    }
}
