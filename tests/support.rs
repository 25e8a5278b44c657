//! The real binary on a temporary directory, and people who use it over HTTP.
//!
//! [`Server`] is a process; [`shop`] is one that the tests of a file share. [`Actor`] is somebody who sends requests: nobody
//! in particular, a customer or an admin. Each answer is checked for what every answer owes (a request id; a complete
//! problem where something is refused) before the test looks at it.
#![expect(unreachable_pub, reason = "nobody depends on a test; `pub` marks what its files use")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use servers::Fresh;
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// How long anything may take that is waited for.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(5);
/// How much of the server's log a failing test shows.
const LOG_SHOWN_BYTES: usize = 20_000;

pub const ADMIN_EMAIL: &str = "admin@example.com";
pub const PASSWORD: &str = "correct horse battery staple";

/// Looks until there is something to see. Panics when there has been nothing for as long as [`DEADLINE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: impl fmt::Display, look: impl FnMut() -> F) -> T {
    within(DEADLINE, what, look).await
}

/// The same, for what may take another time.
pub async fn within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: impl fmt::Display,
    mut look: impl FnMut() -> F,
) -> T {
    let waited = tokio::time::timeout(limit, async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(GLANCE).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}: not within {limit:?}"))
}

/// A text that no other call gives, in this process or another.
pub fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{number}", std::process::id())
}

/// The binary under test. The crash harness is its own.
pub fn tradewind() -> Command {
    let built = option_env!("CARGO_BIN_EXE_tradewind").map(PathBuf::from);
    let binary = built.unwrap_or_else(|| std::env::current_exe().expect("a process knows its binary"));
    let mut command = Command::new(binary);
    // What the machine's own configuration says is not what is tested.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TRADEWIND_")) {
        command.env_remove(name);
    }
    command
}

/// The settings of a server, before it starts.
#[derive(Debug)]
pub struct Settings {
    environment: BTreeMap<String, String>,
    parts: Vec<&'static str>,
}

impl Settings {
    /// Overrides a setting: `("payment_window", "2s")`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let name = format!("TRADEWIND_{}", name.to_ascii_uppercase());
        self.environment.insert(name, value.to_owned());
        self
    }

    /// Sets an environment variable that is no setting.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Leaves a setting to the binary's default.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment
            .remove(&format!("TRADEWIND_{}", name.to_ascii_uppercase()));
        self
    }

    /// Has it run these parts of the shop alone.
    #[must_use]
    pub fn running(mut self, parts: &[&'static str]) -> Self {
        self.parts = parts.to_vec();
        self
    }

    /// Starts a server on a directory of its own, and waits until it is ready.
    pub async fn start(self) -> Server {
        let directory = tempfile::tempdir().expect("a temporary directory");
        self.start_in(directory).await
    }

    /// The same, where the directory is made already.
    pub async fn start_in(mut self, directory: TempDir) -> Server {
        let names_its_stores = self.environment.keys().any(|name| name.ends_with("_STORE"));
        let databases = if names_its_stores { None } else { fresh_databases() };
        if let Some(databases) = &databases {
            self = self.with("store", &databases.url());
        }
        let mut server = Server {
            directory,
            environment: self.environment,
            parts: self.parts,
            running: None,
            _databases: databases,
        };
        server.start_again().await;
        server
    }
}

/// A `tradewind serve` of its own. Dropped, it is killed; if a test failed, its log is shown.
#[derive(Debug)]
pub struct Server {
    directory: TempDir,
    environment: BTreeMap<String, String>,
    parts: Vec<&'static str>,
    running: Option<Running>,
    _databases: Option<Fresh>,
}

/// Where `cargo xtask test --servers` says on which kind of server the shop is to be tested.
fn fresh_databases() -> Option<Fresh> {
    let kind = std::env::var("TEST_STORE").ok()?;
    let kind = kind.parse().expect("TEST_STORE names a kind of server");
    Some(Fresh::new(kind).expect("the server makes databases"))
}

