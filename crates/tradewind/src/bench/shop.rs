//! What a measured shop is filled with, and the requests that are made of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::body::Bytes;
use contracts::log::Journal;
use contracts::notification::Notification;
use contracts::order::Order;
use contracts::product::Product;
use contracts::user::Tokens;
use contracts::{OrderId, Page, ProductId, Service};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bench::load::{Shots, answer};
use crate::bench::server::{ADMIN, BARE, BYTES, PASSWORD};
use crate::client::Client;
use crate::stopwatch::now;

/// Products that orders are spread over.
const PRODUCTS: usize = 20;
/// Customers who order.
const CUSTOMERS: usize = 16;
/// Signed up at once.
const AT_ONCE: usize = 4;
/// More than a bench sells.
const STOCK: u64 = 100_000_000;
/// How long it may take until a new product can be ordered.
const KNOWN_MAX: Duration = Duration::from_secs(30);
/// How often a shop is asked that has something to wait for.
const POLL: Duration = Duration::from_millis(50);
/// Orders of a page.
const PAGE: usize = 50;

/// A shop, ready to be asked.
#[derive(Debug)]
pub struct Shop {
    admin: Client,
    admin_token: HeaderValue,
    /// Of the products that there is plenty of.
    skus: Vec<String>,
    product: ProductId,
    /// Of one that there is none of.
    sold_out: String,
    emails: Vec<String>,
    customers: Vec<Client>,
    tokens: Vec<HeaderValue>,
}

/// How far events have come, as the gateway says.
#[derive(Debug, Deserialize)]
struct Journals {
    data: Vec<Journal>,
    missing: Vec<Service>,
}

/// What an order is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basket {
    /// One of the products, in turn.
    One,
    /// The same product, every time.
    Hot,
    /// All of the products.
    Wide,
    /// What is not to be had.
    SoldOut,
}

impl Shop {
    /// Adds products and customers of its own to whatever is there. `run` tells them from those of others.
    pub async fn open(url: &str, run: &str) -> Result<Self> {
        let anonymous = Client::new(url)?;
        let tokens = anonymous.tokens(ADMIN, PASSWORD).await?;
        let admin = anonymous.with_token(tokens.token.as_str());
        let mut skus = Vec::new();
        let mut first = None;
        for number in 0..=PRODUCTS {
            let sku = format!("{run}-{number}");
            let stock = if number == PRODUCTS { 0 } else { STOCK };
            let product = json!({"sku": sku, "name": format!("Bench {number}"), "initial_stock": stock,
                "price": {"amount": 1000, "currency": "EUR"}});
            let product: Product = admin.post("/api/products", &product, None).await?;
            first.get_or_insert(product.id);
            skus.push(sku);
        }
        let sold_out = skus.pop().context("the last one is sold out")?;
        let signed_up = stream::iter(0..CUSTOMERS).map(|number| {
            let anonymous = anonymous.clone();
            async move {
                let email = format!("{}-{number}@bench.example", run.to_lowercase());
                let _: Value = anonymous
                    .post("/api/users", &json!({"email": email, "password": PASSWORD}), None)
                    .await?;
                let tokens = anonymous.tokens(&email, PASSWORD).await?;
                anyhow::Ok((email, anonymous.with_token(tokens.token.as_str()), bearer(&tokens)?))
            }
        });
        let mut shop = Self {
            admin,
            admin_token: bearer(&tokens)?,
            skus,
            product: first.context("there are products")?,
            sold_out,
            emails: Vec::new(),
            customers: Vec::new(),
            tokens: Vec::new(),
        };
        for (email, customer, token) in signed_up.buffered(AT_ONCE).try_collect::<Vec<_>>().await? {
            shop.emails.push(email);
            shop.customers.push(customer);
            shop.tokens.push(token);
        }
        Ok(shop)
    }

    /// Whether messages to customers wait to be sent.
    pub async fn is_writing(&self) -> Result<bool> {
        let queued: Page<Notification> = self.admin.get("/api/notifications?status=queued&limit=1").await?;
        Ok(!queued.data.is_empty())
    }

