//! Customers who go on whatever happens to the server, and remember what they were told.
#![expect(unreachable_pub, reason = "nobody depends on a test; `pub` marks what its files use")]
#![allow(dead_code, reason = "each that has customers uses another part of it")]

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _, Shared};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::support::{Actor, Answer, Call, Product, Server, id_of, within};

/// Customers, each with several things going on at once.
const CUSTOMERS: usize = 6;
const ERRANDS_AT_ONCE: usize = 3;
/// What the products have in stock; the last one is soon sold out.
const STOCKS: [u64; 4] = [1_000_000, 1_000_000, 1_000_000, 40];
/// So many requests with a key are repeated at the end, of all times.
const KEYS_REPEATED: usize = 100;
/// How long it may take until so much was done that it proves something: it depends on the machine, and on the database.
const ENOUGH_MAX: Duration = Duration::from_secs(120);
/// A pause before a request is repeated that had no answer.
const PAUSE: Duration = Duration::from_millis(20);
/// For so long after a jump of the clock an order may be unknown where it is still to be told of: its id looks old.
const CONFUSED: Duration = Duration::from_secs(30);

/// Chance, repeatable.
#[derive(Debug)]
pub struct Dice(StdRng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number in this range, ends included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..=most)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.between(1, 100) <= chance
    }

    pub fn one_of<'a, T>(&mut self, several: &'a [T]) -> &'a T {
        let last = u64::try_from(several.len() - 1).unwrap();
        &several[usize::try_from(self.between(0, last)).unwrap()]
    }
}

/// What the customers were told.
#[derive(Debug, Default)]
pub struct Told {
    /// SKUs and how many of each came.
    pub received: BTreeMap<String, u64>,
    /// The acknowledged orders as they were first answered, by the number of the request.
    pub orders: BTreeMap<String, Value>,
    /// Requests that had a key.
    keyed: Vec<Keyed>,
    /// Acknowledged payments, and cancelled orders.
    pub payments: BTreeSet<String>,
    pub cancelled: BTreeSet<String>,
    /// Orders that were sent off, and refunds.
    pub fulfilled: BTreeSet<String>,
    pub refunds: BTreeSet<String>,
    /// Requests that were sent again since they had no answer.
    pub repeated: usize,
    /// Answers that the shop cannot do it just now (503).
    pub refused: usize,
}

/// A request that had a key, and its answer.
#[derive(Debug)]
struct Keyed {
    customer: Actor,
    path: String,
    key: String,
    body: Value,
    answer: (u16, Value),
}

impl Told {
    /// Otherwise the test proves nothing.
    fn has_enough(&self) -> bool {
        let handled = self.fulfilled.len() > 5 && self.refunds.len() > 5;
        let had_trouble = self.repeated + self.refused > 0;
        self.orders.len() > 50 && self.payments.len() > 10 && self.cancelled.len() > 5 && handled && had_trouble
    }

    /// P11: The same request under the same key has the same answer, after all those restarts.
    pub async fn assert_keys_answer_as_they_did(&self, nobody: &Actor) {
        let mut signed_in = BTreeMap::new();
        for keyed in self.keyed.iter().step_by(1 + self.keyed.len() / KEYS_REPEATED) {
            let customer = match signed_in.entry(&keyed.customer.id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let Actor { email, password, .. } = &keyed.customer;
                    new.insert(nobody.signed_in(email, password).await)
                }
            };
            let again = customer.post(&keyed.path, keyed.body.clone()).key(&keyed.key).await;
            assert_eq!(shown(&again), keyed.answer, "{} {}", keyed.path, keyed.key);
        }
    }
}

/// What an answer says, but for the request that it is to.
fn shown(answer: &Answer) -> (u16, Value) {
    let mut json = answer.json.clone();
    if let Some(problem) = json.as_object_mut() {
        problem.remove("instance");
    }
    (answer.status, json)
}