/// The process, and what ends it should this process end first: statics are never dropped.
#[derive(Debug)]
struct Running {
    child: Child,
    url: String,
    printed: String,
    watchdog: Child,
    /// Closed by the system when this process ends.
    _leash: ChildStdin,
}

impl Running {
    /// Starts it, and waits until it says where it listens. If it ends before that, how.
    fn start(
        directory: &Path,
        environment: &BTreeMap<String, String>,
        parts: &[&'static str],
    ) -> Result<Self, ExitStatus> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(directory.join("log"))
            .expect("a log");
        let mut command = tradewind();
        command.arg("serve").args(parts);
        command.current_dir(directory).envs(environment);
        command.env("TRADEWIND_DATA", directory.join("data"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("the binary runs");
        let (mut watchdog, leash) = watch(&child, directory);
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Read to the end, wanted or not: a full pipe would stop the server.
                let _ = sender.send(line);
            }
        });
        let mut printed = String::new();
        let url = loop {
            let line = match lines.recv_timeout(DEADLINE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = (watchdog.kill(), watchdog.wait());
                    return Err(child.wait().expect("it is our child"));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let _ = (child.kill(), child.wait(), watchdog.kill(), watchdog.wait());
                    panic!("the server does not say where it listens:\n{printed}");
                }
            };
            printed.push_str(&line);
            printed.push('\n');
            if let Some((_, url)) = line.split_once("listens on ") {
                break url.trim().to_owned();
            }
        };
        // What is printed together arrives together; the first admin's password is the last of it.
        while let Ok(line) = lines.recv_timeout(Duration::from_millis(20)) {
            printed.push_str(&line);
            printed.push('\n');
        }
        Ok(Self {
            child,
            url,
            printed,
            watchdog,
            _leash: leash,
        })
    }

    /// Waits for the process to end.
    fn ended(mut self) -> ExitStatus {
        // It goes first: as long as the server is not waited for, nobody else can have its number.
        let _ = (self.watchdog.kill(), self.watchdog.wait());
        let deadline = DEADLINE.as_millis() / GLANCE.as_millis();
        for _ in 0..deadline {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            std::thread::sleep(GLANCE);
        }
        let _ = (self.child.kill(), self.child.wait());
        panic!("the server did not end within {DEADLINE:?}");
    }
}

/// Kills the server and removes its directory when this process ends without having done so.
fn watch(server: &Child, directory: &Path) -> (Child, ChildStdin) {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"cat; kill -9 "$0"; rm -rf "$1""#, &server.id().to_string()])
        .arg(directory);
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut watchdog = command.spawn().expect("there is a shell");
    let leash = watchdog.stdin.take().expect("it is piped");
    (watchdog, leash)
}

impl Server {
    /// One with a known admin, on a free port, without rate limits.
    pub fn settings() -> Settings {
        let settings = Settings {
            environment: BTreeMap::new(),
            parts: Vec::new(),
        };
        settings
            .with("listen", "127.0.0.1:0")
            .with("rate_limit_anonymous", "off")
            .with("rate_limit_user", "off")
            .with("admin_email", ADMIN_EMAIL)
            .with("admin_password", PASSWORD)
    }

    /// Starts one as [`Server::settings`] says.
    pub async fn start() -> Self {
        Self::settings().start().await
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the server runs")
    }

    /// Where it listens: `http://127.0.0.1:34567`.
    pub fn url(&self) -> &str {
        &self.running().url
    }

