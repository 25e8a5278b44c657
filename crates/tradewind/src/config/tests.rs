//! Where settings come from, and what is refused.

use super::*;

fn from_environment(variables: &[(&str, &str)]) -> Result<Config> {
    let mut values = Values::default();
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    values.add_environment(variables, str::to_owned)?;
    let config = Config::parse(&mut values)?;
    config.check()?;
    Ok(config)
}

#[test]
fn the_defaults_are_valid() {
    let config = from_environment(&[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:3000");
    assert!(
        config
            .shown
            .iter()
            .all(|shown| shown.from == "default" && !shown.meaning.is_empty())
    );
}

#[test]
fn a_variable_sets_what_the_file_calls_the_same() {
    let config = from_environment(&[("TRADEWIND_PAYMENT_WINDOW", "2s"), ("PATH", "/bin")]).unwrap();
    assert_eq!(config.payment_window.get(), std::time::Duration::from_secs(2));
}

#[test]
fn what_is_misspelt_is_refused_with_the_right_name() {
    let error = from_environment(&[("TRADEWIND_RATE_LIMIT", "1/m")])
        .unwrap_err()
        .to_string();
    assert!(error.contains("did you mean `rate_limit_"), "{error}");
    let error = from_environment(&[("TRADEWIND_LISTEN", "3000")])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("listen") && error.contains("TRADEWIND_LISTEN"),
        "{error}"
    );
}

#[test]
fn services_that_would_share_a_store_are_refused() {
    let stores = |stores: &[(&str, &str)]| {
        let variables = stores
            .iter()
            .map(|(name, url)| (format!("TRADEWIND_{name}STORE"), *url));
        let variables: Vec<(String, &str)> = variables.collect();
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, url)| (name.as_str(), *url)).collect();
        from_environment(&variables).map(drop)
    };
    let refused = [
        [("USERS_", "sqlite:/a/shop.db"), ("ORDERS_", "sqlite:/a/shop.db")],
        [("", "sqlite:/a"), ("ORDERS_", "sqlite:/a/users.sqlite")],
    ];
    for given in refused {
        let error = stores(&given)
            .expect_err("one store has room for one service")
            .to_string();
        assert!(error.contains("users and orders would share"), "{error}");
    }
    stores(&[("", "sqlite:/a"), ("ORDERS_", "sqlite:/b/users.sqlite")]).expect("they are apart");
}

#[test]
#[cfg(feature = "full")]
fn services_are_apart_in_one_postgres_and_nowhere_else() {
    for (scheme, is_apart) in [("postgres", true), ("mysql", false), ("mongodb", false)] {
        let url = format!("{scheme}://h/shop");
        let given = [("TRADEWIND_USERS_STORE", &*url), ("TRADEWIND_ORDERS_STORE", &*url)];
        assert_eq!(from_environment(&given).is_ok(), is_apart, "{scheme}");
    }
}

#[test]
fn a_secret_that_can_be_guessed_is_warned_of_and_not_shown() {
    let notes = |secret: &str| {
        let variables = BTreeMap::from([("TRADEWIND_SERVICE_SECRET".to_owned(), secret.to_owned())]);
        Config::read(None, b"", variables).unwrap().notes
    };
    let said = notes("swordfish").concat();
    assert!(
        said.contains("fewer than 32 characters") && !said.contains("swordfish"),
        "{said}"
    );
    assert_eq!(notes("0123456789abcdef0123456789abcdef"), [""; 0]);
}

#[test]
fn half_an_admin_is_refused_and_a_password_is_never_shown() {
    assert!(from_environment(&[("TRADEWIND_ADMIN_EMAIL", "a@example.com")]).is_err());
    let both = [
        ("TRADEWIND_ADMIN_EMAIL", "a@example.com"),
        ("TRADEWIND_ADMIN_PASSWORD", "swordfish"),
    ];
    assert!(!format!("{:?}", from_environment(&both).unwrap()).contains("swordfish"));
}
