//! The catalogue of errors. `docs/errors.md` says the same, and a test compares the two.

use std::time::Duration;

use crate::word::words;

/// Generates the codes, and what each of them is.
macro_rules! codes {
    ($($Code:ident $status:literal $word:literal $title:literal $what_to_do:literal)+) => {
        words! {
            /// The stable word of an error, in kebab-case. Permanent: clients match on it.
            pub enum Code { $(#[doc = $title] $Code = $word,)+ }
        }

        impl Code {
            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$Code => $status,)+ }
            }

            /// The title: the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$Code => $title,)+ }
            }

            /// One sentence of what to do.
            pub const fn what_to_do(self) -> &'static str {
                match self { $(Self::$Code => $what_to_do,)+ }
            }
        }
    };
}

codes! {
    MalformedJson 400 "malformed-json" "Malformed JSON" "Send a body that is valid JSON."
    BadRequest 400 "bad-request" "Malformed request" "Send a request that HTTP allows, in UTF-8."
    Unauthorized 401 "unauthorized" "Not signed in" "Sign in, and send the token as `Authorization: Bearer …`."
    InvalidCredentials 401 "invalid-credentials" "Wrong e-mail or password" "Check the e-mail and the password."
    TokenExpired 401 "token-expired" "Token expired" "Refresh the token at /api/token/refresh, or sign in again."
    SessionEnded 401 "session-ended" "Session ended" "Sign in again; the refresh token is unknown, spent or revoked."
    InvalidSignature 401 "invalid-signature" "Invalid signature" "Sign the webhook with the secret configured here, and send it in time."
    CardDeclined 402 "card-declined" "Card declined" "Pay with another method."
    Forbidden 403 "forbidden" "Not allowed" "Ask somebody whose role allows it."
    NotFound 404 "not-found" "Not found" "Check the path and the id; what is not yours is not found either."
    MethodNotAllowed 405 "method-not-allowed" "Method not allowed" "Use one of the methods in the `Allow` header."
    RequestTimeout 408 "request-timeout" "Request took too long" "Send the body faster, and repeat the request with the same Idempotency-Key."
    Conflict 409 "conflict" "Conflict with the current state" "Read the resource again, and decide anew."
    EmailTaken 409 "email-taken" "E-mail already in use" "Sign in, or use another e-mail address."
    UsernameTaken 409 "username-taken" "Username already in use" "Use another username."
    SkuTaken 409 "sku-taken" "SKU already in use" "Use another SKU, or update the product that has it."
    PriceChanged 409 "price-changed" "Price changed" "Read the product's price again, and place the order with that one."
    NotCancellable 409 "not-cancellable" "Order cannot be cancelled" "Refund the payment instead; the order is fulfilled or has ended."
    IllegalTransition 409 "illegal-transition" "Status cannot change so" "Read the order, and use a status that can follow its own."
    AlreadyPaid 409 "already-paid" "Order already paid" "Nothing; the order is paid."
    PaymentOpen 409 "payment-open" "Payment already under way" "Wait for the order's open payment; a new one may follow if it fails."
    NotPayable 409 "not-payable" "Order cannot be paid" "Place a new order; this one was rejected, cancelled, expired or refunded."
    BelowReserved 409 "below-reserved" "Below what is reserved" "Use a number that covers what is reserved, or cancel orders first."
    NotRefundable 409 "not-refundable" "Payment cannot be refunded" "Wait until the payment is captured; one that failed or was voided has nothing to give back."
    RefundExceedsCaptured 409 "refund-exceeds-captured" "Refund exceeds the payment" "Refund at most what was captured and not yet refunded."
    InProgress 409 "in-progress" "Request still under way" "Repeat the request with the same Idempotency-Key after the Retry-After."
    StaleVersion 412 "stale-version" "Changed meanwhile" "Read the resource again, and send its new ETag as If-Match."
    BodyTooLarge 413 "body-too-large" "Body too large" "Send a body of at most 1 MiB."
    EventTooLarge 413 "event-too-large" "Event too large" "Send less in one request; its event would exceed 256 KiB."
    UnsupportedMediaType 415 "unsupported-media-type" "Unsupported media type" "Send `Content-Type: application/json`."
    Invalid 422 "invalid" "Invalid request" "Correct the fields named in `errors`."
    InvalidQuery 422 "invalid-query" "Invalid query" "Correct the query parameters, or the GraphQL query, as `errors` says."
    QueryTooComplex 422 "query-too-complex" "Query too complex" "Ask for less depth, fewer fields or smaller pages at once."
    UnknownProduct 422 "unknown-product" "Unknown product" "Order products that the catalogue has and that are not archived."
    UnknownReference 422 "unknown-reference" "Unknown reference" "Check the ids in the body; one of them names nothing."
    InvalidQuantity 422 "invalid-quantity" "Invalid quantity" "Use whole numbers from 1 to 1,000,000."
    MixedCurrencies 422 "mixed-currencies" "Mixed currencies" "Place one order per currency."
    IdempotencyKeyReused 422 "idempotency-key-reused" "Idempotency-Key used for another request" "Use a new Idempotency-Key for a new request."
    RateLimited 429 "rate-limited" "Too many requests" "Wait as long as the Retry-After header says."
    Internal 500 "internal" "Internal error" "Repeat the request later; if it persists, report its x-request-id."
    Overloaded 503 "overloaded" "Overloaded" "Repeat the request after the Retry-After."
    StoreUnavailable 503 "store-unavailable" "Store unavailable" "Repeat the request after the Retry-After, with the same Idempotency-Key."
    CatchingUp 503 "catching-up" "Catching up" "Repeat the request after the Retry-After; what it refers to is on its way here."
    KeysUnavailable 503 "keys-unavailable" "Signing keys unavailable" "Repeat the request after the Retry-After; no token can be verified yet."
    UpstreamUnavailable 503 "upstream-unavailable" "Service unavailable" "Repeat the request after the Retry-After, with the same Idempotency-Key."
    ShuttingDown 503 "shutting-down" "Shutting down" "Repeat the request after the Retry-After, with the same Idempotency-Key."
}