    /// What it has printed on its standard output since its last start.
    pub fn printed(&self) -> &str {
        &self.running().printed
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.running().child.id()
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Its settings, as it is told them.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// All that it has logged, over all its starts.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.directory.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// A command on the same data directory and configuration: `rebuild`, `admin create`, ….
    pub fn command(&self) -> Command {
        let mut command = tradewind();
        command.current_dir(self.directory.path()).envs(&self.environment);
        command.env("TRADEWIND_DATA", self.data());
        command
    }

    /// Waits until `/readyz` says so.
    pub async fn until_ready(&self) {
        let nobody = self.anonymous();
        eventually("the server is ready", async || {
            (nobody.get("/readyz").await.status == 200).then_some(())
        })
        .await;
    }

    /// Kills it with SIGKILL, wherever it is.
    pub fn kill(&mut self) {
        let mut running = self.running.take().expect("the server runs");
        running.child.kill().expect("it can be killed");
        running.ended();
    }

    /// Asks it to end, with SIGTERM, and waits until it has. Its exit code is 0.
    pub fn stop(&mut self) {
        let running = self.running.take().expect("the server runs");
        signal("TERM", running.child.id());
        let status = running.ended();
        assert_eq!(
            status.code(),
            Some(0),
            "the server ended with {status}:\n{}",
            self.log()
        );
    }

    /// Starts it again on the same directory, after [`kill`](Self::kill) or [`stop`](Self::stop). The port is another one.
    pub async fn start_again(&mut self) {
        let started = self.start_unless_it_ends().await;
        assert_eq!(started, Ok(()), "the server does not start:\n{}", self.log());
    }

    /// The same, for a server that may end before it is ready: then, how.
    pub async fn start_unless_it_ends(&mut self) -> Result<(), ExitStatus> {
        assert!(self.running.is_none(), "the server runs");
        let running = Running::start(self.directory.path(), &self.environment, &self.parts)?;
        let nobody = Actor::at(&running.url);
        self.running = Some(running);
        let ready = eventually("the server is ready", async || {
            let answered = nobody.get("/readyz").attempt().await;
            answered.is_none_or(|answer| answer.status == 200).then_some(())
        });
        ready.await;
        self.has_ended().map_or(Ok(()), Err)
    }

    /// How it has ended by itself, if it has. Then it can be started again.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let running = self.running.as_mut().expect("the server runs");
        running.child.try_wait().expect("it is our child")?;
        Some(self.running.take().expect("it was there").ended())
    }

    /// Changes an environment variable for the starts to come.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Whether it was started, and neither stopped nor killed since.
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Stops it and starts it again.
    pub async fn restart(&mut self) {
        self.stop();
        self.start_again().await;
    }

    /// Stops it and starts it again with another setting.
    pub async fn restart_with(&mut self, name: &str, value: &str) {
        self.stop();
        self.set_variable(&format!("TRADEWIND_{}", name.to_ascii_uppercase()), value);
        self.start_again().await;
    }

    /// Somebody without a token.
    pub fn anonymous(&self) -> Actor {
        Actor::at(self.url())
    }

    /// The admin.
    pub async fn admin(&self) -> Actor {
        self.anonymous().signed_in(ADMIN_EMAIL, PASSWORD).await
    }

    /// A customer who signed up for the occasion.
    pub async fn customer(&self) -> Actor {
        self.anonymous().sign_up().await
    }

    fn show_log(&self) {
        let log = self.log();
        let start = log.floor_char_boundary(log.len().saturating_sub(LOG_SHOWN_BYTES));
        eprintln!("---- the server's log ----\n{}---- its end ----", &log[start..]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_log();
        }
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = (running.watchdog.kill(), running.watchdog.wait());
            let _ = running.child.wait();
        }
    }
}

/// A part of the UCI "Online Retail" data set, where it lies beside the repository.
pub fn real_history() -> Option<&'static Path> {
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/data/online-retail.csv"
    ));
    path.exists().then_some(path)
}

