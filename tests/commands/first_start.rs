//! The first start, and the first admin.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::run;
use crate::support::{Server, signal, tradewind};

/// From the command to the line that says where it listens, on an empty directory.
const FIRST_START_MAX: Duration = Duration::from_millis(300);
/// The best of so many counts: the machine has other things to do.
const STARTS: usize = 5;
const EMAIL: &str = "admin@tradewind.local";

#[cfg(target_os = "linux")]
#[test]
fn the_limit_on_open_files_is_raised() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Command::new("sh");
    // Fewer than a thousand connections is what most machines leave a process that does not ask.
    server
        .args(["-c", "ulimit -Sn 400 && exec \"$0\" serve"])
        .arg(tradewind().get_program());
    server
        .env("TRADEWIND_LISTEN", "127.0.0.1:0")
        .current_dir(directory.path());
    let mut server = server.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let listens = BufReader::new(server.stdout.take().unwrap()).lines().next();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(listens.unwrap().unwrap().contains("listens"));
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] > 400 && numbers[0] == numbers[1].min(16_896), "{line}");
}

#[tokio::test]
async fn the_first_start_makes_an_admin_and_says_so_once() {
    let settings = Server::settings().without("admin_email").without("admin_password");
    let mut server = settings.start().await;
    let file = server.data().join("admin-password");
    let password = std::fs::read_to_string(&file).unwrap().trim_end().to_owned();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(password.len() >= 24, "{password}");
    let printed = server.printed().to_owned();
    for part in [EMAIL, &password, file.canonicalize().unwrap().to_str().unwrap()] {
        assert_eq!(printed.matches(part).count(), 1, "{part:?} in {printed}");
    }
    let admin = server.anonymous().signed_in(EMAIL, &password).await;
    let me = admin.get("/api/users/me").await.expect(200);
    assert_eq!((&me.json["role"], &me.json["email"]), (&json!("admin"), &json!(EMAIL)));
    for crashes in [false, true] {
        if crashes {
            server.kill()
        } else {
            server.stop()
        }
        server.start_again().await;
        assert!(
            !server.printed().contains(&password) && !server.printed().contains(EMAIL),
            "{}",
            server.printed()
        );
        server.anonymous().signed_in(EMAIL, &password).await;
    }
    assert!(!server.log().contains(&password));
}

#[tokio::test]
async fn nobody_else_on_the_machine_may_read_the_data() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let product = admin.product(10).await;
    server.customer().await.paid_order(&product, 1).await;
    let mut paths = vec![server.data()];
    paths.extend(
        std::fs::read_dir(server.data())
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    assert!(paths.len() > 10, "{paths:?}");
    for path in paths {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
    }
}

#[tokio::test]
async fn the_configured_admin_is_made_instead_and_printed_nowhere() {
    let mut server = Server::start().await;
    assert!(!server.data().join("admin-password").exists());
    assert!(!server.printed().contains("password"), "{}", server.printed());
    // Another password in the configuration changes nothing.
    server.restart_with("admin_password", "quite another password").await;
    let login = json!({"email": crate::support::ADMIN_EMAIL, "password": "quite another password"});
    server
        .anonymous()
        .post("/api/login", login)
        .await
        .refused(401, "invalid-credentials");
    server.admin().await;
}

#[tokio::test]
async fn an_admin_is_made_while_the_shop_is_closed() {
    let mut server = Server::start().await;
    let customer = server.customer().await;
    server.stop();
    let create = |email: &str, password: &str| {
        let mut command = server.command();
        command.args(["admin", "create", "--json", "--email", email, "--password", password]);
        run(&mut command)
    };
    let made = create("second@example.com", "a long password");
    assert_eq!((&made.json()["outcome"], &*made.err()), (&json!("created"), ""));
    assert_eq!(
        create("second@example.com", "another password").json()["outcome"],
        "already"
    );
    let promoted = create(&customer.email, "the password of an admin").json();
    assert_eq!(
        (&promoted["outcome"], &promoted["user_id"]),
        (&json!("promoted"), &json!(customer.id))
    );
    create("third@example.com", "short").failed(&["password", "8"]);
    assert_eq!(create("no e-mail", "a long password").0.status.code(), Some(2));
    let mut piped = server.command();
    piped
        .env_remove("TRADEWIND_ADMIN_EMAIL")
        .env_remove("TRADEWIND_ADMIN_PASSWORD");
    piped.args(["admin", "create", "--email", "piped@example.com"]);
    let mut child = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"from the standard input\n")
        .unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    server.start_again().await;
    let accounts = [
        ("second@example.com", "a long password"),
        (customer.email.as_str(), "the password of an admin"),
        ("piped@example.com", "from the standard input"),
    ];
    for (email, password) in accounts {
        let admin = server.anonymous().signed_in(email, password).await;
        admin.get("/api/users").await.expect(200);
    }
}

/// It is asked to end as soon as it says that it is there, and says so itself to nobody.
#[test]
fn a_server_whose_output_nobody_reads_any_more_ends_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut serve = tradewind();
    serve
        .arg("serve")
        .current_dir(directory.path())
        .env("TRADEWIND_LISTEN", "127.0.0.1:0");
    let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("listens on"), "{line}");
    signal("TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A request that never ends would be waited for; whoever does not want to wait says so again.
#[test]
fn told_a_second_time_a_server_ends_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut serve = tradewind();
    serve
        .arg("serve")
        .current_dir(directory.path())
        .env("TRADEWIND_LISTEN", "127.0.0.1:0");
    let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |wanted: &str| lines.find_map(|line| line.unwrap().split_once(wanted).map(|it| it.1.to_owned()));
    let address = until("http://").unwrap();
    let mut client = std::net::TcpStream::connect(address).unwrap();
    let head = "POST /api/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
        content-length: 9\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    // It asks for the body, so the request is under way.
    client.read_exact(&mut [0]).unwrap();
    signal("TERM", child.id());
    until("finishes what was accepted").unwrap();
    assert!(child.try_wait().unwrap().is_none(), "the request was not waited for");
    signal("TERM", child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("ended at once"), "{said}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a process is measured from outside")]
fn the_first_start_is_quick() {
    let took = (0..STARTS).map(|_| {
        let directory = tempfile::tempdir().unwrap();
        let mut serve = tradewind();
        serve
            .arg("serve")
            .current_dir(directory.path())
            .env("TRADEWIND_LISTEN", "127.0.0.1:0");
        let started = Instant::now();
        let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let took = started.elapsed();
        assert!(line.contains("listens on"), "{line}");
        signal("TERM", child.id());
        // What it still prints must have somebody to read it.
        while lines.read_line(&mut line).unwrap() > 0 {}
        assert!(child.wait().unwrap().success());
        took
    });
    let took: Vec<Duration> = took.collect();
    let best = took.iter().min().unwrap();
    println!("first starts took {took:?}");
    if cfg!(debug_assertions) {
        println!("not asserted: this is no release build");
    } else {
        assert!(
            *best < FIRST_START_MAX,
            "the best of {took:?} is above {FIRST_START_MAX:?}"
        );
    }
}