impl Code {
    /// The code of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        word.parse().ok()
    }

    /// When to come back unless the occurrence says otherwise: one second for what passes by itself.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::InProgress | Self::RateLimited => Some(Duration::from_secs(1)),
            _ if self.status() == 503 => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_catalogue_in_the_docs_says_the_same() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        let documented = std::fs::read_to_string(path).unwrap();
        let rows = documented
            .lines()
            .filter(|line| line.starts_with("| <a "))
            .collect::<Vec<_>>();
        let expected = Code::ALL
            .iter()
            .map(|code| {
                let (word, status, title, what) = (code, code.status(), code.title(), code.what_to_do());
                format!("| <a id=\"{word}\"></a>`{word}` | {status} | {title} | {what} |")
            })
            .collect::<Vec<_>>();
        assert_eq!(
            rows,
            expected,
            "the table of docs/errors.md should be:\n{}",
            expected.join("\n")
        );
    }

    #[test]
    fn codes_are_distinct_sorted_by_status_and_say_what_to_do() {
        let words = Code::ALL.iter().map(|code| code.as_str()).collect::<BTreeSet<_>>();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(Code::ALL.is_sorted_by_key(|code| code.status()));
        for code in Code::ALL {
            assert!(
                code.as_str()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{code}"
            );
            assert!(code.what_to_do().ends_with('.'), "{code}");
            assert!((400..=599).contains(&code.status()), "{code}");
        }
    }

    #[test]
    fn what_passes_by_itself_says_when_to_come_back() {
        assert_eq!(Code::CatchingUp.retry_after(), Some(Duration::from_secs(1)));
        assert_eq!(Code::NotFound.retry_after(), None);
    }
}
