//! What an operator writes: settings, networks, order history.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use contracts::Currency;
use contracts::money::AMOUNT_MAX;
use gateway::config::{Network, Origins, Rate};
use tradewind::config::Config;
use tradewind::replay::{COLUMNS, Plan, read};

/// A file of settings, and after a zero a `.env`.
pub(crate) fn configuration(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let file = std::str::from_utf8(parts.next().unwrap_or_default());
    let (Ok(file), dotenv) = (file, parts.next().unwrap_or_default()) else {
        return;
    };
    let path = Path::new("tradewind.toml");
    let Ok(config) = Config::read(Some((path, file)), dotenv, BTreeMap::new()) else {
        return;
    };
    // What `config print` shows, written down, is the same configuration.
    let shown: BTreeMap<_, _> = config.shown.iter().map(|it| (it.name, it.value.clone())).collect();
    let table = |concealed: &str| {
        let values = shown.iter().map(|(name, value)| {
            let value = if value == "(set)" { concealed } else { value };
            ((*name).to_owned(), toml::Value::from(value))
        });
        values.collect::<toml::Table>().to_string()
    };
    let written = table("correct horse battery staple");
    let again = Config::read(Some((path, &written)), b"", BTreeMap::new());
    let again = again.unwrap_or_else(|error| panic!("{written}: {error:#}"));
    let again: BTreeMap<_, _> = again.shown.into_iter().map(|it| (it.name, it.value)).collect();
    assert_eq!(again, shown);
}

/// What is read prints as what reads the same.
fn printed<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<T> {
    let value = text.parse::<T>().ok()?;
    assert_eq!(
        value.to_string().parse::<T>().ok().as_ref(),
        Some(&value),
        "{text} prints as {value}"
    );
    Some(value)
}

pub(crate) fn networks(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    printed::<Rate>(text);
    if let Some(network) = printed::<Network>(text) {
        let printed = network.to_string();
        let address = printed.split('/').next().unwrap_or_default().parse::<IpAddr>();
        let address = address.expect("a network prints its first address");
        assert!(network.contains(address), "{text} does not contain {address}");
    }
    let given: Vec<String> = text.split(',').map(str::to_owned).collect();
    if let Ok(origins) = Origins::try_from(given.clone()) {
        assert_eq!(Vec::<String>::from(origins), given);
    }
}

/// Order history as CSV.
pub(crate) fn history(bytes: &[u8]) {
    let Ok(rows) = read(bytes) else { return };
    let mut written = csv::Writer::from_writer(Vec::new());
    written.write_record(COLUMNS).expect("memory can be written to");
    for row in &rows {
        written.write_record(&row.fields).expect("memory can be written to");
    }
    let written = written.into_inner().expect("memory can be written to");
    let again = read(&*written).expect("what was written can be read");
    let fields = |rows: &[tradewind::replay::Row]| rows.iter().map(|row| row.fields.clone()).collect::<Vec<_>>();
    assert_eq!(fields(&again), fields(&rows));

    let plan = Plan::new(rows, Currency::GBP);
    let lines: usize = plan.invoices.iter().map(|invoice| invoice.lines.len()).sum();
    let returns: usize = plan.invoices.iter().map(|invoice| invoice.returns.len()).sum();
    assert_eq!(
        lines + returns + plan.rejected.len(),
        plan.rows,
        "a row is played or rejected"
    );
    for invoice in &plan.invoices {
        assert!(
            (1..=AMOUNT_MAX).contains(&invoice.total()),
            "{} costs {}",
            invoice.number,
            invoice.total()
        );
        assert!(
            (0..=invoice.total()).contains(&invoice.refunded()),
            "{}",
            invoice.number
        );
    }
    for (article, product) in &plan.products {
        assert!(
            (0..=product.ordered).contains(&product.returned),
            "{article:?}: {product:?}"
        );
    }
}
