//! Customers and an admin, who go on whatever happens, and remember what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Answer, Request, World};

mod admin;
mod payer;
mod person;

use person::Person;

/// The beginning of the word that a customer has in everything they write about themselves.
pub(crate) const PERSONAL: &str = "quagmire";
const PASSWORD: &str = "correct horse battery staple";
const ADMIN: &str = "admin@example.com";
const STRANGER: &str = "stranger@example.com";
/// What the products cost, in cents, and have in stock at first.
const PRODUCTS: [(u64, u64); 4] = [(1250, 1000), (199, 30), (10_000, 6), (5, 3)];
/// How long people think before they do something.
const THOUGHT: Duration = Duration::from_secs(4);

/// What people were told, and did.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// SKUs, and how many of each came, less those that went otherwise than by a sale.
    pub(crate) received: BTreeMap<String, u64>,
    /// Ids of products by their SKUs.
    pub(crate) products: BTreeMap<String, String>,
    /// What each SKU was meant to cost at any time, in cents.
    pub(crate) prices: BTreeMap<String, BTreeSet<u64>>,
    /// Orders as they were first answered, by the text of the request that is theirs.
    pub(crate) orders: BTreeMap<String, Value>,
    /// Requests with a key of which the answer is recorded, and the first answer.
    pub(crate) keyed: Vec<(Person, Request, Answer)>,
    /// Users who are gone, by their ids: the word of each.
    pub(crate) erased: BTreeMap<String, String>,
    /// How often each answer came: `POST /api/orders 201`.
    pub(crate) answers: BTreeMap<String, u64>,
}

/// Everybody.
#[derive(Clone, Debug)]
pub(crate) struct People {
    world: World,
    told: Arc<Mutex<Told>>,
    admin: Person,
    /// Somebody with an account, and without an order.
    stranger: Person,
    skus: Arc<[String]>,
}

impl People {
    /// An admin, a stranger, and a catalogue.
    pub(crate) async fn arrive(world: &World) -> Self {
        let told = Arc::default();
        world.make_admin(ADMIN, PASSWORD).await;
        let admin = Person::new(world, &told, ADMIN.to_owned(), String::new());
        let stranger = Person::new(world, &told, STRANGER.to_owned(), String::new());
        let body = json!({"email": STRANGER, "password": PASSWORD, "name": "A stranger"});
        stranger.insist_as("POST", "/api/users", Some(body), None, false).await;
        let people = Self {
            world: world.clone(),
            told,
            admin,
            stranger,
            skus: (0..PRODUCTS.len()).map(|number| format!("SKU-{number}")).collect(),
        };
        for (sku, (price, stock)) in people.skus.iter().zip(PRODUCTS) {
            let body = json!({"sku": sku, "name": "A thing", "price": {"amount": price, "currency": "EUR"},
                "initial_stock": stock});
            let made = people
                .admin
                .insist("POST", "/api/products", Some(body), Some(sku))
                .await;
            let id = made.json["id"].as_str().unwrap_or_default().to_owned();
            let mut told = locked(&people.told);
            told.received.insert(sku.clone(), stock);
            told.products.insert(sku.clone(), id);
            told.prices.insert(sku.clone(), BTreeSet::from([price]));
        }
        people
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        locked(&self.told)
    }

    /// Everybody does what there is to do.
    pub(crate) async fn go_about(&self) {
        let dice = self.world.dice();
        let customers = dice.between(2, 4);
        let errands = (0..customers).map(|number| self.clone().be_a_customer(number));
        let errands: Vec<_> = errands.map(tokio::spawn).collect();
        let keeping = tokio::spawn(self.clone().keep_shop());
        let all_done = async {
            for errand in errands {
                errand.await.expect("nobody panics");
            }
            keeping.await.expect("nobody panics");
        };
        tokio::select! {
            biased;
            () = all_done => {}
            () = self.mind_dead_letters() => {}
        }
    }

    async fn be_a_customer(self, number: u64) {
        let dice = self.world.dice();
        let word = format!("{PERSONAL}{number}");
        let email = format!("{word}@example.com");
        let body = json!({"email": email, "password": PASSWORD, "name": format!("Dr. {word}"),
            "phone": "+31 6 1234567"});
        let nobody = Person::new(&self.world, &self.told, email.clone(), String::new());
        let signed_up = nobody
            .insist_as("POST", "/api/users", Some(body), Some(&email), false)
            .await;
        assert_eq!(signed_up.status, 201, "{signed_up:?}");
        let id = signed_up.json["id"].as_str().unwrap_or_default().to_owned();
        let customer = Person::new(&self.world, &self.told, email, id);
        let errands = dice.between(1, 4);
        let mut under_way = Vec::new();
        for errand in 0..errands {
            self.world.clock().sleep(dice.up_to(THOUGHT)).await;
            let doing = self.clone().shop(customer.clone(), number, errand);
            under_way.push(tokio::spawn(doing));
            if dice.percent(50) {
                for doing in under_way.drain(..) {
                    doing.await.expect("nobody panics");
                }
            }
        }
        let leaves = dice.percent(20);
        // Now and then while an errand is still under way.
        if dice.percent(70) || !leaves {
            for doing in under_way.drain(..) {
                doing.await.expect("nobody panics");
            }
        }
        if leaves {
            self.world.clock().sleep(dice.up_to(THOUGHT)).await;
            customer.leave(&word).await;
        }
        for doing in under_way {
            doing.await.expect("nobody panics");
        }
    }

