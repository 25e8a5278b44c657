//! A shop with customers, what befalls it round after round, and the audit at its end.

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Result;
use contracts::Service;
use futures::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::books::{Books, assert_views_equal_the_fold};
use crate::customers::{Dice, Load, Told, Working};
use crate::disk::{self, Disk, ReadOnly};
use crate::plan::{Death, Jump, Plan, VARIABLE};
use crate::points::JUMPED;
use crate::settled;
use crate::support::{Actor, DEADLINE, Server, eventually, signal, unique};
use crate::trouble::{Kind, Trouble};

/// How long a point may take to be reached.
const POINT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a full disk may take to be felt.
const FULL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a trouble lasts that ends without the process.
const TROUBLE: Duration = Duration::from_millis(1200);
/// How long the process runs at least before it is asked to end.
const LIFETIME: Duration = Duration::from_millis(300);
/// How often something is looked at.
const GLANCE: Duration = Duration::from_millis(5);
/// Connections that wait while there are no descriptors for them.
const WAITING: usize = 40;
const SIGKILL: i32 = 9;
/// How many bytes of an answer are read at most before the client goes away.
const ANSWER_BYTES: usize = 60;

/// A shop under load.
#[derive(Debug)]
pub(crate) struct Shop {
    server: Server,
    is_up: bool,
    /// The clock of this process jumps, and so it jumps back when the next one is started.
    clock_is_off: bool,
    load: Load,
    plan: Plan,
    root: PathBuf,
    /// Dropped last, when nobody has a file on it open.
    disk: Option<Disk>,
}

impl Shop {
    /// Opens one, with a small disk or not, with a broker or without.
    pub(crate) async fn open(dice: &mut Dice, has_disk: bool, has_broker: bool) -> Result<Self> {
        // What is left is looked at if something is found.
        let directory = tempfile::Builder::new()
            .prefix("crash-")
            .disable_cleanup(true)
            .tempdir()?;
        let root = directory.path().to_owned();
        let disk = has_disk.then(|| Disk::mount(&root.join("data"))).transpose()?;
        let plan = Plan {
            broker: has_broker.then(|| root.join("broker")),
            ..Plan::default()
        };
        let server = Self::serve(directory, &plan).await?;
        let load = Load::start(&server.anonymous(), server.admin().await, dice).await;
        Ok(Self {
            server,
            is_up: true,
            clock_is_off: false,
            load,
            plan,
            root,
            disk,
        })
    }

    async fn serve(directory: TempDir, plan: &Plan) -> Result<Server> {
        let settings = Server::settings()
            .with("log", "warn")
            .with_variable(VARIABLE, &serde_json::to_string(plan)?);
        Ok(settings.start_in(directory).await)
    }

    /// Whether this can befall it.
    pub(crate) fn may_suffer(&self, kind: Kind) -> bool {
        match kind {
            Kind::DiskFull => self.disk.is_some(),
            Kind::ReadOnly => disk::may_mount(),
            _ => true,
        }
    }

    /// Where its files are.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether its journals are published.
    pub(crate) fn has_broker(&self) -> bool {
        self.plan.broker.is_some()
    }

    /// Its customers, to be watched.
    pub(crate) fn customers(&self) -> Working {
        self.load.working()
    }

    /// One round. Whether the trouble struck: a point may not be reached in time.
    pub(crate) async fn suffer(&mut self, trouble: Trouble) -> Result<bool> {
        match trouble {
            Trouble::Point(death) => self.dies(death).await,
            Trouble::Kill { after_ms } => {
                self.is_running().await?;
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                // It was alive until then, or this panics.
                self.kill();
                Ok(true)
            }
            Trouble::Ended { killed_after_ms } => self.is_asked_to_end(killed_after_ms).await,
            Trouble::DiskFull => self.disk_is_full().await,
            Trouble::ReadOnly { service } => self.store_is_read_only(service).await,
            Trouble::Clock(jump) => self.clock_jumps(jump).await,
            Trouble::Descriptors { spare } => self.has_no_descriptors(spare).await,
            Trouble::Disconnects => self.clients_disconnect().await,
        }
    }

    async fn dies(&mut self, death: Death) -> Result<bool> {
        let plan = Plan {
            death: Some(death),
            ..self.plan.clone()
        };
        // It may be reached before the server is ready, too.
        self.is_restarted_with(&plan).await?;
        let waited = tokio::time::timeout(POINT_TIMEOUT, async {
            while self.is_up {
                if let Some(status) = self.server.has_ended() {
                    self.is_up = false;
                    assert_killed(status, &self.server);
                }
                tokio::time::sleep(GLANCE).await;
            }
        });
        let was_seen = waited.await.is_ok();
        let status = self.kill_unless_it_has_ended();
        status.inspect(|status| assert_killed(*status, &self.server));
        Ok(was_seen || status.is_some())
    }

