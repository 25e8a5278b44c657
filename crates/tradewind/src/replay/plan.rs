//! What is to be played: worked out from the file alone, so that the outcome can be compared with it.

use std::collections::{BTreeMap, HashMap};

use contracts::{Currency, Email, Money, ProductName, Sku, money::AMOUNT_MAX};

use crate::replay::Row;

/// The customer of rows that name none.
pub const GUEST: &str = "guest";
/// Lines of an order; an invoice with more is played as several orders.
const LINES_MAX: usize = 1000;
const QUANTITY_MAX: i64 = 1_000_000;
/// What sets the SKUs of one run against another's; any is as long.
const LONGEST_RUN: &str = "~00000000";

/// An article at a price: what becomes a product.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Article {
    /// Its code in the file.
    pub stock_code: String,
    /// What a piece costs, in minor units.
    pub price: i64,
}

/// A product to be created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Product {
    /// Its name; the stock code if the file describes it nowhere.
    pub name: String,
    /// All pieces that are ever ordered: what it is stocked with.
    pub ordered: i64,
    /// Pieces that came back.
    pub returned: i64,
}

/// An order to be placed and paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// Its place in the plan. (An invoice of more than a thousand lines has several under one number.)
    pub place: usize,
    /// Its number in the file.
    pub number: String,
    /// Whose.
    pub customer: String,
    /// What, and how many pieces.
    pub lines: Vec<(Article, i64)>,
    /// What came back, in the order of the file.
    pub returns: Vec<Return>,
}

/// Pieces of an invoice that came back: a refund and a stock adjustment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    /// The row, which names the refund's idempotency key.
    pub line: u64,
    /// What.
    pub article: Article,
    /// How many pieces.
    pub quantity: i64,
}

impl Return {
    /// What is given back, in minor units.
    pub fn amount(&self) -> i64 {
        self.article.price * self.quantity
    }
}

impl Invoice {
    /// What it costs, in minor units.
    pub fn total(&self) -> i64 {
        self.lines
            .iter()
            .map(|(article, quantity)| article.price * quantity)
            .sum()
    }

    /// What is given back of it, in minor units.
    pub fn refunded(&self) -> i64 {
        self.returns.iter().map(Return::amount).sum()
    }

    fn still_has(&self, article: &Article) -> i64 {
        let ordered: i64 = self
            .lines
            .iter()
            .filter(|(it, _)| it == article)
            .map(|(_, quantity)| quantity)
            .sum();
        let returned: i64 = self
            .returns
            .iter()
            .filter(|it| it.article == *article)
            .map(|it| it.quantity)
            .sum();
        ordered - returned
    }
}

/// A row that cannot be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The row.
    pub row: Row,
    /// Why.
    pub reason: &'static str,
}

/// Everything to be played.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is sold.
    pub products: BTreeMap<Article, Product>,
    /// What is ordered, in the order of the file.
    pub invoices: Vec<Invoice>,
    /// What cannot be played.
    pub rejected: Vec<Rejected>,
    /// Rows of the file.
    pub rows: usize,
}

/// A row that makes sense by itself.
struct Sound {
    article: Article,
    quantity: i64,
}

impl Plan {
    /// Plans all rows, in order.
    pub fn new(rows: Vec<Row>, currency: Currency) -> Self {
        let mut plan = Self {
            rows: rows.len(),
            ..Self::default()
        };
        // The open order of each invoice number, and the orders of each customer, as places in `invoices`.
        let mut open: HashMap<String, usize> = HashMap::new();
        let mut by_customer: HashMap<String, Vec<usize>> = HashMap::new();
        for row in rows {
            let played = sound(&row, currency).and_then(|sound| match row.invoice().starts_with('C') {
                true => plan.take_back(&row, sound, &by_customer),
                false => plan.order(&row, sound, &mut open, &mut by_customer),
            });
            if let Err(reason) = played {
                plan.rejected.push(Rejected { row, reason });
            }
        }
        plan
    }

