//! `tradewind bench`, as far as a debug build can tell: what it does, not how fast.

use crate::in_an_empty_directory;
use crate::run;

#[test]
fn the_bench_counts_only_orders_that_were_decided_and_draws_them() {
    let mut arguments = vec!["bench", "--json", "--seconds", "1", "--connections", "2"];
    arguments.extend(["--only", "bare,place,confirm,list-bare"]);
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
    assert!(
        rows.iter().any(|row| row["preloaded"].as_u64() >= Some(200)),
        "{rows:?}"
    );
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

#[test]
fn a_mode_that_is_not_known_is_answered_with_those_that_are() {
    let (mut command, _directory) = in_an_empty_directory(&["bench", "--only", "fast"]);
    let ended = run(&mut command);
    assert!(!ended.0.status.success());
    let said = String::from_utf8_lossy(&ended.0.stderr).into_owned();
    assert!(said.contains("place-storm") && said.contains("hot-sku"), "{said}");
}
