//! What holds of every value: laws of money, and that what is written is read back as it was, and nothing else is read.

#![expect(clippy::unwrap_used, reason = "a value that is not valid should stop the test")]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use contracts::money::{self, AMOUNT_MAX};
use contracts::order::OrderLine;
use contracts::{
    Attributes, Country, Currency, Cursor, DeadLetterId, Delta, Email, EventId, HttpUrl, Id, Limit, Money,
    NotificationId, OnHand, OrderId, Password, Patch, PaymentId, Price, ProductId, ProductName, Quantity, RefundId,
    ReservationId, Service, SessionId, Sku, Slug, UserId, WebhookId,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

/// Currencies with two, no, three and four places, and one without minor units.
fn currency() -> impl Strategy<Value = Currency> {
    prop::sample::select(vec![
        Currency::USD,
        Currency::EUR,
        Currency::JPY,
        Currency::KWD,
        Currency::CLF,
        Currency::XAU,
    ])
}

/// Products of these wrap round to nothing if they may.
fn power_of_two(bits: u32) -> impl Strategy<Value = i64> {
    (0..bits).prop_map(|exponent| 1 << exponent)
}

/// Often at the limits, where arithmetic goes wrong.
fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![
        -AMOUNT_MAX..=AMOUNT_MAX,
        -1000..1000_i64,
        (0..3_i64).prop_map(|below| AMOUNT_MAX - below),
        (0..3_i64).prop_map(|above| above - AMOUNT_MAX),
        power_of_two(53),
    ]
}

fn money(currency: Currency) -> impl Strategy<Value = Money> {
    amount().prop_map(move |amount| Money::new(amount, currency).unwrap())
}

fn monies<const N: usize>() -> impl Strategy<Value = [Money; N]>
where
    [Money; N]: Debug,
{
    (currency(), prop::collection::vec(amount(), N)).prop_map(|(currency, amounts)| {
        let monies: Vec<Money> = amounts
            .into_iter()
            .map(|amount| Money::new(amount, currency).unwrap())
            .collect();
        monies.try_into().expect("as many as asked for")
    })
}

/// The amount in integers that cannot overflow, which it is if that is within the limit.
fn exact(amount: i128, currency: Currency) -> Result<Money, money::Error> {
    let within = amount.abs() <= i128::from(AMOUNT_MAX);
    let amount = i64::try_from(amount).ok().filter(|_| within);
    Money::new(amount.ok_or(money::Error::Overflow)?, currency)
}

/// Numbers on both sides of these limits, among any others.
fn around(limits: &[i64]) -> impl Strategy<Value = i64> + use<> {
    let limits = limits.to_vec();
    prop_oneof![1 => any::<i64>(), 3 => (prop::sample::select(limits), -2..=2_i64).prop_map(|(limit, by)| limit + by)]
}

/// A value comes back from JSON as it was, and its JSON too.
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> Result<(), TestCaseError> {
    let json = serde_json::to_string(value).unwrap();
    let read: T = serde_json::from_str(&json).map_err(|error| TestCaseError::fail(format!("{json}: {error}")))?;
    prop_assert_eq!(&read, value);
    prop_assert_eq!(serde_json::to_string(&read).unwrap(), json);
    Ok(())
}