/// What a task has panicked about.
pub fn said(ended: JoinError) -> String {
    let Ok(panic) = ended.try_into_panic() else {
        return "it was aborted".to_owned();
    };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

/// The customers at work.
#[derive(Debug)]
pub struct Load {
    shop: Shop,
    working: Working,
}

/// Ends with the customers: when the shop is closed, or at once with what the first of them panicked about.
pub type Working = Shared<BoxFuture<'static, Result<(), String>>>;

/// What all of them know.
#[derive(Clone, Debug)]
struct Shop {
    url: Arc<RwLock<String>>,
    closed: Arc<AtomicBool>,
    clock_jumped: Arc<RwLock<Option<Instant>>>,
    told: Arc<Mutex<Told>>,
    products: Arc<[Product]>,
}

impl Shop {
    fn is_confused(&self) -> bool {
        let jumped = *self.clock_jumped.read().unwrap();
        jumped.is_some_and(|jumped| jumped.elapsed() < CONFUSED)
    }
}

impl Load {
    /// Where somebody without a token is, with the admin there for staff.
    pub async fn start(nobody: &Actor, admin: Actor, dice: &mut Dice) -> Self {
        let products = futures::stream::iter(STOCKS)
            .then(|stock| admin.product(stock))
            .collect::<Vec<_>>()
            .await;
        let received = products
            .iter()
            .zip(STOCKS)
            .map(|(product, stock)| (product.sku.clone(), stock))
            .collect();
        let shop = Shop {
            url: Arc::new(RwLock::new(nobody.base.clone())),
            closed: Arc::default(),
            clock_jumped: Arc::default(),
            told: Arc::new(Mutex::new(Told {
                received,
                ..Told::default()
            })),
            products: products.into(),
        };
        let staff = Arc::new(Person {
            actor: Mutex::new(admin),
            shop: shop.clone(),
        });
        let mut working = JoinSet::new();
        for _ in 0..CUSTOMERS {
            let actor = nobody.sign_up().await;
            for _ in 0..ERRANDS_AT_ONCE {
                let customer = Person {
                    actor: Mutex::new(actor.clone()),
                    shop: shop.clone(),
                };
                let dice = Dice::new(dice.between(0, u64::MAX));
                working.spawn(customer.run_errands(Arc::clone(&staff), dice));
            }
        }
        let working = async move {
            while let Some(ended) = working.join_next().await {
                ended.map_err(said)?;
            }
            Ok(())
        };
        Self {
            shop,
            working: working.boxed().shared(),
        }
    }

    /// The customers at work, to be watched.
    pub fn working(&self) -> Working {
        self.working.clone()
    }

    /// From now on an order may be unknown for a while to who has not been told of it.
    pub fn clock_has_jumped(&self) {
        *self.shop.clock_jumped.write().unwrap() = Some(Instant::now());
    }

    /// The server was started again, and has another port.
    pub fn goes_on_at(&self, server: &Server) {
        server.url().clone_into(&mut self.shop.url.write().unwrap());
    }

    /// The SKU of which there is much.
    pub fn sku(&self) -> &str {
        &self.shop.products[0].sku
    }

    /// How many orders were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.shop.told.lock().unwrap().orders.len()
    }

    /// How often they were refused so far.
    pub fn refused(&self) -> usize {
        self.shop.told.lock().unwrap().refused
    }

    /// What was begun is finished, once there was enough of it. What they were told.
    pub async fn end(self) -> Told {
        let enough = async || self.shop.told.lock().unwrap().has_enough().then_some(());
        tokio::select! {
            () = within(ENOUGH_MAX, "the load is one", enough) => {}
            ended = self.working() => panic!("a customer has left: {ended:?}"),
        }
        self.shop.closed.store(true, Ordering::Relaxed);
        self.working.await.unwrap();
        std::mem::take(&mut *self.shop.told.lock().unwrap())
    }
}

