//! `tradewind config`, and settings that cannot be.

use std::net::TcpListener;

use serde_json::Value;

use crate::{in_an_empty_directory, run};

#[test]
fn every_setting_is_shown_with_where_it_is_from() {
    let (mut print, directory) = in_an_empty_directory(&["config", "print", "--json"]);
    std::fs::write(
        directory.path().join("tradewind.toml"),
        "payment_window = \"45m\"\nlog = \"debug\"\n",
    )
    .unwrap();
    std::fs::write(directory.path().join(".env"), "TRADEWIND_LOG=warn\n").unwrap();
    print
        .env("TRADEWIND_ADMIN_EMAIL", "a@example.com")
        .env("TRADEWIND_ADMIN_PASSWORD", "not to be shown");
    let ended = run(&mut print);
    let settings = ended.json();
    let setting = |name: &str| -> &Value {
        settings
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["name"] == name)
            .unwrap()
    };
    let expected = [
        ("payment_window", "45m", "tradewind.toml"),
        ("log", "warn", "TRADEWIND_LOG in .env"),
        ("listen", "127.0.0.1:3000", "default"),
        ("rate_limit_anonymous", "100/15m", "default"),
        ("rate_limit_user", "6000/15m", "default"),
        ("rate_limit_ip", "off", "default"),
        ("admin_password", "(set)", "TRADEWIND_ADMIN_PASSWORD"),
    ];
    for (name, value, from) in expected {
        let shown = setting(name);
        assert_eq!(
            (&shown["value"], &shown["from"]),
            (&value.into(), &from.into()),
            "{shown}"
        );
        assert!(shown["meaning"].as_str().unwrap().len() > 10, "{shown}");
    }
    assert!(!ended.out().contains("not to be shown"));
    let (mut print, _directory) = in_an_empty_directory(&["config", "print"]);
    let table = run(print
        .env("TRADEWIND_ADMIN_EMAIL", "a@example.com")
        .env("TRADEWIND_ADMIN_PASSWORD", "secret secret"))
    .done();
    assert!(
        table.contains("payment_window") && !table.contains("secret secret"),
        "{table}"
    );
    assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
}

#[test]
fn a_good_configuration_is_said_to_be_good_and_what_has_no_meaning_is_noted() {
    let (mut check, _directory) = in_an_empty_directory(&["config", "check"]);
    assert_eq!(run(&mut check).done(), "The configuration is valid.\n");
    let said = run(check
        .env("JWT_SECRET", "hush hush")
        .env("MONGO_URI", "mongodb://localhost"))
    .done();
    for part in ["valid", "note: JWT_SECRET", "note: MONGO_URI", "embedded store"] {
        assert!(said.contains(part), "it does not say {part:?}: {said}");
    }
    assert!(!said.contains("hush"), "{said}");
}

#[test]
fn all_that_is_wrong_or_lacks_is_told_at_once() {
    let (mut check, _directory) = in_an_empty_directory(&["config", "check"]);
    run(check
        .env("TRADEWIND_LISTEN", "3000")
        .env("TRADEWIND_PAYMENT_WINDOW", "soon"))
    .failed(&["listen = ", "payment_window = "]);
    let (mut check, _directory) = in_an_empty_directory(&["config", "check", "gateway"]);
    run(check.env("TRADEWIND_ORDERS_URL", "http://127.0.0.1:1")).failed(&[
        "users, catalog, inventory, payments, notifications, events of other processes",
        "TRADEWIND_USERS_URL",
        "TRADEWIND_EVENTS_URL",
    ]);
}