proptest! {
    #[test]
    fn money_adds_up_as_integers_do_and_is_refused_beyond_the_limit([a, b, c] in monies::<3>()) {
        let [x, y] = [a, b].map(|it| i128::from(it.amount()));
        prop_assert_eq!(a.checked_add(b), exact(x + y, a.currency()));
        prop_assert_eq!(a.checked_sub(b), exact(x - y, a.currency()));
        prop_assert_eq!(a.checked_add(b), b.checked_add(a));
        if let Ok(sum) = a.checked_add(b) {
            prop_assert_eq!(sum.checked_sub(b), Ok(a));
            // Grouped otherwise it may be refused on the way, but is never another amount.
            if let (Ok(left), Ok(right)) = (sum.checked_add(c), b.checked_add(c).and_then(|rest| a.checked_add(rest))) {
                prop_assert_eq!(left, right);
            }
        }
        prop_assert_eq!(a.checked_cmp(b).unwrap(), x.cmp(&y));
    }

    #[test]
    fn a_product_is_the_sum_of_so_many(
        (currency, amount) in (currency(), amount()),
        times in prop_oneof![0..1_000_000_i64, power_of_two(63)],
    ) {
        let money = Money::new(amount, currency).unwrap();
        prop_assert_eq!(money.checked_mul(times), exact(i128::from(amount) * i128::from(times), currency));
        let few = times % 50;
        let copies = std::iter::repeat_n(money, usize::try_from(few).unwrap());
        prop_assert_eq!(Money::checked_sum(currency, copies), money.checked_mul(few));
    }

    #[test]
    fn a_line_costs_its_price_so_many_times(price in 1..=AMOUNT_MAX, quantity in 1..=1_000_000_i64) {
        let (sku, name) = ("A".parse().unwrap(), "Lamp".parse().unwrap());
        let (product, price) = (ProductId::from_uuid(Uuid::nil()), Price::new(price, Currency::USD).unwrap());
        let line = OrderLine::new(sku, product, name, quantity.try_into().unwrap(), price);
        let expected = exact(i128::from(price.money().amount()) * i128::from(quantity), Currency::USD);
        prop_assert_eq!(line.map(|line| line.total), expected);
    }

    #[test]
    fn currencies_never_mix(
        (left, right) in (currency(), currency()).prop_flat_map(|(l, r)| (money(l), money(r)))
    ) {
        let alike = left.currency() == right.currency();
        let mixed = |error: Option<money::Error>| matches!(error, Some(money::Error::MixedCurrencies { .. }));
        prop_assert_eq!(mixed(left.checked_add(right).err()), !alike);
        prop_assert_eq!(mixed(left.checked_sub(right).err()), !alike);
        prop_assert_eq!(mixed(left.checked_cmp(right).err()), !alike);
        prop_assert_eq!(mixed(Money::checked_sum(left.currency(), [right]).err()), !alike);
    }

    #[test]
    fn money_is_read_as_it_is_printed([money] in monies::<1>()) {
        let printed = money.to_string();
        let (major, code) = printed.split_once(' ').unwrap();
        prop_assert_eq!(code, money.currency().code());
        prop_assert_eq!(Money::parse_major(&major.replace(',', ""), money.currency()), Ok(money));
        survives(&money)?;
        if let Ok(price) = Price::try_from(money) {
            survives(&price)?;
        }
        prop_assert_eq!(Price::try_from(money).is_ok(), money.amount() > 0);
    }

    #[test]
    fn a_decimal_is_read_exactly_or_refused(
        text in prop_oneof!["-?[0-9]{0,18}(\\.[0-9]{0,5})?", "[-+0-9.,e ]{0,10}", ".{0,5}"],
        currency in currency(),
    ) {
        if let Ok(money) = Money::parse_major(&text, currency) {
            let printed = money.to_string().replace(',', "");
            let (major, _) = printed.split_once(' ').unwrap();
            prop_assert_eq!(plain(major), plain(&text));
        }
    }

    #[test]
    fn an_amount_beyond_the_limit_does_not_exist(
        amount in around(&[-AMOUNT_MAX, 0, AMOUNT_MAX]),
        currency in currency(),
    ) {
        let within = (-AMOUNT_MAX..=AMOUNT_MAX).contains(&amount);
        prop_assert_eq!(Money::new(amount, currency).is_ok(), within);
        let json = format!("{{\"amount\":{amount},\"currency\":\"{}\"}}", currency.code());
        prop_assert_eq!(serde_json::from_str::<Money>(&json).is_ok(), within);
    }
}

/// A decimal without what makes no difference: zeros at its ends, and the sign of zero.
fn plain(decimal: &str) -> String {
    let (sign, digits) = decimal.strip_prefix('-').map_or(("", decimal), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{}.{}", whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    if digits == "." {
        digits
    } else {
        format!("{sign}{digits}")
    }
}

/// Some text that may be an id: one that is, one that almost is, or none.
fn like_an_id() -> impl Strategy<Value = String> {
    let prefixes = vec![
        "usr",
        "ses",
        "prd",
        "ord",
        "rsv",
        "pay",
        "rfn",
        "ntf",
        "evt",
        "whk",
        "dlv",
        "dlq_orders",
        "dlq",
        "",
    ];
    let almost = ("[_ 0o]", any::<prop::sample::Index>()).prop_map(|(letter, place)| {
        let mut id = "dlq_orders_01h455vb4pex5vsknk084sn02q".to_owned();
        id.insert_str(place.index(id.len() + 1), &letter);
        id
    });
    prop_oneof![
        almost,
        (prop::sample::select(prefixes), any::<u128>()).prop_map(|(prefix, uuid)| OrderId::from_uuid(Uuid::from_u128(
            uuid
        ))
        .to_string()
        .replace("ord", prefix)),
        "(ord|dlq_orders|[a-z_]{0,6})_?[0-9a-zA-Z]{20,30}",
        "\\PC{0,40}",
        any::<String>(),
    ]
}