    async fn is_asked_to_end(&mut self, killed_after_ms: Option<u64>) -> Result<bool> {
        self.is_running().await?;
        tokio::time::sleep(LIFETIME).await;
        let Some(killed_after_ms) = killed_after_ms else {
            // It checks that it ends well.
            self.server.stop();
            self.is_up = false;
            return Ok(true);
        };
        signal("TERM", self.server.pid());
        tokio::time::sleep(Duration::from_millis(killed_after_ms)).await;
        let ended = self.kill_unless_it_has_ended();
        assert!(ended.is_none_or(|status| status.success()), "{ended:?}");
        Ok(ended.is_none())
    }

    async fn disk_is_full(&mut self) -> Result<bool> {
        self.is_running().await?;
        // A log that has grown would be written over, and needs no room.
        self.server.stop();
        self.is_up = false;
        self.is_running().await?;
        let disk = self.disk.as_ref().expect("it is chosen where there is one");
        disk.fill()?;
        let full = async || disk.is_full().is_ok_and(|it| it).then_some(());
        eventually("the disk is full", full).await;
        let before = self.load.refused();
        let felt = tokio::time::timeout(FULL_TIMEOUT, async {
            while self.load.refused() == before {
                tokio::time::sleep(GLANCE).await;
            }
            tokio::time::sleep(TROUBLE).await;
        });
        let has_struck = felt.await.is_ok();
        self.server.anonymous().get("/healthz").await.expect(200);
        disk.empty()?;
        self.goes_on().await;
        Ok(has_struck)
    }

    async fn clock_jumps(&mut self, jump: Jump) -> Result<bool> {
        let plan = Plan {
            jump: Some(jump),
            ..self.plan.clone()
        };
        let log = self.server.log().len();
        self.is_restarted_with(&plan).await?;
        tokio::time::sleep(Duration::from_millis(jump.after_ms)).await;
        self.load.clock_has_jumped();
        self.goes_on().await;
        Ok(self.server.log().split_off(log).contains(JUMPED))
    }

    /// It refuses to start, in a line that says why.
    async fn store_is_read_only(&mut self, service: Service) -> Result<bool> {
        self.kill();
        let file = self.server.data().join(format!("{service}.sqlite"));
        let held = ReadOnly::make(&file)?;
        let mut command = self.server.command();
        let command = command.arg("serve").stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let ended = tokio::time::timeout(DEADLINE, async {
            loop {
                if let Some(status) = child.try_wait()? {
                    return Ok::<ExitStatus, std::io::Error>(status);
                }
                tokio::time::sleep(GLANCE).await;
            }
        });
        let Ok(status) = ended.await else {
            child.kill()?;
            panic!("it serves on {}, which it cannot write", file.display());
        };
        let (status, output) = (status?, child.wait_with_output()?);
        let said = String::from_utf8_lossy(&output.stderr);
        let is_clear = [&*file.to_string_lossy(), "read-only", "error:"].map(|part| said.contains(part));
        assert!(
            status.code() == Some(1) && is_clear == [true; 3] && output.stdout.is_empty(),
            "{status}, and it said: {said}"
        );
        drop(held);
        Ok(true)
    }

    async fn has_no_descriptors(&mut self, spare: u64) -> Result<bool> {
        self.is_running().await?;
        let pid = self.server.pid();
        let open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        let (pid, files) = (i32::try_from(pid)?, rlimit::Resource::NOFILE);
        let mut usual = (0, 0);
        let (soft, hard) = (&mut usual.0, &mut usual.1);
        rlimit::prlimit(pid, files, None, Some((soft, hard)))?;
        rlimit::prlimit(pid, files, Some((u64::try_from(open)? + spare, usual.1)), None)?;
        let log = self.server.log().len();
        let address = address(&self.server);
        let waiting = join_all((0..WAITING).map(|_| TcpStream::connect(address.clone()))).await;
        tokio::time::sleep(TROUBLE).await;
        rlimit::prlimit(pid, files, Some(usual), None)?;
        drop(waiting);
        self.goes_on().await;
        let log = self.server.log().split_off(log);
        Ok(log.contains("a connection cannot be accepted"))
    }

