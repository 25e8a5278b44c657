use std::fs;
use std::io::Write;
use std::path::PathBuf;

use contracts::{Currency, Money, OrderId, RefundId};
use tempfile::TempDir;
use uuid::Uuid;

use super::file::LedgerFile;
use super::*;

mod processes;
mod shared;

fn usd(amount: i64) -> Money {
    Money::new(amount, Currency::USD).unwrap()
}

fn payment(number: u128) -> PaymentId {
    PaymentId::from_uuid(Uuid::from_u128(number))
}

fn held(number: u128, amount: i64) -> Held {
    let id = payment(number);
    Held {
        payment_id: id,
        reference: id.to_string().try_into().unwrap(),
        amount: usd(amount),
    }
}

async fn authorise(provider: &Simulated, number: u128, method: &str) -> Authorisation {
    let charge = Charge {
        payment_id: payment(number),
        order_id: OrderId::from_uuid(Uuid::from_u128(number)),
        amount: usd(1000),
        method: Some(method.try_into().unwrap()),
    };
    provider
        .authorise(&charge, &format!("authorise/{}", charge.payment_id))
        .await
        .unwrap()
}

fn give(number: u128, amount: i64) -> Return {
    Return {
        refund_id: RefundId::from_uuid(Uuid::from_u128(number)),
        amount: usd(amount),
    }
}

fn reference(number: u128) -> Slug {
    payment(number).to_string().try_into().unwrap()
}

#[tokio::test]
async fn a_key_has_its_effect_once_and_its_answer_always() {
    let provider = Simulated::in_memory();
    let first = authorise(&provider, 1, "pm_card_visa").await;
    assert_eq!(
        first,
        Authorisation::Authorised {
            reference: reference(1)
        }
    );
    assert_eq!(authorise(&provider, 1, "pm_card_visa").await, first);
    provider.capture(&held(1, 1000), "capture").await.unwrap();
    assert_eq!(authorise(&provider, 1, "pm_card_visa").await, first);
    for _ in 0..2 {
        assert_eq!(
            provider.refund(&held(1, 1000), &give(1, 400), "refund").await,
            Ok(Refund::Given)
        );
    }
    assert_eq!(
        provider.accounts(),
        [(
            payment(1),
            Account::Captured {
                amount: usd(1000),
                refunded: usd(400)
            }
        )]
    );
}

#[tokio::test]
async fn a_key_is_of_one_request() {
    let provider = Simulated::in_memory();
    authorise(&provider, 1, "pm_card_visa").await;
    let other = provider
        .capture(&held(1, 1000), &format!("authorise/{}", payment(1)))
        .await;
    assert!(matches!(other, Err(Error::Contradiction(_))), "{other:?}");
}

#[tokio::test]
async fn methods_behave_as_their_names_say() {
    let provider = Simulated::in_memory();
    let declined = |code: &str| Authorisation::Declined {
        code: code.try_into().unwrap(),
    };
    assert_eq!(
        authorise(&provider, 1, "pm_card_chargeDeclined").await,
        declined("generic_decline")
    );
    assert_eq!(
        authorise(&provider, 2, "pm_card_chargeDeclinedExpiredCard").await,
        declined("expired_card")
    );
    let asks = authorise(&provider, 3, "pm_card_authenticationRequired").await;
    assert!(matches!(asks, Authorisation::RequiresAction { .. }), "{asks:?}");
    assert_eq!(
        provider.act(payment(3), true).await,
        Ok(Authorisation::Authorised {
            reference: reference(3)
        })
    );
    authorise(&provider, 4, "pm_card_authenticationRequired").await;
    assert_eq!(
        provider.act(payment(4), false).await,
        Ok(declined("authentication_failed"))
    );
    assert_eq!(provider.method(None).unwrap().unwrap().as_str(), "pm_card_visa");
    assert_eq!(provider.method(Some("pm_1234".try_into().unwrap())), Err(UnknownMethod));
}

#[tokio::test]
async fn money_that_is_not_there_is_neither_taken_nor_given_back() {
    let provider = Simulated::in_memory();
    let contradicts = |result: Result<(), Error>| matches!(result, Err(Error::Contradiction(_)));
    assert!(contradicts(provider.capture(&held(1, 1000), "unknown").await.map(drop)));
    authorise(&provider, 1, "pm_card_visa").await;
    assert!(contradicts(
        provider.refund(&held(1, 1000), &give(1, 1), "early").await.map(drop)
    ));
    provider.capture(&held(1, 1000), "capture").await.unwrap();
    assert!(contradicts(provider.capture(&held(1, 1000), "again").await.map(drop)));
    assert_eq!(provider.void(&held(1, 1000), "void").await, Ok(Void::Captured));
    provider.refund(&held(1, 1000), &give(2, 600), "refund").await.unwrap();
    assert!(contradicts(
        provider
            .refund(&held(1, 1000), &give(3, 401), "too much")
            .await
            .map(drop)
    ));
    authorise(&provider, 2, "pm_card_visa").await;
    assert_eq!(provider.void(&held(2, 1000), "void 2").await, Ok(Void::Voided));
    let refused = provider.capture(&held(2, 1000), "capture 2").await.unwrap();
    assert_eq!(
        refused,
        Capture::Refused {
            code: "payment_voided".try_into().unwrap()
        }
    );
}

