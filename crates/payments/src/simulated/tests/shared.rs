//! Two providers on one file, as two processes have them: a lock is of an open file, not of a process.

use std::time::Duration;

use serde_json::json;

use super::*;

struct Pair {
    providers: [Simulated; 2],
    path: PathBuf,
    _directory: TempDir,
}

impl Pair {
    fn open() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("ledger.jsonl");
        Self {
            providers: [(); 2].map(|()| Simulated::open(&path).unwrap()),
            path,
            _directory: directory,
        }
    }

    /// What a process writes that is killed before it has flushed.
    fn leave(&self, bytes: &[u8]) {
        let mut file = fs::OpenOptions::new().append(true).open(&self.path).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn lines(&self) -> usize {
        fs::read_to_string(&self.path).unwrap().lines().count()
    }
}

fn is_captured(number: u128) -> (PaymentId, Account) {
    let (amount, refunded) = (usd(1000), usd(0));
    (payment(number), Account::Captured { amount, refunded })
}

fn contradicts<T>(answered: &Result<T, Error>) -> bool {
    matches!(answered, Err(Error::Contradiction(_)))
}

#[tokio::test]
async fn a_key_is_answered_the_same_through_either_and_entered_once() {
    let pair = Pair::open();
    let [one, other] = &pair.providers;
    let declined = authorise(one, 1, "pm_card_chargeDeclined").await;
    assert_eq!(authorise(other, 1, "pm_card_chargeDeclined").await, declined);
    authorise(other, 2, "pm_card_visa").await;
    for provider in [one, other, one] {
        assert_eq!(provider.capture(&held(2, 1000), "capture").await, Ok(Capture::Captured));
    }
    assert_eq!(pair.lines(), 3);
    let another = other.void(&held(2, 1000), &format!("authorise/{}", payment(1))).await;
    assert!(contradicts(&another), "{another:?}");
}