/// A customer, or the one admin who is all the staff.
#[derive(Debug)]
struct Person {
    /// As last signed in.
    actor: Mutex<Actor>,
    shop: Shop,
}

impl Person {
    async fn run_errands(self, staff: Arc<Self>, mut dice: Dice) {
        while !self.shop.closed.load(Ordering::Relaxed) {
            let Some(order) = self.place(&mut dice).await else {
                continue;
            };
            let pays = dice.percent(60);
            let cancels = dice.percent(25);
            let method = if dice.percent(15) {
                "pm_card_chargeDeclined"
            } else {
                "pm_card_visa"
            };
            let with_key = dice.percent(70);
            // Both at once now and then: whoever comes first, it must end well.
            let paying = async {
                if pays {
                    self.pay(&order, method, with_key).await
                } else {
                    None
                }
            };
            let cancelling = async {
                if cancels {
                    self.cancel(&order).await;
                }
            };
            let (payment, ()) = futures::join!(paying, cancelling);
            if let Some(payment) = payment.filter(|_| dice.percent(30)) {
                staff.handle(&order, &payment, &mut dice).await;
            }
        }
    }

    /// Sends an order off once it is paid, or gives money back for it, or both at once.
    async fn handle(&self, order: &str, payment: &str, dice: &mut Dice) {
        let path = format!("/api/orders/{order}");
        loop {
            let seen = self.insist(|actor| actor.get(&path)).await.expect(200);
            match seen.text_at("status").as_str() {
                "paid" => break,
                "pending" | "confirmed" if !self.shop.closed.load(Ordering::Relaxed) => tokio::time::sleep(PAUSE).await,
                // It may also have been cancelled, and is then left alone.
                _ => return,
            }
        }
        let (fulfils, refunds, whole) = (dice.percent(60), dice.percent(60), dice.percent(50));
        let fulfilling = async {
            if fulfils {
                self.fulfil(order, &path).await;
            }
        };
        let refunding = async {
            if refunds {
                self.refund(payment, whole).await;
            }
        };
        futures::join!(fulfilling, refunding);
    }

    async fn fulfil(&self, order: &str, path: &str) {
        let (body, key) = (json!({"status": "fulfilled"}), format!("fulfil-{order}"));
        let fulfil = |actor: &Actor| actor.patch(path, body.clone()).key(&key);
        let answer = self.insist(fulfil).await;
        match (answer.status, answer.json["code"].as_str().unwrap_or_default()) {
            (200, _) => {
                self.told(|told| told.fulfilled.insert(order.to_owned()));
            }
            // All its money was given back meanwhile.
            (409, "illegal-transition") => {}
            _ => panic!("{answer}"),
        }
    }

    async fn refund(&self, payment: &str, whole: bool) {
        let path = format!("/api/payments/{payment}/refunds");
        let body = match whole {
            true => json!({}),
            false => json!({"amount": {"amount": 1, "currency": "USD"}}),
        };
        let key = format!("refund-{payment}");
        let refund = |actor: &Actor| actor.post(&path, body.clone()).key(&key);
        let answer = self.insist(refund).await.expect(201);
        self.told(|told| told.refunds.insert(id_of(&answer.json)));
        self.keeps(&path, &key, body, &answer);
    }

    /// Places an order. With a key it is asked for until there is an answer; without, just once.
    async fn place(&self, dice: &mut Dice) -> Option<String> {
        let request = crate::support::unique("request");
        let count = dice.between(1, 3);
        let lines = (0..count).map(|_| {
            let product = dice.one_of(&self.shop.products);
            json!({"sku": product.sku, "quantity": dice.between(1, 3)})
        });
        let body = json!({"lines": lines.collect::<Vec<_>>(), "metadata": {"request": request}});
        let answer = if dice.percent(60) {
            let place = |actor: &Actor| actor.post("/api/orders", body.clone()).key(&request);
            let answer = self.insist(place).await.expect(201);
            self.keeps("/api/orders", &request, body.clone(), &answer);
            answer
        } else {
            let answered = self.here().post("/api/orders", body).attempt().await;
            match answered {
                Some(answer) if answer.status == 401 => {
                    self.sign_in_again().await;
                    return None;
                }
                Some(answer) if answer.status != 503 => answer.expect(201),
                refused => {
                    self.told(|told| told.refused += usize::from(refused.is_some()));
                    tokio::time::sleep(PAUSE).await;
                    return None;
                }
            }
        };
        let order = id_of(&answer.json);
        self.told(|told| told.orders.insert(request, answer.json));
        Some(order)
    }