/// The open file of a ledger that is not in memory.
fn file_of(provider: &Simulated) -> MutexGuard<'_, Option<LedgerFile>> {
    match &provider.keeping {
        Keeping::File(queue) => locked(&queue.file),
        Keeping::Memory(_) => panic!("it has no file"),
    }
}

/// A ledger file with a payment captured, one voided and one declined.
async fn written(directory: &TempDir) -> (std::path::PathBuf, Vec<(PaymentId, Account)>) {
    let path = directory.path().join("ledger.jsonl");
    let provider = Simulated::open(&path).unwrap();
    authorise(&provider, 1, "pm_card_visa").await;
    provider.capture(&held(1, 1000), "capture").await.unwrap();
    provider.refund(&held(1, 1000), &give(1, 250), "refund").await.unwrap();
    authorise(&provider, 2, "pm_card_visa").await;
    provider.void(&held(2, 1000), "void").await.unwrap();
    authorise(&provider, 3, "pm_card_chargeDeclined").await;
    let accounts = provider.accounts();
    (path, accounts)
}

#[tokio::test]
async fn the_ledger_is_the_same_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let (path, accounts) = written(&directory).await;
    let provider = Simulated::open(&path).unwrap();
    assert_eq!(provider.accounts(), accounts);
    authorise(&provider, 1, "pm_card_visa").await;
    provider.capture(&held(1, 1000), "capture").await.unwrap();
    assert_eq!(provider.accounts(), accounts);
}

#[tokio::test]
async fn a_line_that_a_crash_has_torn_never_happened() {
    let directory = TempDir::new().unwrap();
    let (path, accounts) = written(&directory).await;
    let whole = fs::read(&path).unwrap();
    let torn = br#"{"key":"authorise/x","request":"authorise","paym"#;
    for cut in 1..torn.len() {
        fs::write(&path, [&whole, &torn[..cut]].concat()).unwrap();
        let provider = Simulated::open(&path).unwrap();
        assert_eq!(provider.accounts(), accounts);
        authorise(&provider, 9, "pm_card_visa").await;
        drop(provider);
        assert_eq!(Simulated::open(&path).unwrap().accounts().len(), accounts.len() + 1);
    }
}

#[tokio::test]
async fn a_damaged_line_in_the_middle_is_not_passed_over() {
    let directory = TempDir::new().unwrap();
    let (path, _) = written(&directory).await;
    let mut bytes = fs::read(&path).unwrap();
    bytes[3] = 0;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(
        Simulated::open(&path),
        Err(OpenError::Damaged { line: 1, .. })
    ));
}

#[tokio::test]
async fn what_could_not_be_written_is_unknown_and_has_not_happened() {
    let directory = TempDir::new().unwrap();
    let (path, accounts) = written(&directory).await;
    let provider = Simulated::open(&path).unwrap();
    file_of(&provider).as_mut().unwrap().break_for_test();
    let key = format!("authorise/{}", payment(9));
    let charge = Charge {
        payment_id: payment(9),
        order_id: OrderId::from_uuid(Uuid::from_u128(9)),
        amount: usd(1000),
        method: None,
    };
    let failed = provider.authorise(&charge, &key).await;
    assert!(matches!(failed, Err(Error::Unknown(_))), "{failed:?}");
    // The next call finds the ledger as it was on the disk, and goes on from there.
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"half a li")
        .unwrap();
    let again = provider.authorise(&charge, &key).await;
    assert_eq!(
        again,
        Ok(Authorisation::Authorised {
            reference: reference(9)
        })
    );
    assert_eq!(provider.accounts().len(), accounts.len() + 1);
    let all = provider.accounts();
    drop(provider);
    assert_eq!(Simulated::open(&path).unwrap().accounts(), all);
}

#[tokio::test]
async fn calls_that_come_together_share_a_flush() {
    let directory = TempDir::new().unwrap();
    let provider = Simulated::open(&directory.path().join("ledger.jsonl")).unwrap();
    let calls = (0..1000).map(|number| {
        let provider = provider.clone();
        tokio::spawn(async move { authorise(&provider, number, "pm_card_visa").await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(provider.accounts().len(), 1000);
    let flushes = file_of(&provider).as_ref().unwrap().flushes;
    assert!(flushes < 200, "{flushes} flushes");
}