/// What the text is read as is what prints as the text; so no two texts are one id.
fn is_the_only_text_of_what_it_is<T: FromStr + Display>(text: &str) -> Result<bool, TestCaseError> {
    let Ok(value) = text.parse::<T>() else { return Ok(false) };
    prop_assert_eq!(value.to_string(), text);
    Ok(true)
}

fn round_trips<I: Id + Debug + Serialize + DeserializeOwned>(id: I) -> Result<(), TestCaseError> {
    prop_assert_eq!(id.to_string().parse::<I>(), Ok(id));
    survives(&id)
}

proptest! {
    #[test]
    fn ids_come_back_and_sort_as_text_as_they_do_in_bytes(one in any::<u128>(), other in any::<u128>()) {
        let [one, other] = [one, other].map(|bits| OrderId::from_uuid(Uuid::from_u128(bits)));
        prop_assert_eq!(one.to_string().cmp(&other.to_string()), one.cmp(&other));
        let uuid = one.uuid();
        round_trips(one)?;
        round_trips(UserId::from_uuid(uuid))?;
        round_trips(ProductId::from_uuid(uuid))?;
        round_trips(ReservationId::of(one))?;
        round_trips(PaymentId::from_uuid(uuid))?;
        round_trips(NotificationId::from_uuid(uuid))?;
        round_trips(EventId::from_uuid(uuid))?;
        for &service in Service::ALL {
            round_trips(DeadLetterId::new(service, uuid))?;
        }
        // Whatever the bits say of a time, it is one.
        let _ = one.created_at();
    }

    #[test]
    fn a_text_is_at_most_one_kind_of_id_and_the_only_text_of_it(text in like_an_id()) {
        let kinds = [
            is_the_only_text_of_what_it_is::<UserId>(&text)?,
            is_the_only_text_of_what_it_is::<SessionId>(&text)?,
            is_the_only_text_of_what_it_is::<ProductId>(&text)?,
            is_the_only_text_of_what_it_is::<OrderId>(&text)?,
            is_the_only_text_of_what_it_is::<ReservationId>(&text)?,
            is_the_only_text_of_what_it_is::<PaymentId>(&text)?,
            is_the_only_text_of_what_it_is::<RefundId>(&text)?,
            is_the_only_text_of_what_it_is::<NotificationId>(&text)?,
            is_the_only_text_of_what_it_is::<EventId>(&text)?,
            is_the_only_text_of_what_it_is::<WebhookId>(&text)?,
            is_the_only_text_of_what_it_is::<DeadLetterId>(&text)?,
        ];
        prop_assert!(kinds.into_iter().filter(|is| *is).count() <= 1, "{text}: {kinds:?}");
    }
}

/// A text type reads text from code and from JSON alike, and gives back what it has read.
fn reads_alike<T>(text: &str) -> Result<Option<T>, TestCaseError>
where
    T: for<'a> TryFrom<&'a str> + FromStr + Serialize + DeserializeOwned + PartialEq + Debug,
{
    let read = T::try_from(text).ok();
    prop_assert_eq!(text.parse::<T>().ok(), T::try_from(text).ok());
    let json = serde_json::to_string(text).unwrap();
    prop_assert_eq!(&serde_json::from_str::<T>(&json).ok(), &read);
    if let Some(read) = &read {
        survives(read)?;
    }
    Ok(read)
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,80}",
        "[a-zA-Z0-9._~ -]{0,70}",
        "[a-z. ][+/@ .~=_%:\\t\\x00-][a-z ]{0,2}",
        "[a-z.+\\-]{1,8}@[a-z.\\-]{1,10}",
        "https?://[a-z:/?#@ ]{0,10}",
        any::<String>(),
        (0..300_usize).prop_map(|length| "ü".repeat(length)),
    ]
}

