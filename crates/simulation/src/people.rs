//! Customers and an admin, who go on whatever happens, and remember what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contracts::Service;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::world::{Answer, Request, World};

/// A word in everything that people write about themselves.
pub(crate) const PERSONAL: &str = "quagmire";
const PASSWORD: &str = "correct horse battery staple";
const ADMIN: &str = "admin@example.com";
const STRANGER: &str = "stranger@example.com";
/// What the products cost, in cents, and have in stock at first.
const PRODUCTS: [(u64, u64); 4] = [(1250, 1000), (199, 30), (10_000, 6), (5, 3)];
/// A pause before a request is repeated.
const PAUSE: Duration = Duration::from_millis(250);
/// How long people think before they do something.
const THOUGHT: Duration = Duration::from_secs(4);
/// How often in a row a new token is asked for before it is believed that there is nobody by this name.
const RENEWALS_MAX: u32 = 5;
/// How often an operator looks after dead letters.
const ROUNDS_MAX: Duration = Duration::from_secs(30);
/// Where they are.
const LETTERS: &str = "/api/dead-letters?limit=200";
/// A request that has no answer after so many repetitions never will.
const REPETITIONS_MAX: u32 = 2_000;

/// What people were told, and did.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// SKUs, and how many of each came.
    pub(crate) received: BTreeMap<String, u64>,
    /// Orders as they were first answered, by the text of the request that is theirs.
    pub(crate) orders: BTreeMap<String, Value>,
    /// Requests with a key that were accepted, and the first answer.
    pub(crate) keyed: Vec<(Person, Request, Answer)>,
    /// Ids of users who are gone.
    pub(crate) erased: BTreeSet<String>,
    /// How often each answer came: `POST /api/orders 201`.
    pub(crate) answers: BTreeMap<String, u64>,
}