#[cfg(feature = "full")]
#[test]
fn a_url_with_which_no_broker_can_be_reached_is_refused_without_asking_anybody() {
    for url in ["nats://h:99999", "kafka://", "amqp://h:port/v", "redis://h/none"] {
        let (mut check, _directory) = in_an_empty_directory(&["config", "check"]);
        run(check.env("TRADEWIND_BUS", url)).failed(&["bus: the URL of "]);
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_text_is_no_setting_of_ours_or_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let nonsense = OsStr::from_bytes(b"\xff");
    let (mut check, _directory) = in_an_empty_directory(&["config", "check"]);
    run(check.env("SOMEBODY_ELSES", nonsense)).done();
    let (mut check, _directory) = in_an_empty_directory(&["config", "check"]);
    run(check.env("TRADEWIND_LOG", nonsense)).failed(&["TRADEWIND_LOG is not UTF-8"]);
    let (mut check, directory) = in_an_empty_directory(&["config", "check"]);
    std::fs::create_dir(directory.path().join(".env")).unwrap();
    run(&mut check).failed(&[".env"]);
}

#[test]
fn a_bad_setting_is_refused_in_one_line_with_what_to_write_instead() {
    let wrong: [(&str, &str, &[&str]); 16] = [
        ("LISTEN", "3000", &["listen", "TRADEWIND_LISTEN", "127.0.0.1:3000"]),
        ("LISTEN", "localhost", &["listen", "must be an address with a port"]),
        ("PAYMENT_WINDOW", "soon", &["payment_window", "30s", "15m"]),
        ("PAYMENT_WINDOW", "0s", &["payment_window", "must be a length of time"]),
        (
            "RATE_LIMIT_USER",
            "many",
            &["rate_limit_user", "TRADEWIND_RATE_LIMIT_USER"],
        ),
        (
            "RATE_LIMIT",
            "1/m",
            &["TRADEWIND_RATE_LIMIT is not a setting", "did you mean `rate_limit_"],
        ),
        (
            "NONSENSE",
            "1",
            &["TRADEWIND_NONSENSE is not a setting", "tradewind config print"],
        ),
        ("LOG_FORMAT", "xml", &["log_format", "`text` or `json`"]),
        (
            "ADMIN_EMAIL",
            "a@example.com",
            &["TRADEWIND_ADMIN_EMAIL", "TRADEWIND_ADMIN_PASSWORD"],
        ),
        (
            "TRUSTED_PROXIES",
            "10.0.0.0/99",
            &["trusted_proxies", "TRADEWIND_TRUSTED_PROXIES"],
        ),
        (
            "REDIS",
            "http://h",
            &["redis (from TRADEWIND_REDIS)", "must be the URL of a Redis", "redis://"],
        ),
        ("LOG", "info,orders=loud", &["log", "loud"]),
        (
            "LISTN",
            "127.0.0.1:0",
            &["TRADEWIND_LISTN is not a setting", "did you mean `listen`"],
        ),
        ("TEMPLATES", "/does/not/exist", &["templates", "/does/not/exist"]),
        ("ADMIN_PASSWORD", "short", &["admin"]),
        ("DATA", "", &["data"]),
    ];
    for arguments in [&["config", "check"][..], &["serve"]] {
        for (name, value, parts) in wrong {
            let (mut command, directory) = in_an_empty_directory(arguments);
            command
                .env("TRADEWIND_LISTEN", "127.0.0.1:0")
                .env(format!("TRADEWIND_{name}"), value);
            run(&mut command).failed(parts);
            assert_eq!(
                std::fs::read_dir(directory.path()).unwrap().count(),
                0,
                "something was made before it was refused"
            );
        }
    }
}

#[test]
fn a_bad_file_is_refused_by_its_name() {
    let refused = |content: &str, parts: &[&str]| {
        let (mut check, directory) = in_an_empty_directory(&["config", "check", "--config", "shop.toml"]);
        std::fs::write(directory.path().join("shop.toml"), content).unwrap();
        let ended = run(&mut check);
        assert_eq!(ended.0.status.code(), Some(1), "{}", ended.err());
        for part in parts.iter().chain(&["shop.toml"]) {
            assert!(ended.err().contains(part), "it does not say {part:?}: {}", ended.err());
        }
    };
    refused("listen = ", &["TOML"]);
    refused(
        "listne = \"127.0.0.1:0\"",
        &["listne", "is not a setting", "did you mean `listen`"],
    );
    refused(
        "payment_window = \"soon\"",
        &["payment_window", "must be a length of time"],
    );
    refused("[orders]\npayment_window = \"1h\"", &["orders"]);
    let (mut check, _directory) = in_an_empty_directory(&["config", "check", "--config", "absent.toml"]);
    run(&mut check).failed(&["cannot read absent.toml"]);
}

#[test]
fn a_server_that_cannot_have_its_port_or_its_directory_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (mut serve, _directory) = in_an_empty_directory(&["serve"]);
    run(serve.env("TRADEWIND_LISTEN", &address)).failed(&["cannot listen on", &address, "TRADEWIND_LISTEN", "in use"]);
    let (mut serve, directory) = in_an_empty_directory(&["serve"]);
    std::fs::write(directory.path().join("file"), "in the way").unwrap();
    serve
        .env("TRADEWIND_LISTEN", "127.0.0.1:0")
        .env("TRADEWIND_DATA", "file/data");
    run(&mut serve).failed(&["file/data", "TRADEWIND_DATA"]);
    let (mut serve, _directory) = in_an_empty_directory(&["serve", "orders"]);
    run(&mut serve).failed(&["tradewind serve"]);
}