    fn order(
        &mut self,
        row: &Row,
        sound: Sound,
        open: &mut HashMap<String, usize>,
        by_customer: &mut HashMap<String, Vec<usize>>,
    ) -> Result<(), &'static str> {
        let Sound { article, quantity } = sound;
        if quantity < 0 {
            return Err("a negative quantity on an invoice that is no cancellation");
        }
        let customer = customer(row);
        let cost = article.price * quantity;
        let full = |index: &usize| {
            let invoice = &self.invoices[*index];
            invoice.lines.len() < LINES_MAX && invoice.total() + cost <= AMOUNT_MAX
        };
        let index = open.get(row.invoice()).copied().filter(full).unwrap_or_else(|| {
            let index = self.invoices.len();
            let number = row.invoice().to_owned();
            let (lines, returns) = (Vec::new(), Vec::new());
            self.invoices.push(Invoice {
                place: index,
                number,
                customer: customer.clone(),
                lines,
                returns,
            });
            by_customer.entry(customer).or_default().push(index);
            open.insert(row.invoice().to_owned(), index);
            index
        });
        let product = self.products.entry(article.clone()).or_default();
        product.ordered += quantity;
        if product.name.is_empty() {
            product.name = row.description().to_owned();
        }
        self.invoices[index].lines.push((article, quantity));
        Ok(())
    }

    fn take_back(
        &mut self,
        row: &Row,
        sound: Sound,
        by_customer: &HashMap<String, Vec<usize>>,
    ) -> Result<(), &'static str> {
        let Sound { article, quantity } = sound;
        if quantity > 0 {
            return Err("a positive quantity on a cancellation");
        }
        let earlier = by_customer.get(&customer(row)).map_or(&[][..], Vec::as_slice);
        let latest = earlier
            .iter()
            .rev()
            .find(|index| self.invoices[**index].still_has(&article) >= -quantity);
        let index = *latest.ok_or("a cancellation that matches no earlier invoice of the customer")?;
        let product = self
            .products
            .get_mut(&article)
            .expect("what an invoice has is a product");
        product.returned -= quantity;
        self.invoices[index].returns.push(Return {
            line: row.line,
            article,
            quantity: -quantity,
        });
        Ok(())
    }

    /// Orders by customer, in the order of the file: what one customer does is played one after another.
    pub fn by_customer(&self) -> BTreeMap<&str, Vec<&Invoice>> {
        let mut customers: BTreeMap<&str, Vec<&Invoice>> = BTreeMap::new();
        for invoice in &self.invoices {
            customers.entry(&invoice.customer).or_default().push(invoice);
        }
        customers
    }
}

/// The SKU of an article in a run.
pub fn sku(stock_code: &str, price: i64, run: &str) -> String {
    format!("{stock_code}@{price}{run}")
}

/// The e-mail of a customer in a run.
pub fn email(customer: &str, run: &str) -> String {
    let name = match customer {
        GUEST => GUEST.to_owned(),
        customer => format!("customer-{customer}"),
    };
    format!("{name}{}@replay.example", run.to_lowercase())
}

fn customer(row: &Row) -> String {
    let customer = row.customer().trim_end_matches(".0");
    if customer.is_empty() {
        GUEST.to_owned()
    } else {
        customer.to_owned()
    }
}