    /// Places an order, and then pays, cancels, does both at once, or nothing.
    async fn shop(self, customer: Person, number: u64, errand: u64) {
        let dice = self.world.dice();
        let request = format!("{number}-{errand}");
        let word = format!("{PERSONAL}{number}");
        // [P11] Others use the same keys.
        let key = |what: &str| format!("{what}-{errand}");
        let lines = (0..dice.between(1, 3)).map(|_| self.line());
        let body = json!({
            "lines": lines.collect::<Vec<_>>(),
            "metadata": {"request": request},
            "shipping_address": {"line1": format!("{word} street {request}"), "city": word, "country": "NL"},
        });
        let placed = customer.insist_perhaps_twice("/api/orders", body, &key("place")).await;
        match (placed.status, placed.code()) {
            (201, _) => {}
            // Gone meanwhile; the catalogue has not come round; or it costs something else than was shown.
            (401, _) | (422, "unknown-product" | "unknown-reference") | (409, "price-changed") => return,
            _ => panic!("an order was answered with {placed:?}"),
        }
        let order = placed.json["id"].as_str().unwrap_or_default().to_owned();
        locked(&self.told).orders.insert(request.clone(), placed.json);
        self.meddle(&order).await;
        let (pays, cancels) = (dice.percent(65), dice.percent(20));
        let paying = async {
            if pays {
                self.world.clock().sleep(dice.up_to(THOUGHT)).await;
                Box::pin(self.pay(&customer, &order, &errand.to_string())).await;
            }
        };
        let cancelling = async {
            if cancels {
                self.world.clock().sleep(dice.up_to(THOUGHT)).await;
                let path = format!("/api/orders/{order}/cancel");
                let reason = json!({"reason": format!("a {word} reason")});
                let cancelled = customer.insist("POST", &path, Some(reason), Some(&key("cancel"))).await;
                let fits = matches!(
                    (cancelled.status, cancelled.code()),
                    (200 | 401, _) | (409, "not-cancellable")
                );
                assert!(fits, "a cancellation was answered with {cancelled:?}");
            }
        };
        futures::join!(paying, cancelling);
        // Reads see what was acknowledged.
        let read = customer
            .insist("GET", &format!("/api/orders/{order}"), None, None)
            .await;
        assert!(
            matches!(read.status, 200 | 401),
            "an acknowledged order was answered with {read:?}"
        );
    }

    /// Some pieces of a product, now and then at the price that was shown at some time.
    fn line(&self) -> Value {
        let dice = self.world.dice();
        let sku = dice.pick(&self.skus);
        let mut line = json!({"sku": sku, "quantity": dice.between(1, 3)});
        if dice.percent(20) {
            let prices: Vec<u64> = self.told().prices[sku].iter().copied().collect();
            line["expected_unit_price"] = json!({"amount": dice.pick(&prices), "currency": "EUR"});
        }
        line
    }

    /// [P12] To anybody else an order is not there, to be read or to be changed.
    async fn meddle(&self, order: &str) {
        let path = format!("/api/orders/{order}");
        let read = self.stranger.insist("GET", &path, None, None).await;
        let (path, body) = (format!("{path}/cancel"), json!({"reason": "spite"}));
        let cancelled = self.stranger.insist("POST", &path, Some(body), None).await;
        assert_eq!(
            (read.status, cancelled.status),
            (404, 404),
            "somebody else's order was answered with {read:?} and {cancelled:?}"
        );
        let listed = self.stranger.insist("GET", "/api/orders?limit=200", None, None).await;
        assert_eq!(listed.json["data"], json!([]), "somebody else's orders are listed");
    }

    /// [P11] The same request under the same key has the same answer, after all that has happened.
    pub(crate) async fn repeat_everything(&self) {
        let keyed = std::mem::take(&mut self.told().keyed);
        let erased = self.told().erased.clone();
        for (person, request, first) in keyed {
            // What shows somebody who is gone is forgotten with them.
            if erased
                .keys()
                .any(|id| person.id == *id || first.text.contains(id.as_str()))
            {
                continue;
            }
            let key = request.key.as_deref();
            let again = person
                .insist_as(
                    request.method,
                    &request.path,
                    request.body.clone(),
                    key,
                    request.token.is_some(),
                )
                .await;
            assert_eq!(
                again.to_all(),
                first.to_all(),
                "{} {} under {key:?}, the second time",
                request.method,
                request.path
            );
        }
        // They know the people, who know what all were told.
        self.told().keyed.clear();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