/// Sends a signal: `TERM`, `STOP`, `CONT`.
pub fn signal(name: &str, pid: u32) {
    let sent = Command::new("sh")
        .args(["-c", r#"kill -s "$0" "$1""#, name, &pid.to_string()])
        .status();
    assert!(sent.expect("there is a shell").success(), "SIG{name} was not sent");
}

static SHOP: OnceCell<(Server, Actor)> = OnceCell::const_new();

/// The server that the tests of one file share. Tests on it make what they use, and look at nothing else.
pub async fn shop() -> Shop {
    let shared = SHOP.get_or_init(async || {
        let server = Server::start().await;
        let admin = server.admin().await;
        (server, admin)
    });
    let (server, admin) = shared.await;
    // A client belongs to the runtime of the test that made it.
    let anonymous = server.anonymous();
    let admin = Actor {
        http: anonymous.http.clone(),
        ..admin.clone()
    };
    Shop {
        server,
        anonymous,
        admin,
    }
}

/// The shared server as one test sees it; shows the server's log if the test fails.
#[derive(Debug)]
pub struct Shop {
    pub server: &'static Server,
    pub anonymous: Actor,
    pub admin: Actor,
}

impl Shop {
    /// A customer who signed up for the occasion.
    pub async fn customer(&self) -> Actor {
        self.anonymous.sign_up().await
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.server.show_log();
        }
    }
}

/// Somebody who sends requests.
#[derive(Clone, Debug)]
pub struct Actor {
    pub http: reqwest::Client,
    pub base: String,
    pub token: Option<String>,
    pub refresh_token: Option<String>,
    /// Empty for nobody in particular.
    pub id: String,
    pub email: String,
    pub password: String,
}

impl Actor {
    /// Nobody in particular, at a server.
    pub fn at(base: &str) -> Self {
        // This process's, not the server's; a second call finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(DEADLINE)
            .no_proxy()
            .build()
            .expect("a client");
        let nothing = String::new;
        Self {
            http,
            base: base.to_owned(),
            token: None,
            refresh_token: None,
            id: nothing(),
            email: nothing(),
            password: nothing(),
        }
    }

    /// The same, with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// The same person at a server that was started again.
    #[must_use]
    pub fn moved_to(&self, server: &Server) -> Self {
        Self {
            base: server.url().to_owned(),
            ..self.clone()
        }
    }

    /// Signs in.
    pub async fn signed_in(&self, email: &str, password: &str) -> Self {
        let answer = self
            .post("/api/login", json!({"email": email, "password": password}))
            .await
            .expect(200);
        Self {
            token: Some(answer.text_at("token")),
            refresh_token: Some(answer.text_at("refresh_token")),
            id: answer.text_at("user_id"),
            email: email.to_owned(),
            password: password.to_owned(),
            ..self.clone()
        }
    }

    /// Signs a new customer up, and in.
    pub async fn sign_up(&self) -> Self {
        let email = format!("{}@example.com", unique("customer"));
        self.post("/api/users", json!({"email": email, "password": PASSWORD}))
            .await
            .expect(201);
        self.signed_in(&email, PASSWORD).await
    }

    /// A request with any method.
    pub fn request(&self, method: &str, path: &str) -> Call {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        Call {
            named: format!("{method} {path}"),
            is_head: method == Method::HEAD,
            request,
        }
    }

    pub fn get(&self, path: &str) -> Call {
        self.request("GET", path)
    }

    pub fn delete(&self, path: &str) -> Call {
        self.request("DELETE", path)
    }

    pub fn post(&self, path: &str, body: Value) -> Call {
        self.request("POST", path).json(&body)
    }

    pub fn put(&self, path: &str, body: Value) -> Call {
        self.request("PUT", path).json(&body)
    }

    pub fn patch(&self, path: &str, body: Value) -> Call {
        self.request("PATCH", path).json(&body)
    }

    /// An admin's: a product at 12.50 USD, whose stock has arrived in the inventory.
    pub async fn product(&self, stock: u64) -> Product {
        self.product_at(1250, stock).await
    }

    /// An admin's: a product at so many cents.
    pub async fn product_at(&self, cents: u64, stock: u64) -> Product {
        let sku = unique("SKU");
        let body = json!({
            "sku": sku,
            "name": format!("Thing {sku}"),
            "price": {"amount": cents, "currency": "USD"},
            "initial_stock": stock,
        });
        let created = self.post("/api/products", body).await.expect(201);
        let product = Product {
            id: created.text_at("id"),
            sku,
            cents,
        };
        let path = product.stock_path();
        eventually(&path, async || (self.get(&path).await.status == 200).then_some(())).await;
        product
    }

    /// What of a SKU is on hand, reserved and available.
    pub async fn stock(&self, product: &Product) -> (u64, u64, u64) {
        let stock = self.get(&product.stock_path()).await.expect(200);
        (
            stock.number_at("on_hand"),
            stock.number_at("reserved"),
            stock.number_at("available"),
        )
    }

    /// Waits until of a SKU so much is on hand, reserved and available.
    pub async fn until_stock(&self, product: &Product, wanted: (u64, u64, u64)) {
        let what = format!("{} has (on hand, reserved, available) {wanted:?}", product.sku);
        eventually(what, async || (self.stock(product).await == wanted).then_some(())).await;
    }

    /// Orders so many of a product. The order is as the answer showed it.
    pub async fn place_order(&self, product: &Product, quantity: u64) -> Value {
        let line = json!({"product_id": product.id, "quantity": quantity});
        self.post("/api/orders", json!({"lines": [line]}))
            .await
            .expect(201)
            .json
    }

    /// The same, confirmed.
    pub async fn confirmed_order(&self, product: &Product, quantity: u64) -> String {
        let id = id_of(&self.place_order(product, quantity).await);
        self.until_order(&id, "confirmed").await;
        id
    }

    /// The same, paid, with the payment.
    pub async fn paid_order(&self, product: &Product, quantity: u64) -> (String, String) {
        let order = self.confirmed_order(product, quantity).await;
        let payment = self.pay(&order).await;
        self.until_order(&order, "paid").await;
        (order, payment)
    }

    /// Pays an order with a good card. The id is the payment's, which is captured.
    pub async fn pay(&self, order: &str) -> String {
        let paid = self.post("/api/payments", json!({"order_id": order})).await.expect(201);
        paid.text_at("id")
    }

    /// Waits until an order has a status; the order.
    pub async fn until_order(&self, id: &str, status: &str) -> Value {
        let path = format!("/api/orders/{id}");
        eventually(format!("{path} is {status}"), async || {
            let order = self.get(&path).await.expect(200).json;
            (order["status"] == status).then_some(order)
        })
        .await
    }

    /// Waits until what is at `path` has `value` at `field`.
    pub async fn until(&self, path: &str, field: &str, value: impl Into<Value>) -> Value {
        let value = value.into();
        eventually(format!("{path} has {field} = {value}"), async || {
            let answer = self.get(path).await;
            (answer.status == 200 && answer.json[field] == value).then_some(answer.json)
        })
        .await
    }

    /// An admin's: waits until an event is in the public log; the event.
    pub async fn until_event(&self, event_type: &str, subject: &str) -> Value {
        let path = format!("/api/events?type={event_type}&subject={subject}");
        eventually(&path, async || self.logged(&path).await.into_iter().next()).await
    }

    /// An admin's: all that the public log has, from its beginning to its end. The path has a query.
    pub async fn logged(&self, path: &str) -> Vec<Value> {
        let (mut events, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}{after}")).await.expect(200);
            events.extend_from_slice(page.data());
            match page.json["next_cursor"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return events,
            }
        }
    }

    /// Opens a live stream, after the event of this id or from now on.
    pub async fn stream(&self, query: &str, last_event_id: Option<&str>) -> Stream {
        let mut call = self.get(&format!("/api/events/stream{query}"));
        if let Some(id) = last_event_id {
            call = call.header("last-event-id", id);
        }
        let response = call.response().await;
        assert_eq!(response.status().as_u16(), 200, "{response:?}");
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        let mut stream = Stream {
            response,
            buffer: String::new(),
        };
        // The first frame says where the stream begins: from then on nothing is missed.
        let first = stream.frame().await.expect("a stream begins with a frame");
        assert!(first.id.is_some() && first.event.is_null(), "{first:?}");
        stream
    }
}

