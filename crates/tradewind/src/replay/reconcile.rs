//! Compares what the server has with what the file says: every SKU's stock, every order's money.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use contracts::order::{Order, OrderStatus};
use contracts::payment::{Payment, PaymentStatus};
use contracts::stock::Stock;
use contracts::{OrderId, Page};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use indicatif::ProgressBar;

use crate::replay::plan::{Article, Invoice, Product};
use crate::replay::play::percent_encoded;
use crate::replay::{Plan, Player};

/// Reads under way at once.
const READS_AT_ONCE: usize = 16;
/// How often a stock is looked at again that differs: a sale is booked a moment after its order is paid.
const LOOKS_MAX: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// What was compared, and what differs.
#[derive(Debug, Default)]
pub struct Reconciliation {
    /// SKUs compared.
    pub skus: usize,
    /// Orders compared.
    pub orders: usize,
    /// Orders by their final status.
    pub statuses: BTreeMap<&'static str, usize>,
    /// What was captured, in minor units.
    pub captured: i64,
    /// What was given back, in minor units.
    pub refunded: i64,
    /// A sentence for each difference.
    pub differences: Vec<String>,
}

/// Compares everything.
pub async fn reconcile(player: &Player, plan: &Plan, orders: &[OrderId], bar: &ProgressBar) -> Result<Reconciliation> {
    let mut result = Reconciliation {
        skus: plan.products.len(),
        orders: plan.invoices.len(),
        ..Default::default()
    };
    let stocks = stream::iter(&plan.products).map(|(article, product)| async move {
        let compared = compare_stock(player, article, product).await;
        bar.inc(1);
        compared
    });
    let stocks: Vec<Option<String>> = stocks.buffer_unordered(READS_AT_ONCE).try_collect().await?;
    result.differences.extend(stocks.into_iter().flatten());
    let money = stream::iter(plan.invoices.iter().zip(orders)).map(|(invoice, order)| async move {
        let compared = compare_money(player, invoice, *order).await;
        bar.inc(1);
        compared
    });
    let money: Vec<Settled> = money.buffer_unordered(READS_AT_ONCE).try_collect().await?;
    for settled in money {
        *result.statuses.entry(settled.status.as_str()).or_default() += 1;
        result.captured += settled.captured;
        result.refunded += settled.refunded;
        result.differences.extend(settled.difference);
    }
    Ok(result)
}

async fn compare_stock(player: &Player, article: &Article, product: &Product) -> Result<Option<String>> {
    let sku = player.sku(article);
    let path = format!("/api/inventory/{}", percent_encoded(&sku));
    // Everything ordered was stocked, and sold; what came back lies there again.
    let expected = u64::try_from(product.returned)?;
    let mut looks = 0;
    loop {
        let stock: Stock = player.admin().get(&path).await?;
        if (stock.on_hand, stock.reserved, stock.available) == (expected, 0, expected) {
            return Ok(None);
        }
        looks += 1;
        if looks == LOOKS_MAX {
            return Ok(Some(format!(
                "{sku}: {expected} should be on hand and available, none reserved; there are {} on hand, {} reserved, {} \
                 available",
                stock.on_hand, stock.reserved, stock.available
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Settled {
    status: OrderStatus,
    captured: i64,
    refunded: i64,
    difference: Option<String>,
}

async fn compare_money(player: &Player, invoice: &Invoice, order: OrderId) -> Result<Settled> {
    let order: Order = player.admin().get(&format!("/api/orders/{order}")).await?;
    let payments: Page<Payment> = player
        .admin()
        .get(&format!("/api/payments?order_id={}", order.id))
        .await?;
    let took_money = |payment: &&Payment| {
        use PaymentStatus::{Captured, PartiallyRefunded, Refunded};
        matches!(payment.status, Captured | PartiallyRefunded | Refunded)
    };
    let captured: i64 = payments
        .data
        .iter()
        .filter(took_money)
        .map(|payment| payment.amount.amount())
        .sum();
    let refunded: i64 = payments.data.iter().map(|payment| payment.refunded.amount()).sum();
    let status = match (invoice.returns.is_empty(), invoice.refunded() == invoice.total()) {
        (true, _) => OrderStatus::Paid,
        (false, false) => OrderStatus::Fulfilled,
        (false, true) => OrderStatus::Refunded,
    };
    let expected = (invoice.total(), invoice.total(), invoice.refunded(), status);
    let found = (order.total.amount(), captured, refunded, order.status);
    let difference = (expected != found).then(|| {
        format!(
            "invoice {} ({}): total, captured, refunded and status should be {expected:?} and are {found:?}",
            invoice.number, order.id
        )
    });
    Ok(Settled {
        status: order.status,
        captured,
        refunded,
        difference,
    })
}
