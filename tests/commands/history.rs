//! `tradewind replay`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::{Server, real_history};
use crate::{Ended, in_an_empty_directory, run};

/// The real history has 444 invoice numbers: 38 cancel something, and 45 have no row with a price above zero.
const REAL_ORDERS: u64 = 361;
const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";

fn orders(report: &Value) -> u64 {
    report["orders"]
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum()
}

fn rejected(report: &Value) -> u64 {
    report["rows_rejected"]
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum()
}

/// The report, if stock and money agree with the file to the last piece and penny.
#[track_caller]
fn exact(ended: &Ended) -> Value {
    let report = ended.json();
    assert_eq!(
        (&report["exact"], &report["differences"]),
        (&json!(true), &json!([])),
        "{report:#}"
    );
    for name in ["placed_ms", "paid_ms"] {
        let at = |percentile: &str| report[name][percentile].as_f64().unwrap();
        assert!(
            0.0 < at("p50") && at("p50") <= at("p90") && at("p90") <= at("p99") && at("p99") <= at("max"),
            "{report:#}"
        );
    }
    assert!(report["orders_per_second"].as_f64().unwrap() > 0.0, "{report:#}");
    report
}

#[test]
fn the_sample_agrees_with_the_shop_exactly() {
    let (mut replay, directory) = in_an_empty_directory(&["replay", "--json"]);
    let report = exact(&run(&mut replay));
    assert!(orders(&report) > 20 && rejected(&report) > 0, "{report:#}");
    let statuses = report["orders"].as_object().unwrap();
    assert!(
        ["paid", "fulfilled", "refunded"]
            .iter()
            .all(|status| statuses.contains_key(*status)),
        "{report:#}"
    );
    let rejects = std::fs::read_to_string(directory.path().join("sample.rejects.csv")).unwrap();
    assert_eq!(rejects.lines().count() as u64, 1 + rejected(&report), "{rejects}");
}

#[test]
fn the_sample_is_told_to_people_with_every_number() {
    let (mut replay, _directory) = in_an_empty_directory(&["replay"]);
    let said = run(&mut replay).done();
    for part in [
        "rows",
        "rejected",
        "products",
        "paid",
        "orders/s",
        "p99",
        "agree with the file",
        "sample.rejects.csv",
    ] {
        assert!(said.contains(part), "it does not say {part:?}: {said}");
    }
}

#[tokio::test]
async fn a_history_is_played_against_a_running_shop_and_played_again() {
    let server = Server::start().await;
    for _ in 0..2 {
        let mut replay = server.command();
        let report = exact(&run(replay.args(["replay", "--json", "--against", server.url()])));
        assert!(orders(&report) > 20, "{report:#}");
    }
    let placed = server.admin().await.get("/api/orders?limit=200").await.expect(200);
    assert!(placed.data().len() > 40, "{placed}");
}

#[test]
fn what_cannot_be_played_is_in_the_rejects_with_its_reason() {
    let (mut replay, directory) = in_an_empty_directory(&["replay", "history.csv", "--json", "--rejects", "no.csv"]);
    let rows = [
        "1,A,\"LAMP, RED\",3,1/1/2011 9:00,1.50,7,UK",
        "1,B,FREE GIFT,1,1/1/2011 9:00,0,7,UK",
        "2,A,\"LAMP, RED\",-2,1/1/2011 9:05,1.50,,UK",
        "C3,A,\"LAMP, RED\",-1,1/1/2011 9:10,1.50,7,UK",
        "C4,A,\"LAMP, RED\",-1,1/1/2011 9:15,1.50,8,UK",
        "5,A,\"LAMP, RED\",some,1/1/2011 9:20,1.50,8,UK",
    ];
    let mut file = HEADER.to_owned();
    rows.iter().for_each(|row| write!(file, "\n{row}").unwrap());
    std::fs::write(directory.path().join("history.csv"), file).unwrap();
    let report = exact(&run(&mut replay));
    assert_eq!((report["rows"].as_u64(), rejected(&report)), (Some(6), 4), "{report:#}");
    assert_eq!(report["orders"], json!({"fulfilled": 1}));
    assert_eq!(
        (&report["captured"]["amount"], &report["refunded"]["amount"]),
        (&json!(450), &json!(150))
    );
    let expected = [
        format!("{HEADER},Line,Reason"),
        format!("{},3,a price that is not above zero", rows[1]),
        format!(
            "{},4,a negative quantity on an invoice that is no cancellation",
            rows[2]
        ),
        format!(
            "{},6,a cancellation that matches no earlier invoice of the customer",
            rows[4]
        ),
        format!("{},7,a quantity that is no whole number", rows[5]),
    ];
    let rejects = std::fs::read_to_string(directory.path().join("no.csv")).unwrap();
    assert_eq!(rejects.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_file_that_is_no_history_is_refused_with_the_reason() {
    let refused = |content: &[u8], parts: &[&str]| {
        let (mut replay, directory) = in_an_empty_directory(&["replay", "history.csv"]);
        std::fs::write(directory.path().join("history.csv"), content).unwrap();
        run(&mut replay).failed(parts);
    };
    refused(
        b"Order,Item\n1,A\n",
        &["history.csv", "no column InvoiceNo", "StockCode"],
    );
    refused(b"", &["history.csv", "no column InvoiceNo"]);
    let torn = format!("{HEADER}\n1,A,LAMP,3,1/1/2011 9:00,1.50,7,UK\n1,A\n");
    refused(torn.as_bytes(), &["history.csv", "CSV", "line"]);
    refused(&[0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0], &["history.csv"]);
    let (mut replay, _directory) = in_an_empty_directory(&["replay", "absent.csv"]);
    run(&mut replay).failed(&["cannot open absent.csv", "No such file"]);
    let (mut replay, _directory) = in_an_empty_directory(&["replay", "."]);
    run(&mut replay).failed(&["."]);
}

#[tokio::test]
async fn playing_against_a_shop_needs_its_admin_and_the_shop() {
    let server = Server::start().await;
    let (mut replay, _directory) = in_an_empty_directory(&["replay", "--against", server.url()]);
    run(&mut replay).failed(&["TRADEWIND_ADMIN_EMAIL", "TRADEWIND_ADMIN_PASSWORD"]);
    let mut replay = server.command();
    replay.env("TRADEWIND_ADMIN_PASSWORD", "not the admin's password");
    run(replay.args(["replay", "--against", server.url()]))
        .failed(&["cannot sign in as the admin", "invalid-credentials"]);
    let mut replay = server.command();
    run(replay.args(["replay", "--against", "http://127.0.0.1:1"])).failed(&["http://127.0.0.1:1"]);
}

#[test]
fn a_real_history_agrees_exactly_too() {
    let Some(file) = real_history() else {
        println!("skipped: it is not there");
        return;
    };
    let (mut replay, _directory) = in_an_empty_directory(&["replay", "--json"]);
    replay.arg(file);
    let report = exact(&run(&mut replay));
    assert_eq!(orders(&report), REAL_ORDERS, "{report:#}");
    let rate = report["orders_per_second"].as_f64().unwrap();
    println!(
        "{REAL_ORDERS} orders, {rate:.0} orders/s, {} rows rejected",
        rejected(&report)
    );
}