/// A product of a test.
#[derive(Clone, Debug)]
pub struct Product {
    pub id: String,
    pub sku: String,
    pub cents: u64,
}

impl Product {
    pub fn path(&self) -> String {
        format!("/api/products/{}", self.id)
    }

    pub fn stock_path(&self) -> String {
        format!("/api/inventory/{}", self.sku)
    }
}

/// The `id` of something.
pub fn id_of(thing: &Value) -> String {
    thing["id"]
        .as_str()
        .unwrap_or_else(|| panic!("no id: {thing}"))
        .to_owned()
}

/// A request that is not sent yet: `.await` sends it.
#[derive(Debug)]
pub struct Call {
    named: String,
    is_head: bool,
    request: RequestBuilder,
}

impl Call {
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// With an `Idempotency-Key`.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// With an `If-Match` of this version or tag.
    #[must_use]
    pub fn if_match(self, tag: &str) -> Self {
        self.header("if-match", tag)
    }

    #[must_use]
    pub fn json(mut self, body: &Value) -> Self {
        self.request = self.request.json(body);
        self
    }

    /// With any body, and no content type.
    #[must_use]
    pub fn raw(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    /// With any text, said to be JSON.
    #[must_use]
    pub fn raw_json(self, body: impl Into<reqwest::Body>) -> Self {
        self.header("content-type", "application/json").raw(body)
    }

    /// Sends it, and gives the answer before its body: for streams.
    pub async fn response(self) -> reqwest::Response {
        self.request
            .send()
            .await
            .unwrap_or_else(|error| panic!("{}: no answer: {error:?}", self.named))
    }

    /// The same once more, unless its body is a stream.
    fn again(&self) -> Option<Self> {
        Some(Self {
            named: self.named.clone(),
            is_head: self.is_head,
            request: self.request.try_clone()?,
        })
    }

    /// Sends it to a server that may be about to end: an error is no answer.
    pub async fn attempt(self) -> Option<Answer> {
        self.sent().await.ok()
    }

    async fn sent(self) -> Result<Answer, reqwest::Error> {
        let Self {
            named,
            is_head,
            request,
        } = self;
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?.to_vec();
        let text = String::from_utf8_lossy(&body).into_owned();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        let answer = Answer {
            named,
            status,
            headers,
            text,
            json,
        };
        answer.owes_what_every_answer_does(is_head);
        Ok(answer)
    }
}

/// For so long a service may say that it has not seen yet what another one has.
const CATCHING_UP_SECONDS_MAX: u32 = 20;

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let named = self.named.clone();
            for _ in 0..CATCHING_UP_SECONDS_MAX {
                let Some(again) = self.again() else { break };
                match again.sent().await {
                    // As a client does that is told to come back: what it refers to was made a moment ago.
                    Ok(answer) if answer.json["code"] == "catching-up" => {
                        tokio::time::sleep(Duration::from_secs(1)).await
                    }
                    answered => return answered.unwrap_or_else(|error| panic!("{named}: no answer: {error:?}")),
                }
            }
            self.sent()
                .await
                .unwrap_or_else(|error| panic!("{named}: no answer: {error:?}"))
        })
    }
}