#[tokio::test]
async fn what_one_has_captured_or_voided_is_neither_for_the_other() {
    let pair = Pair::open();
    let [one, other] = &pair.providers;
    authorise(one, 1, "pm_card_visa").await;
    authorise(other, 2, "pm_card_visa").await;
    for (provider, another, number) in [(one, other, 2), (other, one, 1)] {
        let held = held(number, 1000);
        assert_eq!(
            provider.capture(&held, &format!("capture {number}")).await,
            Ok(Capture::Captured)
        );
        let again = another.capture(&held, &format!("again {number}")).await;
        assert!(contradicts(&again), "{again:?}");
        assert_eq!(another.void(&held, &format!("void {number}")).await, Ok(Void::Captured));
    }
    let refunds = [(one, 1, 600), (other, 2, 600), (other, 3, 400)];
    let mut given = Vec::new();
    for (provider, number, amount) in refunds {
        let key = format!("refund {number}");
        given.push(
            provider
                .refund(&held(1, 1000), &give(number, amount), &key)
                .await
                .is_ok(),
        );
    }
    assert_eq!(given, [true, false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_requests_through_both_at_once_each_takes_effect_once() {
    const PAYMENTS: u128 = 300;
    let pair = Pair::open();
    let each = (0..PAYMENTS).flat_map(|number| [0, 1].map(|way| (number, way)));
    let calls = each.map(|(number, way)| {
        let provider = pair.providers[way].clone();
        tokio::spawn(async move {
            let authorised = authorise(&provider, number, "pm_card_visa").await;
            let captured = provider
                .capture(&held(number, 1000), &format!("{number} by {way}"))
                .await;
            (authorised, captured)
        })
    });
    let mut captures = vec![0; usize::try_from(PAYMENTS).unwrap()];
    for (place, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        let (authorised, captured) = call.await.unwrap();
        let reference = reference(place as u128 / 2);
        assert_eq!(authorised, Authorisation::Authorised { reference });
        assert!(
            captured == Ok(Capture::Captured) || contradicts(&captured),
            "{captured:?}"
        );
        captures[place / 2] += u32::from(captured.is_ok());
    }
    assert!(captures.iter().all(|&count| count == 1), "{captures:?}");
    assert_eq!(pair.lines() as u128, 2 * PAYMENTS);
    let expected: Vec<_> = (0..PAYMENTS).map(is_captured).collect();
    assert_eq!(Simulated::open(&pair.path).unwrap().accounts(), expected);
    let flushes = pair
        .providers
        .each_ref()
        .map(|it| file_of(it).as_ref().unwrap().flushes);
    assert!(flushes.iter().sum::<u64>() < 300, "{flushes:?}");
}

#[tokio::test]
async fn whoever_has_the_file_is_waited_for() {
    let pair = Pair::open();
    let [one, _] = &pair.providers;
    authorise(one, 1, "pm_card_visa").await;
    let file = fs::File::open(&pair.path).unwrap();
    file.lock().unwrap();
    let held = held(1, 1000);
    let mut call = one.capture(&held, "capture");
    let early = tokio::time::timeout(Duration::from_millis(100), &mut call).await;
    assert!(early.is_err(), "{early:?}");
    let voids = json!({"key": "void", "request": "void", "payment": payment(1), "answer": "voided"});
    pair.leave(format!("{voids}\n").as_bytes());
    file.unlock().unwrap();
    let refused = call.await;
    assert!(matches!(refused, Ok(Capture::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_line_that_one_has_torn_is_cut_off_by_the_other() {
    let pair = Pair::open();
    let [one, other] = &pair.providers;
    authorise(one, 1, "pm_card_visa").await;
    pair.leave(br#"{"key":"authorise/x","request":"authorise","paym"#);
    authorise(other, 2, "pm_card_visa").await;
    assert_eq!(pair.lines(), 2);
    authorise(one, 3, "pm_card_visa").await;
    authorise(other, 4, "pm_card_visa").await;
    assert_eq!(pair.lines(), 4);
    assert_eq!(other.accounts(), Simulated::open(&pair.path).unwrap().accounts());
}

#[tokio::test]
async fn nobody_passes_over_what_is_damaged_in_the_middle() {
    let pair = Pair::open();
    authorise(&pair.providers[0], 1, "pm_card_visa").await;
    let good = fs::read(&pair.path).unwrap();
    pair.leave(&[b"half a li\n", &*good].concat());
    for provider in &pair.providers {
        let refused = provider.capture(&held(1, 1000), "capture").await;
        assert!(
            matches!(&refused, Err(Error::Unavailable { reason, .. }) if reason.contains("line 2")),
            "{refused:?}"
        );
    }
    fs::write(&pair.path, good).unwrap();
    for provider in &pair.providers {
        assert_eq!(provider.capture(&held(1, 1000), "capture").await, Ok(Capture::Captured));
    }
}

#[tokio::test]
async fn what_one_could_not_flush_is_flushed_before_the_other_answers_from_it() {
    let pair = Pair::open();
    let [one, other] = &pair.providers;
    authorise(one, 1, "pm_card_visa").await;
    let line = fs::read_to_string(&pair.path).unwrap();
    let (first, second) = (payment(1).to_string(), payment(2).to_string());
    pair.leave(line.replace(&first, &second).as_bytes());
    let flushes = || file_of(other).as_ref().unwrap().flushes;
    assert_eq!(flushes(), 0);
    authorise(other, 2, "pm_card_visa").await;
    assert_eq!((flushes(), pair.lines()), (1, 2));
    // Nothing is new: nothing is written.
    authorise(other, 2, "pm_card_visa").await;
    assert_eq!((flushes(), pair.lines()), (1, 2));
}

#[tokio::test]
async fn one_goes_on_when_the_other_cannot_write() {
    let pair = Pair::open();
    let [one, other] = &pair.providers;
    authorise(one, 1, "pm_card_visa").await;
    file_of(one).as_mut().unwrap().break_for_test();
    let failed = one.capture(&held(1, 1000), "capture").await;
    assert!(matches!(failed, Err(Error::Unknown(_))), "{failed:?}");
    assert_eq!(other.void(&held(1, 1000), "void").await, Ok(Void::Voided));
    let refused = one.capture(&held(1, 1000), "capture").await;
    assert!(matches!(refused, Ok(Capture::Refused { .. })), "{refused:?}");
    assert_eq!(other.capture(&held(1, 1000), "capture").await, refused);
    assert_eq!(pair.lines(), 3);
}

#[tokio::test]
async fn what_could_not_be_flushed_is_left_to_nobody() {
    let pair = Pair::open();
    let [one, other] = &pair.providers;
    authorise(one, 1, "pm_card_visa").await;
    file_of(one).as_mut().unwrap().fails_to_flush = true;
    let failed = one.capture(&held(1, 1000), "capture").await;
    assert!(matches!(failed, Err(Error::Unknown(_))), "{failed:?}");
    assert_eq!(pair.lines(), 1);
    assert_eq!(other.void(&held(1, 1000), "void").await, Ok(Void::Voided));
    assert_eq!(one.void(&held(1, 1000), "void").await, Ok(Void::Voided));
}

#[tokio::test]
async fn a_ledger_that_is_lost_is_not_begun_anew() {
    let pair = Pair::open();
    let [one, other] = &pair.providers;
    authorise(one, 1, "pm_card_visa").await;
    let whole = fs::read(&pair.path).unwrap();
    let refused = |answered| matches!(answered, Err(Error::Unavailable { .. }));
    fs::remove_file(&pair.path).unwrap();
    for provider in [one, other, one, other] {
        assert!(refused(provider.capture(&held(1, 1000), "capture").await));
    }
    fs::write(&pair.path, &whole).unwrap();
    for provider in [one, other] {
        assert_eq!(provider.capture(&held(1, 1000), "capture").await, Ok(Capture::Captured));
    }
    fs::write(&pair.path, &whole).unwrap();
    assert!(refused(other.capture(&held(1, 1000), "capture").await));
}

#[tokio::test]
async fn a_caller_that_is_gone_holds_nobody_up() {
    let pair = Pair::open();
    let [one, other] = &pair.providers;
    for number in 0..50 {
        let held = held(number, 1000);
        for provider in [one, other] {
            authorise(provider, number, "pm_card_visa").await;
            let mut call = Box::pin(provider.capture(&held, "capture"));
            let polled = std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context).is_ready()));
            polled.await;
        }
    }
    let captured = other.capture(&held(0, 1000), "capture").await;
    assert_eq!(captured, Ok(Capture::Captured));
}
