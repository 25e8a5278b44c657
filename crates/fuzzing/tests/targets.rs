//! Every target with its seeds, with seeds that were changed a little, and with any bytes: what libFuzzer does for
//! hours, for a moment at every run of the tests.

#![expect(
    clippy::unwrap_used,
    reason = "a repository that cannot be read should stop the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use contracts::Service;
use fuzzing::{TARGETS, run};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// Inputs that each target is given.
const INPUTS: u32 = 192;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = directory().join("corpus").join(target);
    let seeds = names(&directory).into_iter();
    seeds.map(|name| fs::read(directory.join(name)).unwrap()).collect()
}

/// A change of some bytes, as a fuzzer makes it.
#[derive(Clone, Debug)]
enum Change {
    Replace(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let span = |from: usize, length: usize| from..(from + length).min(bytes.len());
        match self {
            _ if bytes.is_empty() => {}
            Self::Replace(at, byte) => *at.get_mut(bytes) = *byte,
            Self::Insert(at, new) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(at, length) => drop(bytes.drain(span(at.index(bytes.len()), *length))),
            Self::Repeat(at, length) => {
                let piece = bytes[span(at.index(bytes.len()), *length)].to_vec();
                bytes.extend(piece);
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b"\0\"{}[]:,.-+/\\ 0919eE%=&\n".to_vec())
    ];
    prop_oneof![
        4 => (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        3 => (any::<Index>(), prop::collection::vec(byte, 1..4)).prop_map(|(at, new)| Change::Insert(at, new)),
        3 => (any::<Index>(), 1..9_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        1 => (any::<Index>(), 1..60_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
    ]
}

/// Seeds, changed more or less; now and then anything.
fn inputs(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changed =
        (prop::sample::select(seeds), prop::collection::vec(change(), 1..6)).prop_map(|(mut bytes, changes)| {
            changes.iter().for_each(|change| change.apply(&mut bytes));
            bytes
        });
    prop_oneof![5 => changed, 1 => prop::collection::vec(any::<u8>(), 0..80)]
}

fn hold(target: &str) {
    let seeds = seeds(target);
    for seed in &seeds {
        run(target, seed);
    }
    let config = Config {
        cases: INPUTS,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&inputs(seeds), |bytes| {
        run(target, &bytes);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{target}: {error}");
    }
}

macro_rules! targets {
    ($($target:ident)+) => {
        $(
            #[test]
            fn $target() {
                hold(stringify!($target));
            }
        )+

        const TESTED: &[&str] = &[$(stringify!($target)),+];
    };
}

targets! {
    authorization
    bodies
    cloud_events
    configuration
    cursors
    events
    history
    idempotency_key
    ids
    if_match
    money
    networks
    queries
    texts
    traces
}

#[test]
fn every_target_has_a_binary_and_seeds_and_is_tested() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        TESTED.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
        targets
    );
    assert_eq!(names(&directory().join("corpus")), targets);
    let sources = names(&directory().join("fuzz_targets"));
    let sources: BTreeSet<String> = sources.iter().map(|name| name.replace(".rs", "")).collect();
    assert_eq!(sources, targets);
    let manifest: toml::Table = fs::read_to_string(directory().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let binaries = manifest["bin"].as_array().unwrap().iter();
    let binaries: BTreeSet<String> = binaries.map(|it| it["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(binaries, targets);
    for target in targets {
        let source = fs::read_to_string(directory().join(format!("fuzz_targets/{target}.rs"))).unwrap();
        assert!(
            source.contains(&format!("run(\"{target}\", bytes)")),
            "{target} runs another target"
        );
    }
}

/// Else a new body would be read from outside and never fuzzed.
#[test]
fn every_body_and_query_that_a_service_reads_is_fuzzed() {
    let crates = directory().join("../crates");
    let fuzzed = fs::read_to_string(crates.join("fuzzing/src/requests.rs")).unwrap();
    let services = Service::ALL.iter();
    let mut sources: Vec<PathBuf> = services
        .map(|service| crates.join(service.as_str()).join("src/http.rs"))
        .collect();
    sources.push(crates.join("kernel/src/http/dead_letters.rs"));
    let mut all = BTreeSet::new();
    for source in sources {
        let source = fs::read_to_string(source).unwrap();
        for extractor in ["Write<", "): Json<", "): Query<"] {
            let behind = source
                .split(extractor)
                .skip(1)
                .filter_map(|rest| rest.split('>').next());
            all.extend(behind.map(str::to_owned));
        }
    }
    assert!(
        all.contains("PlaceOrder") && all.contains("Login") && all.contains("ListDeadLetters"),
        "{all:?}"
    );
    let missing: Vec<_> = all
        .iter()
        .filter(|name| !fuzzed.contains(&format!("::{name}>")))
        .collect();
    assert!(missing.is_empty(), "not fuzzed: {missing:?}");
}
