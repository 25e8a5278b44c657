//! One run, from its seed to what came of it.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use crate::audit::{Ledgers, audit, only_poison_was_parked};
use crate::dice::Dice;
use crate::fault::{Fault, Faults, Weather};
use crate::people::People;
use crate::reached::{Longest, Reached};
use crate::trace::Trace;
use crate::world::{PAYMENT_WINDOW, World};

/// Once nothing goes wrong any more and no dead letter is left, every order that was placed is decided within this time:
/// whatever is tried again is tried at least each five seconds, and an order is three services' work.
const DECIDED_MAX: Duration = Duration::from_secs(20);
/// And everything settles within this one: a payment's window, after a clock that was set back some minutes a time.
const SETTLED_MAX: Duration = Duration::from_secs(60 * 60);
/// Dead letters are seen to so often: one may fail again for want of another, and be tried before its consumer is mended.
const LETTER_ROUNDS_MAX: u32 = 20;
/// How often it is looked whether it has: until the orders are decided, and in a run that does not seem to settle.
const GLANCE: Duration = Duration::from_secs(1);
const GLANCE_MAX: Duration = Duration::from_secs(120);

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was violated, if anything was.
    pub violation: Option<String>,
    /// What happened, in order, if it was kept.
    pub trace: Vec<String>,
    /// A hash of that.
    pub trace_hash: Option<u64>,
    /// What the run reached.
    pub reached: Reached,
}

/// Runs a seed.
///
/// # Panics
/// If the runtime cannot be made.
#[must_use]
pub fn run(seed: u64, weather: &Weather, keep_trace: bool) -> Outcome {
    catch_quietly();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true);
    // Tokio draws lots of its own, such as who of those that watch a value is woken first.
    #[cfg(tokio_unstable)]
    runtime.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_be_bytes()));
    let runtime = runtime.build().expect("a runtime without input and output");
    let dice = Dice::new(seed);
    let trace = Trace::new(keep_trace);
    let faults = Arc::new(Faults::new(&dice, weather.clone()));
    let reached = Arc::new(Mutex::new(Reached::default()));
    let body = {
        let (trace, faults, reached) = (trace.clone(), Arc::clone(&faults), Arc::clone(&reached));
        async move {
            let world = World::new(&dice, Arc::clone(&faults), trace, seed);
            tokio::select! {
                biased;
                () = faults.until_exhausted() => panic!("it goes round in circles"),
                () = play(&world, &reached) => {}
            }
        }
    };
    RUNNING.set(true);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async move { tokio::spawn(body).await })
    }));
    RUNNING.set(false);
    let violation = match ended {
        Ok(Ok(())) => None,
        _ => Some(LAST_PANIC.with_borrow_mut(std::mem::take)),
    };
    let mut reached = reached.lock().unwrap_or_else(PoisonError::into_inner).clone();
    reached.faults = faults.struck().clone();
    // What still waits is dropped here, quietly.
    RUNNING.set(true);
    drop(runtime);
    RUNNING.set(false);
    LAST_PANIC.with_borrow_mut(String::clear);
    Outcome {
        violation,
        trace_hash: trace.hash(),
        trace: trace.lines(),
        reached,
    }
}

async fn play(world: &World, reached: &Mutex<Reached>) {
    world.begin();
    world.all_run().await;
    let people = People::arrive(world).await;
    world.faults().set_active(true);
    people.go_about().await;
    world.clock().sleep(world.dice().up_to(PAYMENT_WINDOW)).await;
    world.calm_down();
    world.all_run().await;
    let first = settle_letters(world, &people).await;
    people.tidy_up().await;
    let second = settle(world).await;
    people.repeat_everything().await;
    let third = settle(world).await;
    world.end();
    let ledgers = Ledgers::read(world).await;
    {
        let mut reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.orders = ledgers.statuses();
        reached.answers = people.told().answers.clone();
        reached.letters = world.poison().counted();
        reached.longest = first.max(second).max(third);
    }
    audit(world, &people).await;
}

/// Waits until nothing is left to do, with the dead letters seen to.
async fn settle_letters(world: &World, people: &People) -> Longest {
    let mut longest = Longest::default();
    for _ in 0..LETTER_ROUNDS_MAX {
        longest = longest.max(settle_but_for_letters(world).await);
        only_poison_was_parked(world);
        if people.see_to_dead_letters().await == 0 {
            return longest.max(settle(world).await);
        }
    }
    panic!("there are dead letters after {LETTER_ROUNDS_MAX} rounds");
}

/// Waits until nothing is left to do, and nothing more happens.
async fn settle(world: &World) -> Longest {
    settle_with(world, false).await
}

/// The same, but for what waits for a dead letter: whatever is open may be among that.
async fn settle_but_for_letters(world: &World) -> Longest {
    settle_with(world, true).await
}

async fn settle_with(world: &World, with_letters: bool) -> Longest {
    let began = world.clock().monotonic();
    let (mut before, mut pause) = (None, GLANCE);
    let mut longest = Longest::default();
    let mut is_undecided = true;
    loop {
        let ledgers = Ledgers::read(world).await;
        let for_letters = with_letters && ledgers.have_letters();
        let mut left = ledgers.unsettled();
        if for_letters {
            left.retain(|it| !it.contains("dead letter") && !it.contains("not purged"));
        }
        let open = ledgers.statuses();
        let waits = !for_letters && (open.contains_key("pending") || open.contains_key("confirmed"));
        let now = Some(ledgers.heads());
        longest.settled = world.clock().monotonic() - began;
        if is_undecided {
            longest.decided = longest.settled;
            is_undecided = !for_letters && open.contains_key("pending");
        }
        if left.is_empty() && !waits && before == now {
            return longest;
        }
        assert!(
            longest.decided < DECIDED_MAX,
            "orders are not decided after {DECIDED_MAX:?}: {open:?} {left:#?}"
        );
        assert!(
            longest.settled < SETTLED_MAX,
            "not settled after {SETTLED_MAX:?}: {open:?} {left:#?}"
        );
        before = now;
        world.clock().sleep(pause).await;
        pause = match is_undecided {
            true => GLANCE,
            false => (pause * 2).min(GLANCE_MAX),
        };
    }
}

/// Looks for a smaller run of the same seed that is violated too: fewer kinds of faults, then fewer faults.
#[must_use]
pub fn shrink(seed: u64, mut progress: impl FnMut(&Weather)) -> Weather {
    let fails = |weather: &Weather| run(seed, weather, false).violation.is_some();
    let mut smallest = Weather::default();
    for &kind in Fault::ALL {
        let mut fewer = smallest.clone();
        fewer.kinds.remove(&kind);
        if fails(&fewer) {
            smallest = fewer;
            progress(&smallest);
        }
    }
    let struck = run(seed, &smallest, false).reached.faults.values().sum();
    let (mut too_few, mut enough) = (0, struck);
    if fails(&Weather {
        max: 0,
        ..smallest.clone()
    }) {
        enough = 0;
    }
    while too_few + 1 < enough {
        let middle = u64::midpoint(too_few, enough);
        if fails(&Weather {
            max: middle,
            ..smallest.clone()
        }) {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    Weather {
        max: enough,
        ..smallest
    }
}

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics are what checks end with: they are kept for the outcome, rather than printed.
fn catch_quietly() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !RUNNING.get() {
                return usual(panic);
            }
            LAST_PANIC.with_borrow_mut(|last| {
                // The first one tells most: those behind it are about its ruins.
                if last.is_empty() {
                    *last = panic.to_string();
                }
            });
        }));
    });
}
