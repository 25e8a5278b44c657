//! What a URL may say.

use jiff::Timestamp;
use store_sql::{MysqlOptions, OpenError, PostgresOptions};
use testkit::store_suite::fixture;
use uuid::Uuid;

fn postgres(url: &str) -> Result<PostgresOptions, OpenError> {
    PostgresOptions::new(
        url,
        "shop",
        fixture::schema(),
        Uuid::from_u128(1),
        Timestamp::UNIX_EPOCH,
    )
}

fn mysql(url: &str) -> Result<MysqlOptions, OpenError> {
    MysqlOptions::new(
        url,
        "shop",
        fixture::schema(),
        Uuid::from_u128(1),
        Timestamp::UNIX_EPOCH,
    )
}

#[test]
fn an_option_that_the_driver_does_not_know_is_refused_without_its_value() {
    let refusals = [
        postgres("postgres://a@b/c?sslmode=disable&passwrd=sesame").err(),
        mysql("mysql://a@b/c?passwrd=sesame").err(),
    ];
    for refusal in refusals {
        let refusal = refusal.expect("it is refused");
        assert!(matches!(&refusal, OpenError::UrlOption { key, .. } if key == "passwrd"));
        let words = refusal.to_string();
        assert!(words.contains("\"passwrd\"") && words.contains("ssl-mode"), "{words}");
        assert!(!words.contains("sesame") && !words.contains('\n'), "{words}");
    }
    let refusal = mysql("mysql://a@b/c?sslMode=VERIFY_IDENTITY").err();
    assert!(matches!(refusal, Some(OpenError::UrlOption { key, .. }) if key == "sslMode"));
}

#[test]
fn an_option_that_the_driver_knows_is_taken() {
    let settings = "sslmode=verify-full&sslrootcert=ca.pem&options[work_mem]=8MB";
    postgres(&format!("postgres://a@b/c?{settings}")).expect("the driver knows them");
    mysql("mysql://a@b/c?ssl-mode=VERIFY_IDENTITY&ssl-ca=ca.pem").expect("the driver knows them");
    mysql("mysql://a@b/c?").expect("there are none");
}