/// Server-sent events.
#[derive(Debug)]
pub struct Stream {
    response: reqwest::Response,
    buffer: String,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Frame {
    pub id: Option<String>,
    /// Null where the frame has no data.
    pub event: Value,
}

impl Stream {
    /// The next frame; `None` at the stream's end.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, rest)) = self.buffer.split_once("\n\n") {
                let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let event = field("data:").map_or(Value::Null, |data| serde_json::from_str(data).expect("JSON"));
                let frame = Frame {
                    id: field("id:").map(str::to_owned),
                    event,
                };
                self.buffer = rest.to_owned();
                return Some(frame);
            }
            let chunk = tokio::time::timeout(DEADLINE, self.response.chunk())
                .await
                .expect("a frame in time");
            let chunk = chunk.ok()??;
            self.buffer
                .push_str(std::str::from_utf8(&chunk).expect("events are UTF-8"));
        }
    }

    /// The next event.
    pub async fn next(&mut self) -> Frame {
        loop {
            let frame = self.frame().await.expect("the stream goes on");
            if !frame.event.is_null() {
                return frame;
            }
        }
    }

    /// The events up to the first of this type, it included.
    pub async fn up_to(&mut self, event_type: &str) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            frames.push(self.next().await);
            if frames.last().is_some_and(|frame| frame.event["type"] == event_type) {
                return frames;
            }
        }
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The request's method and path.
    pub named: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// Null unless the body is JSON.
    pub json: Value,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            named,
            status,
            headers,
            text,
            ..
        } = self;
        write!(
            f,
            "{named} was answered with {status} {headers:?}\n{}",
            &text[..text.floor_char_boundary(4000)]
        )
    }
}