    async fn clients_disconnect(&mut self) -> Result<bool> {
        self.is_running().await?;
        let customer = self.server.customer().await;
        let sku = self.load.sku();
        let request = || order(&customer, sku);
        let (mut cut_requests, mut cut_answers) = (0, 0);
        let cuts = request().len();
        for cut in 0..cuts {
            let request = request();
            let mut connection = TcpStream::connect(address(&self.server)).await?;
            connection.write_all(request.get(..cut).unwrap_or(&request)).await?;
            // Whoever still waits for the rest has neither answered nor closed.
            let said = connection.try_read(&mut [0]);
            cut_requests += usize::from(said.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
        }
        for read in 0..ANSWER_BYTES {
            let mut connection = TcpStream::connect(address(&self.server)).await?;
            connection.write_all(&request()).await?;
            connection.read_exact(&mut vec![0; read]).await?;
            // There is more to come, which nobody takes.
            cut_answers += connection.peek(&mut [0]).await?;
        }
        self.goes_on().await;
        Ok(cut_requests == cuts && cut_answers == ANSWER_BYTES)
    }

    /// As it was running when it was last seen, it runs still: it ends by itself only where it was to.
    fn kill(&mut self) {
        if let Some(status) = self.kill_unless_it_has_ended() {
            panic!("it ended by itself ({status}):\n{}", self.server.log());
        }
    }

    /// How it had ended before that, if it had.
    fn kill_unless_it_has_ended(&mut self) -> Option<ExitStatus> {
        if !std::mem::replace(&mut self.is_up, false) {
            return None;
        }
        let status = self.server.has_ended();
        if status.is_none() {
            self.server.kill();
        }
        status
    }

    async fn is_restarted_with(&mut self, plan: &Plan) -> Result<()> {
        self.kill();
        self.start(plan).await
    }

    async fn is_running(&mut self) -> Result<()> {
        if !self.is_up {
            let plan = self.plan.clone();
            self.start(&plan).await?;
        }
        Ok(())
    }

    /// Whether it survives that depends on the plan.
    async fn start(&mut self, plan: &Plan) -> Result<()> {
        self.server.set_variable(VARIABLE, &serde_json::to_string(plan)?);
        match self.server.start_unless_it_ends().await {
            Ok(()) => {
                if std::mem::replace(&mut self.clock_is_off, plan.jump.is_some()) || self.clock_is_off {
                    self.load.clock_has_jumped();
                }
                self.is_up = true;
                self.load.goes_on_at(&self.server);
            }
            Err(status) => {
                assert!(
                    plan.death.is_some(),
                    "it does not start ({status}):\n{}",
                    self.server.log()
                );
                assert_killed(status, &self.server);
            }
        }
        Ok(())
    }

    /// Waits until orders are acknowledged again.
    async fn goes_on(&self) {
        let before = self.load.acknowledged();
        let more = async || (self.load.acknowledged() > before).then_some(());
        eventually("orders are acknowledged again", more).await;
    }

    /// Ends the load, lets everything settle, and looks through the books. What a process has got wrong it must put right
    /// itself, unless there is to be another one.
    pub(crate) async fn audit(mut self, in_a_new_process: bool) -> Result<Told> {
        if in_a_new_process {
            self.kill();
        }
        self.is_running().await?;
        let Self {
            mut server,
            load,
            root,
            disk,
            ..
        } = self;
        let told = load.end().await;
        settled::wait(&Books::of(&server)).await;
        told.assert_keys_answer_as_they_did(&server.anonymous()).await;
        server.stop();
        let books = Books::of(&server);
        settled::assert_books_are_right(&books, &told);
        assert_views_equal_the_fold(&server);
        drop((server, disk));
        std::fs::remove_dir_all(root)?;
        Ok(told)
    }
}

fn assert_killed(status: ExitStatus, server: &Server) {
    assert_eq!(
        status.signal(),
        Some(SIGKILL),
        "it ended otherwise than it was to: {status}\n{}",
        server.log()
    );
}

fn address(server: &Server) -> String {
    server.url().trim_start_matches("http://").to_owned()
}

/// A request for an order, byte for byte.
fn order(customer: &Actor, sku: &str) -> Vec<u8> {
    let lines = json!([{"sku": sku, "quantity": 1}]);
    let body = json!({"lines": lines, "metadata": {"request": unique("cut-off")}}).to_string();
    let token = customer.token.as_deref().expect("a customer is signed in");
    let head = [
        "POST /api/orders HTTP/1.1".to_owned(),
        "host: shop.example".to_owned(),
        format!("authorization: Bearer {token}"),
        "content-type: application/json".to_owned(),
        format!("content-length: {}", body.len()),
    ];
    format!("{}\r\n\r\n{body}", head.join("\r\n")).into_bytes()
}
