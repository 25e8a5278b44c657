//! `tradewind bench`, as far as a debug build can tell: what it does, not how fast.

use crate::in_an_empty_directory;
use crate::run;

#[test]
fn the_bench_counts_only_orders_that_were_decided_and_draws_them() {
    let mut arguments = vec!["bench", "--json", "--seconds", "1", "--connections", "2"];
    arguments.extend(["--only", "bare,place,confirm,order"]);
    let (mut command, directory) = in_an_empty_directory(&arguments);
    let report = run(command.args(["--svg", "bench.svg", "--preload", "200"])).json();

    let rows = report["rows"].as_array().expect("the report has rows");
    // And all again with orders stored.
    assert_eq!(rows.len(), 8, "{rows:?}");
    for row in rows {
        assert!(row["per_second"].as_f64() > Some(1.0), "{row}");
        assert!(row["cpu_us"].as_f64() > Some(1.0), "{row}");
        assert!(row["p50_ms"].as_f64() <= row["p999_ms"].as_f64(), "{row}");
        assert_eq!(row["settled_s"].is_number(), row["mode"] == "confirm", "{row}");
    }
    let stored: Vec<u64> = rows.iter().filter_map(|row| row["preloaded"].as_u64()).collect();
    let of_all: Vec<u64> = stored.iter().copied().filter(|orders| *orders > 0).collect();
    assert_eq!(of_all.len(), 4, "{rows:?}");
    assert!(of_all[0] >= 200 && of_all.is_sorted(), "each adds to them: {rows:?}");
    assert!(of_all[0] < of_all[3], "each adds to them: {rows:?}");
    let targets = report["targets"].as_array().expect("the report has targets");
    assert!(
        targets.iter().any(|target| target["what"] == "slowest start, ms"),
        "{targets:?}"
    );

    let drawn = std::fs::read_to_string(directory.path().join("bench.svg")).expect("it was drawn");
    assert!(
        drawn.contains("place, events wait") && drawn.contains("<polyline"),
        "{drawn}"
    );
}

/// On any database, orders that are placed are compared with what it does at the most.
fn is_measured_beside_its_limit(url: &str, server: &str) {
    let mut arguments = vec!["bench", "--json", "--seconds", "1", "--connections", "8"];
    arguments.extend(["--only", "place,confirm", "--store", url]);
    let (mut command, _directory) = in_an_empty_directory(&arguments);
    let report = run(&mut command).json();
    let rows = report["rows"].as_array().expect("the report has rows");
    assert_eq!(rows.len(), 2, "{rows:?}");
    for row in rows {
        assert_eq!(row["store"], server, "{row}");
        assert!(row["per_second"].as_f64() > Some(1.0), "{row}");
        let limit = &row["limit"];
        assert_eq!(limit.is_object(), row["mode"] == "place", "{row}");
        if limit.is_object() {
            assert!(limit["per_second"].as_f64() > Some(1.0), "{row}");
            let orders = limit["orders_a_commit"].as_f64();
            assert!(
                orders >= Some(1.0) && orders <= Some(8.0),
                "no more than connections: {row}"
            );
        }
    }
}

#[test]
fn a_directory_is_measured_beside_its_limit_and_again_with_what_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        is_measured_beside_its_limit(&format!("sqlite:{}", directory.path().display()), "SQLite");
    }
}

#[cfg(feature = "full")]
mod on_servers {
    use super::is_measured_beside_its_limit;
    use crate::in_an_empty_directory;
    use crate::run;
    use serde_json::{Value, json};
    use servers::{Fresh, Kind};

    fn text(value: &Value) -> &str {
        value.as_str().unwrap_or_default()
    }

    #[test]
    fn each_server_is_measured_beside_its_limit() {
        for (kind, server) in [
            (Kind::Postgres, "PostgreSQL"),
            (Kind::Mariadb, "MySQL"),
            (Kind::Mongodb, "MongoDB"),
        ] {
            is_measured_beside_its_limit(&Fresh::called(kind, "bench").unwrap().url(), server);
        }
    }