/// Somebody; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    world: World,
    told: Arc<Mutex<Told>>,
    email: String,
    id: String,
    token: Arc<Mutex<Option<String>>>,
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
            people
                .admin
                .insist("POST", "/api/products", Some(body), Some(sku))
                .await;
            locked(&people.told).received.insert(sku.clone(), stock);
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

    /// What an operator does now and then: has what was parked tried again, or gives it up.
    async fn mind_dead_letters(&self) {
        loop {
            self.world.clock().sleep(self.world.dice().up_to(ROUNDS_MAX)).await;
            self.see_to_dead_letters().await;
        }
    }

    /// Has the dead letters of every service tried again, or gives them up where nobody but a customer's mailbox misses
    /// them. How many there were.
    pub(crate) async fn see_to_dead_letters(&self) -> usize {
        let mut found = 0;
        for service in Service::ALL {
            let listed = self.admin.ask_of(*service, "GET", LETTERS).await;
            let letters = listed.json["data"].as_array().cloned().unwrap_or_default();
            found += letters.len();
            if letters.is_empty() {
                continue;
            }
            // Now and then they are tried before the consumer was mended.
            if self.world.dice().percent(80) {
                self.world.release(*service).await;
            }
            for letter in &letters {
                self.see_to(*service, letter).await;
            }
        }
        found
    }

    async fn see_to(&self, service: Service, letter: &Value) {
        let path = format!("/api/dead-letters/{}", letter["id"].as_str().unwrap_or_default());
        let is_a_message = service == Service::Notifications && letter["consumer"] == "steps";
        let seen_to = match is_a_message && self.world.dice().percent(50) {
            true => self.admin.ask_of(service, "DELETE", &path).await,
            false => self.admin.ask_of(service, "POST", &format!("{path}/retry")).await,
        };
        // Gone with one before it; behind one, or not to be handled yet.
        assert!(
            matches!(seen_to.status, 204 | 404 | 409),
            "a dead letter was answered with {seen_to:?}"
        );
    }

    async fn be_a_customer(self, number: u64) {
        let dice = self.world.dice();
        let email = format!("{PERSONAL}-{number}@example.com");
        let body = json!({"email": email, "password": PASSWORD, "name": format!("{PERSONAL} {number}"),
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
            customer.leave().await;
        }
        for doing in under_way {
            doing.await.expect("nobody panics");
        }
    }

    /// Places an order, and then pays, cancels, does both at once, or nothing.
    async fn shop(self, customer: Person, number: u64, errand: u64) {
        let dice = self.world.dice();
        let request = format!("{number}-{errand}");
        // [P11] Others use the same keys.
        let key = |what: &str| format!("{what}-{errand}");
        let lines =
            (0..dice.between(1, 3)).map(|_| json!({"sku": dice.pick(&self.skus), "quantity": dice.between(1, 3)}));
        let body = json!({
            "lines": lines.collect::<Vec<_>>(),
            "metadata": {"request": request},
            "shipping_address": {"line1": format!("{PERSONAL} street {request}"), "city": PERSONAL, "country": "NL"},
        });
        let placed = customer.insist_perhaps_twice("/api/orders", body, &key("place")).await;
        match (placed.status, placed.code()) {
            (201, _) => {}
            // Gone meanwhile, or the price of a product was just changed.
            (401, _) | (422, "unknown-product" | "unknown-reference") => return,
            _ => panic!("an order was answered with {placed:?}"),
        }
        let order = placed.json["id"].as_str().unwrap_or_default().to_owned();
        locked(&self.told).orders.insert(request.clone(), placed.json);
        self.meddle(&order).await;
        let (pays, cancels) = (dice.percent(65), dice.percent(20));
        let method = if dice.percent(12) {
            "pm_card_chargeDeclined"
        } else {
            "pm_card_visa"
        };
        let paying = async {
            if pays {
                self.world.clock().sleep(dice.up_to(THOUGHT)).await;
                let body = json!({"order_id": order, "payment_method": method});
                let paid = customer.insist_perhaps_twice("/api/payments", body, &key("pay")).await;
                let fits = match (paid.status, paid.code()) {
                    (201 | 401, _) | (402, "card-declined") => true,
                    (409, code) => ["already-paid", "payment-open", "not-payable"].contains(&code),
                    _ => false,
                };
                assert!(fits, "a payment was answered with {paid:?}");
            }
        };
        let cancelling = async {
            if cancels {
                self.world.clock().sleep(dice.up_to(THOUGHT)).await;
                let path = format!("/api/orders/{order}/cancel");
                let reason = json!({"reason": format!("a {PERSONAL} reason")});
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

    /// What the admin does meanwhile: delivers, refunds, counts stock, changes prices.
    async fn keep_shop(self) {
        let dice = self.world.dice();
        for number in 0..dice.between(2, 8) {
            self.world.clock().sleep(dice.up_to(THOUGHT * 2)).await;
            let key = format!("admin-{number}");
            match dice.below(5) {
                0 => {
                    let sku = dice.pick(&self.skus);
                    let delta = dice.between(1, 5);
                    let path = format!("/api/inventory/{sku}/adjustments");
                    let body = json!({"delta": delta, "reason": "a delivery"});
                    let adjusted = self.admin.insist("POST", &path, Some(body), Some(&key)).await;
                    assert_eq!(adjusted.status, 201, "{adjusted:?}");
                    *locked(&self.told).received.entry(sku.clone()).or_default() += delta;
                }
                1 | 2 => {
                    for order in self.orders("paid").await {
                        if dice.percent(50) {
                            self.deliver(&order).await;
                        }
                    }
                }
                3 => self.refund_some(&key).await,
                _ => {
                    let orders = self.orders("confirmed").await;
                    if let Some(order) = orders.first() {
                        let path = format!("/api/orders/{order}/cancel");
                        let body = json!({"reason": "sold elsewhere"});
                        let cancelled = self.admin.insist("POST", &path, Some(body), Some(&key)).await;
                        assert!(matches!(cancelled.status, 200 | 409), "{cancelled:?}");
                    }
                }
            }
        }
    }

    /// The orders that are so, as the admin sees them now.
    async fn orders(&self, status: &str) -> Vec<String> {
        let path = format!("/api/orders?status={status}&limit=200");
        let listed = self.admin.insist("GET", &path, None, None).await;
        let orders = listed.json["data"].as_array().cloned().unwrap_or_default();
        orders
            .iter()
            .filter_map(|order| order["id"].as_str().map(str::to_owned))
            .collect()
    }

    async fn deliver(&self, order: &str) {
        let path = format!("/api/orders/{order}");
        let body = json!({"status": "fulfilled"});
        let delivered = self
            .admin
            .insist("PATCH", &path, Some(body), Some(&format!("deliver-{order}")))
            .await;
        assert!(
            matches!(delivered.status, 200 | 409),
            "a delivery was answered with {delivered:?}"
        );
    }

    async fn refund_some(&self, key: &str) {
        let dice = self.world.dice();
        let listed = self.admin.insist("GET", "/api/payments?limit=200", None, None).await;
        let mut payments = listed.json["data"].as_array().cloned().unwrap_or_default();
        payments.retain(|payment| payment["status"] == "captured");
        if payments.is_empty() {
            return;
        }
        let payment = dice.pick(&payments);
        let id = payment["id"].as_str().unwrap_or_default();
        let amount = payment["amount"]["amount"].as_u64().unwrap_or_default();
        let body = match dice.percent(50) || amount < 2 {
            true => json!({}),
            false => json!({"amount": {"amount": dice.between(1, amount - 1), "currency": "EUR"}, "reason": "damaged"}),
        };
        let path = format!("/api/payments/{id}/refunds");
        let refunded = self.admin.insist("POST", &path, Some(body), Some(key)).await;
        assert!(
            matches!(refunded.status, 201 | 202 | 409 | 422),
            "a refund was answered with {refunded:?}"
        );
    }

    /// What has to be done by hand once everything else has settled: what people who are gone have paid for is delivered.
    pub(crate) async fn tidy_up(&self) {
        let erased = self.told().erased.clone();
        for user in erased {
            let path = format!("/api/orders?user_id={user}&status=paid&limit=200");
            let listed = self.admin.insist("GET", &path, None, None).await;
            for order in listed.json["data"].as_array().into_iter().flatten() {
                self.deliver(order["id"].as_str().unwrap_or_default()).await;
            }
        }
    }

    /// [P11] The same request under the same key has the same answer, after all that has happened.
    pub(crate) async fn repeat_everything(&self) {
        let keyed = std::mem::take(&mut self.told().keyed);
        let erased = self.told().erased.clone();
        for (person, request, first) in keyed {
            // What shows somebody who is gone is forgotten with them.
            if erased
                .iter()
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
                (again.status, &again.text),
                (first.status, &first.text),
                "{} {} under {key:?}, the second time",
                request.method,
                request.path
            );
        }
        // They know the people, who know what all were told.
        self.told().keyed.clear();
    }
}

impl Person {
    fn new(world: &World, told: &Arc<Mutex<Told>>, email: String, id: String) -> Self {
        Self {
            world: world.clone(),
            told: Arc::clone(told),
            email,
            id,
            token: Arc::default(),
        }
    }

    async fn leave(&self) {
        let path = format!("/api/users/{}", self.id);
        let left = self.insist("DELETE", &path, None, None).await;
        // Gone already, if the answer to the first request was lost.
        assert!(matches!(left.status, 204 | 401 | 404), "{left:?}");
        locked(&self.told).erased.insert(self.id.clone());
    }

    /// Posts under a key, now and then twice at once: what is answered at all is answered the same.
    async fn insist_perhaps_twice(&self, path: &str, body: Value, key: &str) -> Answer {
        let post = || self.insist("POST", path, Some(body.clone()), Some(key));
        if !self.world.faults().strikes(Fault::ClientTwice) {
            return post().await;
        }
        let (one, other) = futures::join!(post(), post());
        // A refusal changes nothing, so that it is decided again.
        let is_kept = |answer: &Answer| answer.status < 300;
        assert!(
            !is_kept(&one) || !is_kept(&other) || one.text == other.text,
            "{path}: {} and {}",
            one.text,
            other.text
        );
        if is_kept(&one) { one } else { other }
    }

    /// Asks until there is an answer that is one.
    async fn insist(&self, method: &'static str, path: &str, body: Option<Value>, key: Option<&str>) -> Answer {
        self.insist_as(method, path, body, key, true).await
    }

    async fn insist_as(
        &self,
        method: &'static str,
        path: &str,
        body: Option<Value>,
        key: Option<&str>,
        signed_in: bool,
    ) -> Answer {
        let mut request = Request {
            method,
            path: path.to_owned(),
            token: None,
            key: key.map(str::to_owned),
            body,
            to: None,
        };
        let answer = self.insist_on(&mut request, signed_in).await;
        if request.key.is_some() && answer.status < 300 {
            let kept = (self.clone(), request, answer.clone());
            locked(&self.told).keyed.push(kept);
        }
        answer
    }

    /// Something of one service alone, without a key.
    async fn ask_of(&self, service: Service, method: &'static str, path: &str) -> Answer {
        let mut request = Request {
            method,
            path: path.to_owned(),
            token: None,
            key: None,
            body: None,
            to: Some(service),
        };
        self.insist_on(&mut request, true).await
    }

    async fn insist_on(&self, request: &mut Request, signed_in: bool) -> Answer {
        let mut renewed = 0;
        for _ in 0..REPETITIONS_MAX {
            if signed_in {
                match self.token().await {
                    Some(token) => request.token = Some(token),
                    // Nobody by this name any more.
                    None => return refused_as_unknown(),
                }
            }
            match self.world.send(request).await {
                // Its time is over; or the clock has jumped to before its time.
                Some(answer) if answer.status == 401 && signed_in && renewed < RENEWALS_MAX => {
                    renewed += u32::from(answer.code() != "token-expired");
                    *locked(&self.token) = None;
                }
                // Nobody refers to what he has not been told of: it is on its way, and longer than the service thinks.
                Some(answer) if refers(request) && answer.status == 404 => drop(answer),
                Some(answer) if answer.status != 503 && answer.code() != "in-progress" => {
                    let path = request.path.split(['?']).next().unwrap_or_default();
                    let kind = path.split('/').take(3).collect::<Vec<_>>().join("/");
                    let word = format!("{} {kind} {} {}", request.method, answer.status, answer.code());
                    *locked(&self.told)
                        .answers
                        .entry(word.trim_end().to_owned())
                        .or_default() += 1;
                    return answer;
                }
                // The token was good.
                Some(_) => renewed = 0,
                None => {}
            }
            self.world.clock().sleep(PAUSE).await;
        }
        panic!(
            "{} {} has no answer after {REPETITIONS_MAX} tries",
            request.method, request.path
        )
    }

    /// A token, after signing in if need be. `None` if the account is gone.
    async fn token(&self) -> Option<String> {
        if let Some(token) = locked(&self.token).clone() {
            return Some(token);
        }
        let request = Request {
            method: "POST",
            path: "/api/login".to_owned(),
            token: None,
            key: None,
            body: Some(json!({"email": self.email, "password": PASSWORD})),
            to: None,
        };
        for _ in 0..REPETITIONS_MAX {
            match self.world.send(&request).await {
                Some(answer) if answer.status == 200 => {
                    let token = answer.json["token"].as_str().unwrap_or_default().to_owned();
                    *locked(&self.token) = Some(token.clone());
                    return Some(token);
                }
                Some(answer) if answer.status == 401 => return None,
                _ => self.world.clock().sleep(PAUSE).await,
            }
        }
        panic!("{} cannot sign in after {REPETITIONS_MAX} tries", self.email)
    }
}

/// Whether the request is about something of another service's.
fn refers(request: &Request) -> bool {
    request.method == "POST" && (request.path == "/api/payments" || request.path.starts_with("/api/inventory"))
}

fn refused_as_unknown() -> Answer {
    Answer {
        status: 401,
        json: Value::Null,
        text: String::new(),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