    /// Waits until orders of each product are taken: those who take them hear of products a little later.
    pub async fn until_known(&self, address: SocketAddr) -> Result<()> {
        let place = self.place(Basket::One);
        let began = now();
        for number in (0..).take(self.skus.len()) {
            while let Err(error) = answer(address, place(number)).await {
                ensure!(began.elapsed() < KNOWN_MAX, "no order is taken: {error}");
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Waits until every consumer has all that was journaled for it, whichever processes they are in, and every customer was
    /// told.
    pub async fn until_caught_up(&self, at_most: Duration) -> Result<()> {
        let began = now();
        loop {
            let Journals { data, missing } = self.admin.get("/api/journals").await?;
            let heads: BTreeMap<Service, &Vec<u64>> = data.iter().map(|it| (it.service, &it.lanes)).collect();
            let mut consumers = data.iter().flat_map(|journal| &journal.consumers);
            let is_seen = missing.is_empty() && consumers.all(|it| heads.get(&it.source) == Some(&&it.lanes));
            if is_seen && !self.is_writing().await? {
                return Ok(());
            }
            ensure!(
                began.elapsed() < at_most,
                "consumers do not catch up: {data:?}, without {missing:?}"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    fn order(&self, basket: Basket, number: usize) -> Bytes {
        let line = |sku: &String| json!({"sku": sku, "quantity": 1});
        let lines = match basket {
            Basket::One => vec![line(&self.skus[number])],
            Basket::Hot => vec![line(&self.skus[0])],
            Basket::Wide => self.skus.iter().map(line).collect(),
            Basket::SoldOut => vec![line(&self.sold_out)],
        };
        json!({ "lines": lines }).to_string().into()
    }

    /// Orders, placed by all customers in turn.
    pub fn place(&self, basket: Basket) -> Shots {
        self.post("/api/orders", basket)
    }

    /// The same orders, to the route that stores nothing.
    pub fn bare(&self) -> Shots {
        self.post(BARE, Basket::One)
    }

    fn post(&self, path: &'static str, basket: Basket) -> Shots {
        let bodies: Vec<Bytes> = (0..PRODUCTS).map(|number| self.order(basket, number)).collect();
        let tokens = self.tokens.clone();
        Arc::new(move |number| {
            let (body, token) = (pick(&bodies, number), pick(&tokens, number));
            request(Method::POST, path, Some(token), body.clone())
        })
    }

    /// The product, which everybody looks at.
    pub fn look_at_product(&self) -> Shots {
        self.read(vec![(format!("/api/products/{}", self.product), &self.tokens[0])])
    }

    /// The orders that the customers have, each by its owner.
    pub async fn look_at_orders(&self) -> Result<Shots> {
        let mut paths = Vec::new();
        for (customer, client) in self.customers.iter().enumerate() {
            let ids = self.orders(client).await?;
            let token = &self.tokens[customer];
            paths.extend(ids.into_iter().map(|id| (format!("/api/orders/{id}"), token)));
        }
        ensure!(!paths.is_empty(), "nobody has ordered yet");
        Ok(self.read(paths))
    }

    /// Orders of anybody, by the admin.
    pub fn look_at_orders_of_others(&self, ids: &[String]) -> Shots {
        let paths = ids.iter().map(|id| (format!("/api/orders/{id}"), &self.admin_token));
        self.read(paths.collect())
    }

    async fn orders(&self, customer: &Client) -> Result<Vec<OrderId>> {
        let page: Page<Order> = customer.get(&format!("/api/orders?limit={PAGE}")).await?;
        Ok(page.data.iter().map(|order| order.id).collect())
    }

    /// The customers' latest orders, a page of them.
    pub fn list_orders(&self) -> Shots {
        let lists = self
            .tokens
            .iter()
            .map(|token| (format!("/api/orders?limit={PAGE}"), token));
        self.read(lists.collect())
    }

    /// Answers of this size that cost nothing to make.
    pub fn read_bytes(&self, bytes: usize) -> Shots {
        self.read(vec![(format!("{BYTES}?bytes={bytes}"), &self.tokens[0])])
    }

    fn read(&self, paths: Vec<(String, &HeaderValue)>) -> Shots {
        let paths: Vec<(String, HeaderValue)> = paths.into_iter().map(|(path, token)| (path, token.clone())).collect();
        Arc::new(move |number| {
            let (path, token) = pick(&paths, number);
            request(Method::GET, path, Some(token), Bytes::new())
        })
    }

    /// Logins of all customers in turn.
    pub fn log_in(&self) -> Shots {
        let bodies: Vec<Bytes> = self
            .emails
            .iter()
            .map(|email| json!({"email": email, "password": PASSWORD}).to_string().into())
            .collect();
        Arc::new(move |number| request(Method::POST, "/api/login", None, pick(&bodies, number).clone()))
    }
}

fn bearer(tokens: &Tokens) -> Result<HeaderValue> {
    Ok(HeaderValue::try_from(format!("Bearer {}", tokens.token.as_str()))?)
}

fn pick<T>(items: &[T], number: u64) -> &T {
    let index = number % (items.len() as u64);
    &items[usize::try_from(index).expect("it is less than their number")]
}

fn request(method: Method, path: &str, token: Option<&HeaderValue>, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("the bench makes paths itself");
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("bench"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, token.clone());
    }
    request
}

/// What tells the products and customers of one shop from those of another in the same data.
pub fn unique() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("B{:08X}", RandomState::new().hash_one(0) >> 32)
}
