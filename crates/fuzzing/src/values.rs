//! Values: ids, money, texts and cursors, in text and in JSON.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use contracts::{
    Country, Currency, Cursor, DeadLetterId, DeliveryId, Delta, Email, EventId, HttpUrl, Limit, Money, NotificationId,
    OnHand, OrderId, PaymentId, Price, ProductId, ProductName, Quantity, RefundId, ReservationId, SessionId, Sku, Slug,
    UserId, WebhookId,
};
use kernel::http::{Paging, page};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chosen;

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// JSON that is read is written as what reads the same.
fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_string(&value).expect("a value has a JSON form");
        let read: T = serde_json::from_str(&written).unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(read, value, "{written}");
    }
}

/// Text is read by its own parser as it is in JSON, and an id has one text only.
fn id<T: FromStr + Display + Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) -> bool {
    let parsed = text.parse::<T>().ok();
    let quoted = serde_json::to_string(text).expect("a text has a JSON form");
    assert_eq!(serde_json::from_str::<T>(&quoted).ok(), parsed, "{text:?}");
    if let Some(id) = &parsed {
        assert_eq!(id.to_string(), text);
        json::<T>(quoted.as_bytes());
    }
    parsed.is_some()
}

pub(crate) fn ids(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let kinds = [
        id::<UserId>(text),
        id::<SessionId>(text),
        id::<ProductId>(text),
        id::<OrderId>(text),
        id::<ReservationId>(text),
        id::<PaymentId>(text),
        id::<RefundId>(text),
        id::<NotificationId>(text),
        id::<EventId>(text),
        id::<WebhookId>(text),
        id::<DeliveryId>(text),
        id::<DeadLetterId>(text),
    ];
    assert!(kinds.into_iter().filter(|is| *is).count() <= 1, "{text}: {kinds:?}");
    if let Ok(id) = text.parse::<OrderId>() {
        assert_eq!(OrderId::from_uuid(id.uuid()), id);
        let _ = id.created_at();
    }
}

pub(crate) fn money(bytes: &[u8]) {
    json::<Money>(bytes);
    json::<Price>(bytes);
    let currencies = [
        Currency::USD,
        Currency::JPY,
        Currency::KWD,
        Currency::CLF,
        Currency::XAU,
    ];
    let Some((&currency, Some(text))) = chosen(&currencies, bytes).map(|(it, rest)| (it, text(rest))) else {
        return;
    };
    if let Ok(money) = Money::parse_major(text, currency) {
        let printed = money.to_string();
        let major = printed
            .strip_suffix(currency.code())
            .expect("money prints its currency");
        let again = Money::parse_major(&major.trim_end().replace(',', ""), currency);
        assert_eq!(again, Ok(money), "{text} is {printed}");
        // No digit that says something is lost.
        let digits = |text: &str| {
            text.bytes()
                .filter(|byte| matches!(byte, b'1'..=b'9'))
                .collect::<Vec<_>>()
        };
        assert_eq!(digits(text), digits(major), "{text} is {printed}");
    }
}

fn word<T>(text: &str)
where
    T: for<'a> TryFrom<&'a str> + Serialize + DeserializeOwned + PartialEq + Debug,
{
    let read = T::try_from(text).ok();
    let quoted = serde_json::to_string(text).expect("a text has a JSON form");
    assert_eq!(serde_json::from_str::<T>(&quoted).ok(), read, "{text:?}");
    json::<T>(quoted.as_bytes());
}

pub(crate) fn texts(bytes: &[u8]) {
    json::<Quantity>(bytes);
    json::<OnHand>(bytes);
    json::<Delta>(bytes);
    json::<Limit>(bytes);
    let Some(text) = text(bytes) else { return };
    word::<Sku>(text);
    word::<ProductName>(text);
    word::<Email>(text);
    word::<HttpUrl>(text);
    word::<Slug>(text);
    word::<Country>(text);
    if let Ok(email) = Email::try_from(text) {
        assert_eq!(email.canonical().to_lowercase(), email.canonical());
    }
}

pub(crate) fn cursors(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    word::<Cursor>(text);
    let Ok(cursor) = Cursor::try_from(text) else { return };
    let place = page::decode(&cursor);
    assert_eq!(Paging::new(Limit::default(), Some(&cursor)).is_ok(), place.is_some());
    if let Some((sort, id)) = place {
        assert_eq!(page::encode(sort.as_ref(), &id), cursor, "a place has one cursor");
    }
}
