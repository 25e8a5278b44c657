//! A few rounds of the crash harness, with every kind of trouble that can be brought about here.

use std::process::Command;

use serde_json::Value;

#[test]
fn nothing_is_lost_or_doubled_whatever_befalls_the_process() {
    let done = Command::new(env!("CARGO_BIN_EXE_crash"))
        .args(["--rounds", "20", "--seed", "1", "--json"])
        .output()
        .expect("the harness runs");
    let (said, troubles) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{said}\n{troubles}");
    let report: Value = serde_json::from_str(&said).expect("it reports in JSON");
    assert_eq!(report["rounds"], 20, "{report}");
    let kinds = report["troubles"].as_object().expect("troubles by kind");
    let impossible = report["impossible"].as_array().expect("kinds");
    assert_eq!(kinds.len() + impossible.len(), 8, "{report}");
    for (kind, tries) in kinds {
        assert!(tries["struck"].as_u64() > Some(0), "{kind} never struck: {report}");
    }
    let points = report["points"].as_object().expect("deaths by point");
    assert_eq!(points.len(), 11, "{report}");
    for (point, services) in points {
        let tries = services.as_object().expect("deaths by service").values();
        let struck: Option<u64> = tries.map(|tries| tries["struck"].as_u64()).sum();
        assert!(struck > Some(0), "{point} never struck: {report}");
    }
}

#[test]
fn no_rounds_at_all_are_refused() {
    let refused = Command::new(env!("CARGO_BIN_EXE_crash"))
        .args(["--rounds", "0"])
        .output()
        .expect("the harness runs");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}