proptest! {
    #[test]
    fn texts_are_what_their_types_promise(text in words()) {
        if let Some(sku) = reads_alike::<Sku>(&text)? {
            prop_assert!((1..=64).contains(&sku.as_str().chars().count()) && sku.as_str().trim() == text);
            prop_assert!(!text.chars().any(char::is_control));
        }
        if let Some(email) = reads_alike::<Email>(&text)? {
            let canonical = email.canonical();
            prop_assert_eq!(&canonical.to_lowercase(), &canonical);
            prop_assert!(text.contains('@') && !text.chars().any(char::is_whitespace));
            prop_assert_eq!(format!("{:?}", email), "Email(…)");
        }
        if let Some(name) = reads_alike::<ProductName>(&text)? {
            prop_assert!((1..=200).contains(&name.as_str().chars().count()) && !text.trim().is_empty());
            prop_assert!(!text.contains('\0'));
        }
        if let Some(slug) = reads_alike::<Slug>(&text)? {
            prop_assert!(!slug.as_str().contains(['/', '@', ' ']) && !text.starts_with('.'));
        }
        if let Some(cursor) = reads_alike::<Cursor>(&text)? {
            prop_assert!(cursor.as_str().is_ascii() && !cursor.as_str().contains(['/', '+', '&', '=', '%', ' ']));
        }
        if let Some(url) = reads_alike::<HttpUrl>(&text)? {
            prop_assert!(url.as_str().starts_with("http") && !text.contains(char::is_whitespace));
        }
        // The country is the one text that is kept otherwise than it came.
        if let Some(country) = reads_alike::<Country>(&text)? {
            prop_assert_eq!(country.as_str(), text.to_uppercase());
        }
        let fits = (8..=256).contains(&text.chars().count()) && !text.contains('\0');
        prop_assert_eq!(Password::try_from(&*text).is_ok(), fits);
    }

    #[test]
    fn numbers_keep_to_their_ranges(
        number in around(&[-1_000_000_000_000, 0, 200, 1_000_000, 1_000_000_000_000])
    ) {
        prop_assert_eq!(Quantity::try_from(number).is_ok(), (1..=1_000_000).contains(&number));
        prop_assert_eq!(OnHand::try_from(number).is_ok(), (0..=1_000_000_000_000).contains(&number));
        prop_assert_eq!(Delta::try_from(number).is_ok(), (-1_000_000_000_000..=1_000_000_000_000).contains(&number));
        let json = number.to_string();
        let quantity = serde_json::from_str::<Quantity>(&json).ok();
        prop_assert_eq!(quantity, Quantity::try_from(number).ok());
        prop_assert_eq!(serde_json::from_str::<OnHand>(&json).ok(), OnHand::try_from(number).ok());
        prop_assert_eq!(serde_json::from_str::<Delta>(&json).ok(), Delta::try_from(number).ok());
        let limit = serde_json::from_str::<Limit>(&json).map(Limit::get).ok();
        prop_assert_eq!(limit, usize::try_from(number).ok().filter(|limit| (1..=200).contains(limit)));
        if let Some(quantity) = quantity {
            survives(&quantity)?;
        }
    }

    #[test]
    fn a_patch_does_what_it_says_and_tells_whether_it_did(
        old in prop::option::of(0..3_u8),
        new in prop::option::of(prop::option::of(0..3_u8)),
    ) {
        let patch = match new {
            None => Patch::Keep,
            Some(None) => Patch::Clear,
            Some(Some(value)) => Patch::Set(value),
        };
        prop_assert_eq!(patch.into_option(), new);
        let mut field = old;
        let changed = patch.apply(&mut field);
        prop_assert_eq!(field, new.unwrap_or(old));
        prop_assert_eq!(changed, field != old);
        prop_assert!(!patch.apply(&mut field), "a patch changes nothing the second time");
    }
}

/// Any JSON, numbers of every kind above all.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[^\0]{0,10}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[^\0]{0,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// What is in an event must fold the same tomorrow, when it is read back, as today, when it was written.
    #[test]
    fn what_others_put_into_an_object_comes_back_as_it_was(
        members in prop::collection::btree_map("[^\0]{0,5}", json(), 0..5)
    ) {
        let object = Attributes::try_from(members.into_iter().collect::<serde_json::Map<_, _>>()).unwrap();
        survives(&object)?;
    }
}