    #[test]
    fn a_broker_is_measured_beside_the_embedded_bus_and_what_it_takes() {
        let url = Kind::Nats.shared();
        let (mut command, _directory) =
            in_an_empty_directory(&["bench", "--json", "--seconds", "1", "--cluster", &url]);
        let ended = run(&mut command);
        let report = ended.json();
        let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("no number: {report}"));
        let rows = report["rows"].as_array().expect("the report has rows");
        let [embedded, nats] = rows.as_slice() else {
            panic!("one for each bus: {rows:?}");
        };
        for row in rows {
            assert!(number(&row["orders_per_second"]) > 1.0, "{row}");
            let latencies = ["p50_ms", "p99_ms", "p999_ms"].map(|name| number(&row[name]));
            assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{row}");
            // What an order leaves in the journals that others follow.
            assert!((number(&row["events_an_order"]) - 5.0).abs() < 0.1, "{row}");
            assert_eq!(row["refused"], 0, "{row}");
        }
        assert_eq!((&embedded["bus"], &nats["bus"]), (&json!("embedded"), &json!("NATS")));
        assert!(
            embedded["limit"].is_null() && embedded["prefix"].is_null(),
            "{embedded}"
        );
        assert!(text(&nats["prefix"]).starts_with("bench-"), "{nats}");
        let of_embedded = number(&nats["orders_per_second"]) / number(&embedded["orders_per_second"]);
        assert!((number(&nats["of_embedded"]) - of_embedded).abs() < 0.001, "{rows:?}");
        let limit = &nats["limit"];
        assert!((1.0..=512.0).contains(&number(&limit["events_a_batch"])), "{limit}");
        let orders = number(&limit["events_per_second"]) / number(&nats["events_an_order"]);
        assert!(
            orders > 1.0 && (number(&limit["orders_per_second"]) / orders - 1.0).abs() < 0.001,
            "{limit}"
        );
        let targets = report["targets"].as_array().expect("the report has targets");
        assert_eq!(targets.len(), 3, "{targets:?}");
        // The login is for the broker alone.
        let (login, host) = url
            .trim_start_matches("nats://")
            .rsplit_once('@')
            .expect("it has a login");
        assert_eq!(nats["broker"], format!("nats://{host}"));
        assert!(
            !ended.out().contains(login) && !ended.err().contains(login),
            "{}",
            ended.err()
        );
    }

    #[test]
    fn what_cannot_be_measured_is_said_before_anything_is() {
        for (url, parts) in [
            (
                "nats://me:swordfish@127.0.0.1:1",
                ["--cluster: nats://127.0.0.1:1", "does not answer"],
            ),
            ("nats://127.0.0.1:1?prefix=a/b", ["--cluster", "cannot begin the names"]),
            ("embedded:", ["--cluster", "name a broker"]),
            ("pulsar://me:swordfish@h", ["--cluster", "use embedded:, nats://"]),
        ] {
            let (mut command, _directory) = in_an_empty_directory(&["bench", "--cluster", url]);
            let ended = run(&mut command);
            let said = ended.err();
            assert_eq!((ended.0.status.code(), ended.out().as_str()), (Some(1), ""), "{said}");
            assert!(parts.iter().all(|part| said.contains(part)), "{url}: {said}");
            assert!(!said.contains("swordfish"), "{said}");
        }
    }

    #[test]
    fn a_database_that_may_be_a_shops_is_left_alone() {
        let shop = Fresh::new(Kind::Postgres).unwrap();
        let (mut command, _directory) = in_an_empty_directory(&["bench", "--store", &shop.url()]);
        let ended = run(&mut command);
        let said = ended.err();
        assert!(
            !ended.0.status.success() && said.contains("whose name begins with `bench`"),
            "{said}"
        );
    }
}

#[test]
fn what_cannot_be_kept_or_drawn_is_said_before_anything_is_measured() {
    let (mut keep, directory) = in_an_empty_directory(&["bench", "--json", "--preload", "1", "--keep", "."]);
    std::fs::write(directory.path().join("orders.sqlite"), "a shop's").unwrap();
    let (mut draw, _directory) = in_an_empty_directory(&["bench", "--json", "--svg", "no/such/place.svg"]);
    for (command, part) in [
        (
            &mut keep,
            "something else than a bench's orders: name an empty directory",
        ),
        (&mut draw, "cannot write no/such/place.svg"),
    ] {
        let ended = run(command);
        assert!(
            !ended.0.status.success() && ended.err().contains(part),
            "{}",
            ended.err()
        );
    }
}

#[test]
fn a_broker_is_measured_on_its_own() {
    for other in [
        ["--store", "sqlite:x"],
        ["--preload", "1"],
        ["--only", "place"],
        ["--connections", "1"],
    ] {
        let (mut command, _directory) = in_an_empty_directory(&["bench", "--cluster", "nats://h"]);
        let ended = run(command.args(other));
        assert!(
            ended.0.status.code() == Some(2) && ended.err().contains("cannot be used with"),
            "{}",
            ended.err()
        );
    }
}

#[test]
#[cfg(not(feature = "nats"))]
fn a_broker_whose_driver_is_not_built_in_is_named_with_its_feature() {
    let (mut command, _directory) = in_an_empty_directory(&["bench", "--cluster", "nats://h"]);
    let ended = run(&mut command);
    assert!(
        ended
            .err()
            .contains("--cluster: the driver for nats is not built in; build with `--features nats`"),
        "{}",
        ended.err()
    );
}

#[test]
fn a_mode_that_is_not_known_is_answered_with_those_that_are() {
    let (mut command, _directory) = in_an_empty_directory(&["bench", "--only", "fast"]);
    let ended = run(&mut command);
    assert!(!ended.0.status.success());
    let said = String::from_utf8_lossy(&ended.0.stderr).into_owned();
    assert!(said.contains("place-storm") && said.contains("hot-sku"), "{said}");
}
