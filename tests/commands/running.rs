//! Commands that act on a running shop: `events tail`, `dead-letters`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::run;
use crate::support::{Actor, DEADLINE, Server};

/// No event comes for so long: none is on its way.
const SILENCE: Duration = Duration::from_millis(1500);

/// `events tail`, as it runs.
struct Tail {
    child: Child,
    lines: Receiver<String>,
}

impl Tail {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        let mut command = server.command();
        command.args(["events", "tail", "--url", server.url()]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// The next line.
    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).unwrap()
    }

    /// The next event's number, type and subject.
    fn number(&self) -> (u64, String, String) {
        let line = self.line();
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        (event["data"]["number"].as_u64().unwrap(), text("type"), text("subject"))
    }

    fn is_silent(&self) {
        assert_eq!(self.lines.recv_timeout(SILENCE).ok(), None);
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_output_is_read_no_more_ends_without_a_word() {
    let server = shop_at_a_fixed_port().await;
    let admin = server.admin().await;
    let mut tail = server.command();
    tail.args(["events", "tail", "--after", "0", "--url", server.url()]);
    let mut print = server.command();
    print.args(["config", "print", "--json"]);
    let mut demo = server.command();
    demo.arg("demo");
    for mut command in [tail, print, demo] {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        publish(&admin, "custom.hello", "hello", 0).await;
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        let ended = tokio::time::timeout(DEADLINE, ended).await.unwrap().unwrap();
        // As if ended by SIGPIPE, which is what a shell expects.
        assert_eq!(ended.status.code(), Some(141), "{command:?}");
        assert_eq!(String::from_utf8(ended.stderr).unwrap(), "", "{command:?}");
    }
}

async fn publish(admin: &Actor, event_type: &str, subject: &str, number: u64) {
    let body = json!({"type": event_type, "subject": subject, "data": {"number": number}});
    admin.post("/api/events", body).await.expect(201);
}

/// A shop that keeps its port over restarts.
async fn shop_at_a_fixed_port() -> Server {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Server::settings().with("listen", &free.to_string()).start().await
}

/// The stream has begun once it shows something; what is published before that is published again.
async fn begun(tail: &Tail, admin: &Actor) {
    for _ in 0..20 {
        publish(admin, "custom.hello", "hello", 0).await;
        if tail.lines.recv_timeout(Duration::from_millis(500)).is_ok() {
            while tail.lines.recv_timeout(Duration::from_millis(500)).is_ok() {}
            return;
        }
    }
    panic!("the tail shows nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_shown_as_they_happen_and_none_is_missed_over_a_restart() {
    let mut server = shop_at_a_fixed_port().await;
    let admin = server.admin().await;
    let tail = Tail::start(&server, &["--json", "--type", "custom.*"]);
    begun(&tail, &admin).await;
    for number in 1..=3 {
        publish(&admin, "custom.counted", "live", number).await;
        assert_eq!(tail.number(), (number, "custom.counted".to_owned(), "live".to_owned()));
    }
    for restart in 1..=2 {
        publish(&admin, "custom.counted", "before", 10 * restart).await;
        server.restart().await;
        // The tail comes back in a second; this is before.
        publish(&admin, "custom.counted", "after", 10 * restart + 1).await;
        for number in [10 * restart, 10 * restart + 1] {
            assert_eq!(tail.number().0, number);
        }
    }
    server.kill();
    server.start_again().await;
    publish(&admin, "custom.counted", "after", 99).await;
    assert_eq!(tail.number().0, 99);
    tail.is_silent();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_has_shown_nothing_yet_misses_nothing_over_a_restart_either() {
    let mut server = shop_at_a_fixed_port().await;
    let admin = server.admin().await;
    let witness = Tail::start(&server, &["--json", "--type", "custom.*"]);
    let tail = Tail::start(&server, &["--json", "--subject", "rare"]);
    begun(&witness, &admin).await;
    tokio::time::sleep(SILENCE).await;
    server.restart().await;
    publish(&admin, "custom.counted", "rare", 1).await;
    assert_eq!(tail.number().0, 1);
    tail.is_silent();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_shown_from_a_position_on_to_people() {
    let server = Server::start().await;
    let admin = server.admin().await;
    publish(&admin, "custom.counted", "early", 1).await;
    let tail = Tail::start(&server, &["--after", "0", "--subject", "early"]);
    let line = tail.line();
    assert!(
        ["custom.counted", "early", r#"{"number":1}"#]
            .iter()
            .all(|part| line.contains(part)),
        "{line}"
    );
    assert!(!line.contains('\u{1b}'), "{line}");
    let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    let body = format!(r#"{{"type": "custom.deep", "subject": "early", "data": {{"deep": {deep}}}}}"#);
    admin.request("POST", "/api/events").raw_json(body).await.expect(201);
    let line = tail.line();
    assert!(line.contains("custom.deep") && line.contains(&deep), "{line}");
    let customer = server.customer().await;
    let mut refused = server.command();
    refused.args(["events", "tail", "--url", server.url(), "--token", "nonsense"]);
    run(&mut refused).failed(&["401", "unauthorized"]);
    let mut own = server.command();
    own.env("TRADEWIND_TOKEN", customer.token.unwrap());
    own.args(["dead-letters", "list", "--url", server.url()]);
    run(&mut own).failed(&["403", "forbidden"]);
}

/// Answers each connection with the next of these, whatever it asks for.
fn answering(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_given_token_is_over_ends_with_the_reason() {
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\nid:1\n\n";
    let problem = r#"{"code":"token-expired","detail":"Refresh the token."}"#;
    let refusal = format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{problem}",
        problem.len()
    );
    let url = answering(vec![stream.to_owned(), refusal]);
    let mut tail = crate::support::tradewind();
    tail.args(["events", "tail", "--url", &url, "--token", "x"]);
    let ended = tokio::task::spawn_blocking(move || run(&mut tail));
    let ended = tokio::time::timeout(DEADLINE, ended).await.unwrap().unwrap();
    ended.failed(&["token-expired", "Refresh the token."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_slowed_down_says_so_and_one_that_is_interrupted_leaves_nothing() {
    let slow = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let refusal = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let url = answering(vec![slow.to_owned(), slow.to_owned(), refusal.to_owned()]);
    let mut replay = crate::support::tradewind();
    replay
        .env("TRADEWIND_ADMIN_EMAIL", "a@example.com")
        .env("TRADEWIND_ADMIN_PASSWORD", "long enough");
    replay.args(["replay", "--against", &url]);
    let ended = tokio::task::spawn_blocking(move || run(&mut replay)).await.unwrap();
    assert_eq!(
        ended.err().matches("TRADEWIND_RATE_LIMIT_ANONYMOUS=off").count(),
        1,
        "{}",
        ended.err()
    );

    let directory = tempfile::tempdir().unwrap();
    let mut demo = crate::support::tradewind();
    demo.arg("demo").env("TMPDIR", directory.path()).stdout(Stdio::piped());
    let mut demo = demo.spawn().unwrap();
    let first = BufReader::new(demo.stdout.take().unwrap()).lines().next();
    assert!(first.unwrap().unwrap().contains("listen"));
    crate::support::signal("INT", demo.id());
    let ended = tokio::task::spawn_blocking(move || demo.wait().unwrap()).await.unwrap();
    assert!([Some(130), Some(141)].contains(&ended.code()), "{ended:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn dead_letters_are_listed() {
    let server = Server::start().await;
    let dead_letters = |arguments: &[&str]| {
        let mut command = server.command();
        command
            .arg("dead-letters")
            .args(arguments)
            .args(["--url", server.url()]);
        run(&mut command)
    };
    assert_eq!(dead_letters(&["list"]).done(), "There are no dead letters.\n");
    assert_eq!(dead_letters(&["list", "--json"]).json(), json!([]));
    assert_eq!(
        dead_letters(&["list", "--json", "--service", "orders"]).json(),
        json!([])
    );
    let wrong = dead_letters(&["list", "--service", "ordres"]);
    assert_eq!(wrong.0.status.code(), Some(2));
    assert!(wrong.err().contains("ordres"), "{}", wrong.err());
    let mut elsewhere = server.command();
    run(elsewhere.args(["dead-letters", "list", "--url", "http://127.0.0.1:1"])).failed(&["http://127.0.0.1:1"]);
    let mut nobody = crate::support::tradewind();
    run(nobody.args(["dead-letters", "list", "--url", server.url()])).failed(&["--token", "TRADEWIND_ADMIN_EMAIL"]);
}
