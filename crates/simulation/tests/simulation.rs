//! That the shop survives the simulation, and that a seed is a seed. `cargo xtask sim` runs many more of them.

use simulation::{Reached, Weather, run};

const SEEDS: u64 = 20;

#[test]
fn whatever_goes_wrong_the_books_are_right() {
    let mut reached = Reached::default();
    for seed in 1..=SEEDS {
        let outcome = run(seed, &Weather::default(), false);
        assert_eq!(
            outcome.violation, None,
            "seed {seed}: see `cargo xtask sim --seed {seed}`"
        );
        reached.add(&outcome.reached);
    }
    assert!(reached.faults.len() > 10, "too few faults struck: {reached:?}");
    for status in ["paid", "fulfilled", "cancelled", "rejected", "expired"] {
        assert!(
            reached.orders.contains_key(status),
            "no order ended {status}: {reached:?}"
        );
    }
}

#[test]
fn in_calm_weather_no_fault_strikes() {
    let calm = Weather {
        max: 0,
        ..Weather::default()
    };
    let outcome = run(1, &calm, true);
    assert_eq!((outcome.violation, outcome.reached.faults.len()), (None, 0));
    assert!(outcome.trace.len() > 100, "{} lines", outcome.trace.len());
}