    /// Pays, and gives the payment's id. Without a key it is repeated too: the shop knows that an order is paid once.
    async fn pay(&self, order: &str, method: &str, with_key: bool) -> Option<String> {
        let body = json!({"order_id": order, "payment_method": method});
        let key = format!("pay-{order}");
        let answer = self
            .insist(|actor| {
                let call = actor.post("/api/payments", body.clone());
                if with_key { call.key(&key) } else { call }
            })
            .await;
        if with_key && matches!(answer.status, 201 | 402) {
            self.keeps("/api/payments", &key, body, &answer);
        }
        match (answer.status, answer.json["code"].as_str().unwrap_or_default()) {
            (201, _) => {
                let payment = id_of(&answer.json);
                self.told(|told| told.payments.insert(payment.clone()));
                Some(payment)
            }
            (402, "card-declined") | (409, "already-paid" | "payment-open" | "not-payable") => None,
            _ => panic!("{answer}"),
        }
    }

    async fn cancel(&self, order: &str) {
        let path = format!("/api/orders/{order}/cancel");
        let answer = self.insist(|actor| actor.post(&path, json!({}))).await;
        match (answer.status, answer.json["code"].as_str().unwrap_or_default()) {
            (200, _) => {
                self.told(|told| told.cancelled.insert(order.to_owned()));
            }
            // Sold out: it is over anyway.
            (409, "not-cancellable") => {}
            _ => panic!("{answer}"),
        }
    }

    /// Asks until there is an answer that is one.
    async fn insist(&self, call: impl Fn(&Actor) -> Call) -> Answer {
        loop {
            let answered = call(&self.here()).attempt().await;
            match answered {
                Some(answer) if answer.status == 401 => self.sign_in_again().await,
                // Only acknowledged orders are asked about.
                Some(answer) if answer.status == 404 && self.shop.is_confused() => {}
                Some(answer) if answer.status != 503 && answer.json["code"] != "in-progress" => return answer,
                Some(answer) => self.told(|told| told.refused += usize::from(answer.status == 503)),
                None => self.told(|told| told.repeated += 1),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn keeps(&self, path: &str, key: &str, body: Value, answer: &Answer) {
        let keyed = Keyed {
            customer: self.here(),
            path: path.to_owned(),
            key: key.to_owned(),
            body,
            answer: shown(answer),
        };
        self.told(|told| told.keyed.push(keyed));
    }

    /// The clock has jumped, and tokens are of another time.
    async fn sign_in_again(&self) {
        let here = self.here();
        let body = json!({"email": here.email, "password": here.password});
        // With a token that is not valid nobody is let in at all.
        let nobody = Actor { token: None, ..here };
        let answered = nobody.post("/api/login", body).attempt().await;
        match answered {
            Some(answer) if answer.status != 503 => {
                let token = answer.expect(200).text_at("token");
                self.actor.lock().unwrap().token = Some(token);
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }

    /// At the server as it listens now.
    fn here(&self) -> Actor {
        Actor {
            base: self.shop.url.read().unwrap().clone(),
            ..self.actor.lock().unwrap().clone()
        }
    }

    fn told<R>(&self, change: impl FnOnce(&mut Told) -> R) -> R {
        change(&mut self.shop.told.lock().unwrap())
    }
}
