//! What a catcher that failed says: only what it names counts as caught. A machine without memory fails too.

use std::process::Output;

use serde_json::Value;

/// What is shown of a message.
const MESSAGE_CHARS_MAX: usize = 120;

/// The first seed that was violated, and how.
pub(crate) fn violated_seed(output: &Output) -> Option<String> {
    let report: Value = serde_json::from_slice(&output.stdout).ok()?;
    let violated = report["violated"].as_object()?.iter();
    let (seed, said) = violated
        .filter_map(|(seed, said)| Some((seed.parse::<u64>().ok()?, said.as_str()?)))
        .min()?;
    // Above the message stands where the check is.
    let message = said.split_once('\n').map_or(said, |(_, message)| message);
    Some(format!("seed {seed}: {}", shown(message)))
}

/// The round that was violated, and how.
pub(crate) fn violated_round(output: &Output) -> Option<String> {
    let report: Value = serde_json::from_slice(&output.stdout).ok()?;
    let (violation, rounds) = (report["violation"].as_str()?, report["rounds"].as_u64()?);
    Some(format!("round {}: {}", rounds + 1, shown(violation)))
}

/// The first test that failed, and how.
pub(crate) fn failed_test(output: &Output) -> Option<String> {
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = said
        .lines()
        .find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))?;
    let mut told = said
        .lines()
        .skip_while(|line| *line != format!("---- {failed} stdout ----"));
    let message = told.find(|line| line.contains("panicked at")).and_then(|_| told.next());
    Some(format!("test {failed}: {}", shown(message.unwrap_or_default())))
}

/// What is to be said of a catcher that failed, and named nothing.
pub(crate) fn unnamed(output: &Output) -> String {
    let troubles = String::from_utf8_lossy(&output.stderr);
    format!(
        "its catcher ended with {}, and named nothing that is violated: {}",
        output.status,
        shown(&troubles)
    )
}

/// In one line, and no longer than a table bears.
fn shown(message: &str) -> String {
    let words: Vec<&str> = message.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    fn output(said: &str) -> Output {
        Output {
            status: ExitStatus::from_raw(1 << 8),
            stdout: said.into(),
            stderr: "error: out of memory".into(),
        }
    }

    #[test]
    fn what_is_named_is_caught() {
        let seeds = output(r#"{"violated": {"12": "tests.rs:1\nlost", "7": "tests.rs:2\ndoubled"}}"#);
        assert_eq!(violated_seed(&seeds).as_deref(), Some("seed 7: doubled"));
        let rounds = output(r#"{"rounds": 3, "violation": "an order is gone"}"#);
        assert_eq!(violated_round(&rounds).as_deref(), Some("round 4: an order is gone"));
        let tests = output("test a::b ... FAILED\n---- a::b stdout ----\nthread panicked at x.rs:\nno\n");
        assert_eq!(failed_test(&tests).as_deref(), Some("test a::b: no"));
    }

    #[test]
    fn a_failure_that_names_nothing_is_not() {
        for said in [
            "",
            r#"{"violated": {}}"#,
            r#"{"rounds": 200, "violation": null}"#,
            "test a::b ... ok",
        ] {
            let output = output(said);
            let named = [violated_seed, violated_round, failed_test].map(|judge| judge(&output));
            assert_eq!(named, [None, None, None], "{said}");
            assert!(unnamed(&output).contains("out of memory"));
        }
    }
}