fn sound(row: &Row, currency: Currency) -> Result<Sound, &'static str> {
    if row.invoice().is_empty() || row.stock_code().is_empty() {
        return Err("no invoice number or no stock code");
    }
    let quantity: i64 = row
        .quantity()
        .parse()
        .map_err(|_| "a quantity that is no whole number")?;
    if quantity == 0 || quantity.abs() > QUANTITY_MAX {
        return Err("a quantity of zero, or above a million");
    }
    if Sku::try_from(sku(row.stock_code(), AMOUNT_MAX, LONGEST_RUN)).is_err() {
        return Err("a stock code that is too long, or no text");
    }
    if !row.description().is_empty() && ProductName::try_from(row.description().to_owned()).is_err() {
        return Err("a description that is too long, or no text");
    }
    if Email::try_from(email(&customer(row), LONGEST_RUN)).is_err() {
        return Err("a customer's number that is none");
    }
    let price = Money::parse_major(row.unit_price(), currency).map_err(|_| "a price that is no amount of money")?;
    if price.amount() <= 0 {
        return Err("a price that is not above zero");
    }
    if price.checked_mul(quantity.abs()).is_err() {
        return Err("more money than there is");
    }
    Ok(Sound {
        article: Article {
            stock_code: row.stock_code().to_owned(),
            price: price.amount(),
        },
        quantity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rows: &[&str]) -> Plan {
        let header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";
        let file = rows.iter().fold(header.to_owned(), |file, row| {
            let fields: Vec<&str> = row.split(' ').collect();
            file + &format!(
                "{},{},THING,{},1/1/2011 9:00,{},{},UK\n",
                fields[0],
                fields[1],
                fields[2],
                fields[3],
                fields.get(4).unwrap_or(&"")
            )
        });
        Plan::new(crate::replay::read(file.as_bytes()).unwrap(), Currency::GBP)
    }

    fn reasons(plan: &Plan) -> Vec<(u64, &str)> {
        plan.rejected
            .iter()
            .map(|rejected| (rejected.row.line, rejected.reason))
            .collect()
    }

    #[test]
    fn an_article_at_two_prices_is_two_products() {
        let plan = plan(&["1 A 2 1.50 7", "1 A 3 1.25 7", "2 A 4 1.50"]);
        let stocked: Vec<(i64, i64)> = plan
            .products
            .iter()
            .map(|(article, it)| (article.price, it.ordered))
            .collect();
        assert_eq!(stocked, [(125, 3), (150, 6)]);
        assert_eq!(plan.invoices[0].total(), 675);
        assert_eq!(plan.invoices[1].customer, GUEST);
    }

    #[test]
    fn a_cancellation_goes_to_the_latest_earlier_invoice_that_still_has_the_pieces() {
        let plan = plan(&[
            "1 A 5 1.00 7",
            "2 A 3 1.00 7",
            "3 A 9 1.00 8",
            "C4 A -3 1.00 7",
            "C5 A -3 1.00 7",
            "C6 A -3 1.00 7",
        ]);
        assert_eq!(plan.invoices[1].refunded(), 300);
        assert_eq!(plan.invoices[0].refunded(), 300);
        assert_eq!(
            reasons(&plan),
            [(7, "a cancellation that matches no earlier invoice of the customer")]
        );
        assert_eq!(plan.products.values().next().unwrap().returned, 6);
    }

    #[test]
    fn a_cancellation_never_takes_more_than_a_later_invoice_brings() {
        let plan = plan(&["C1 A -1 1.00 7", "2 A 1 1.00 7", "C3 A -1 1.10 7"]);
        assert_eq!(plan.rejected.len(), 2);
        assert_eq!(plan.invoices[0].refunded(), 0);
    }

    #[test]
    fn what_cannot_be_played_is_kept_with_its_reason() {
        let plan = plan(&[
            "1 A -2 1.00 7",
            "1 A 2 0 7",
            "1 A 2 -5.00 7",
            "1 A x 1.00 7",
            "1 A 0 1.00 7",
            "1 A 1 1.005 7",
        ]);
        assert_eq!(plan.rejected.len(), 6, "{:?}", reasons(&plan));
        assert_eq!((plan.rows, plan.invoices.len()), (6, 0));
    }

    #[test]
    fn what_the_shop_would_refuse_is_not_tried() {
        let long = "X".repeat(200);
        let rows = [
            "1 A\tB 1 1.00 7".to_owned(),
            format!("2 {long} 1 1.00 7"),
            format!("3 A 1 1.00 {long}{long}"),
            "4 A 1 1.00 José<x@y>".to_owned(),
            "5 A 1000000 99999999999.99 7".to_owned(),
        ];
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let plan = plan(&rows);
        assert_eq!(plan.rejected.len(), rows.len(), "{:?}", reasons(&plan));
    }

    #[test]
    fn an_invoice_beyond_what_money_can_be_is_several_orders() {
        let rows: Vec<String> = (0..3).map(|_| "1 A 1000000 50000000.00 7".to_owned()).collect();
        let plan = plan(&rows.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(
            (plan.invoices.len(), plan.rejected.len()),
            (3, 0),
            "{:?}",
            reasons(&plan)
        );
    }
}
