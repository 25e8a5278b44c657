//! A few rounds of the crash harness, with every kind of trouble that can be brought about here.

use std::process::Command;

use serde_json::Value;

#[test]
fn nothing_is_lost_or_doubled_whatever_befalls_the_process() {
    let done = Command::new(env!("CARGO_BIN_EXE_crash"))
        .args(["--rounds", "20", "--json"])
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
}