impl Answer {
    /// A header's value; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The answer, if it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The answer, if it is a refusal with this status and code.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, &self.json["code"]), (status, &json!(code)), "{self}");
        self
    }

    /// The answer, if it says that this field is wrong.
    #[track_caller]
    pub fn refused_field(self, status: u16, code: &str, field: &str) -> Self {
        let answer = self.refused(status, code);
        let errors = answer.json["errors"].as_array().cloned().unwrap_or_default();
        assert!(
            errors.iter().any(|error| error["field"] == field),
            "no error of {field}: {answer}"
        );
        answer
    }

    /// The answer, if its body has these fields and perhaps those marked with `?`, and no others.
    #[track_caller]
    pub fn has_fields(self, fields: &str) -> Self {
        assert_fields(&self.json, fields, &self);
        self
    }

    /// The text at a field.
    #[track_caller]
    pub fn text_at(&self, field: &str) -> String {
        self.json[field]
            .as_str()
            .unwrap_or_else(|| panic!("no text {field}: {self}"))
            .to_owned()
    }

    /// The number at a field.
    #[track_caller]
    pub fn number_at(&self, field: &str) -> u64 {
        self.json[field]
            .as_u64()
            .unwrap_or_else(|| panic!("no number {field}: {self}"))
    }

    /// The entries of a list.
    #[track_caller]
    pub fn data(&self) -> &[Value] {
        self.json["data"]
            .as_array()
            .unwrap_or_else(|| panic!("no list: {self}"))
    }

    /// The list's entries' ids.
    #[track_caller]
    pub fn ids(&self) -> Vec<String> {
        self.data().iter().map(id_of).collect()
    }

    fn owes_what_every_answer_does(&self, is_head: bool) {
        assert!(!self.header("x-request-id").is_empty(), "no x-request-id: {self}");
        // Whether it is ready or not, a shop tells of its stores.
        let is_report = self.named == "GET /readyz" && self.json["stores"].is_object();
        if self.status < 400 || is_head || is_report {
            return;
        }
        assert_eq!(self.header(CONTENT_TYPE.as_str()), "application/problem+json", "{self}");
        assert_fields(
            &self.json,
            "type title status detail? instance code errors? payment_id? decline_code?",
            self,
        );
        assert_eq!(self.json["status"], self.status, "{self}");
        for error in self.json["errors"].as_array().into_iter().flatten() {
            assert_fields(error, "field message", self);
        }
        if matches!(self.status, 429 | 503) {
            let seconds: u64 = self
                .header("retry-after")
                .parse()
                .unwrap_or_else(|_| panic!("no Retry-After: {self}"));
            assert!(seconds > 0, "{self}");
        }
    }
}

/// Panics unless the object has these fields, perhaps those marked with `?`, and no others.
#[track_caller]
pub fn assert_fields(object: &Value, fields: &str, shown: &dyn fmt::Display) {
    let object = object.as_object().unwrap_or_else(|| panic!("no object: {shown}"));
    for field in fields.split_whitespace().filter(|field| !field.ends_with('?')) {
        assert!(object.contains_key(field), "no {field}: {shown}");
    }
    for field in object.keys() {
        let known = fields
            .split_whitespace()
            .any(|known| known.trim_end_matches('?') == field);
        assert!(known, "{field} is not known: {shown}");
    }
}
