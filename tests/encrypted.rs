//! Databases that are reached over TLS: what vouches for a server is named in the URL, and one that it does not vouch for is
//! not spoken to.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use servers::{Kind, Server as Database};
use support::tradewind;

/// What asks for an encrypted connection to a server that this authority vouches for.
fn encrypted(kind: Kind, url: &str, authority: &Path) -> String {
    let authority = authority.display();
    match kind {
        Kind::Postgres => format!("{url}?sslmode=verify-full&sslrootcert={authority}"),
        Kind::Mariadb => format!("{url}?ssl-mode=VERIFY_IDENTITY&ssl-ca={authority}"),
        Kind::Mongodb => format!("{url}&tls=true&tlsCAFile={authority}"),
        Kind::Nats | Kind::Rabbitmq | Kind::Redis | Kind::Kafka => unreachable!("it is no database"),
    }
}

fn migrate(url: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = tradewind();
    command.arg("migrate").current_dir(directory.path());
    command.env("TRADEWIND_STORE", url).output().unwrap()
}

fn only_who_is_vouched_for_is_spoken_to(kind: Kind) {
    let directory = tempfile::tempdir().unwrap();
    // The database runs as a user of its own.
    set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let database = Database::start(kind, &directory.path().join("database")).unwrap();
    let stranger = Database::start(kind, &directory.path().join("stranger")).unwrap();

    let migrated = migrate(&encrypted(kind, &database.url(), &database.authority().unwrap()));
    let said = String::from_utf8_lossy(&migrated.stderr);
    assert!(migrated.status.success(), "{said}");

    let refused = migrate(&encrypted(kind, &database.url(), &stranger.authority().unwrap()));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    for part in ["certificate", "check that the file named in the URL"] {
        assert!(said.lines().count() == 1 && said.contains(part), "{part}: {said}");
    }

    let refused = migrate(&encrypted(kind, &database.url(), &directory.path().join("nothing.pem")));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("No such file"), "{said}");
}

#[test]
fn only_a_postgres_that_is_vouched_for_is_spoken_to() {
    only_who_is_vouched_for_is_spoken_to(Kind::Postgres);
}

#[test]
fn only_a_mariadb_that_is_vouched_for_is_spoken_to() {
    only_who_is_vouched_for_is_spoken_to(Kind::Mariadb);
}

#[test]
fn only_a_mongodb_that_is_vouched_for_is_spoken_to() {
    only_who_is_vouched_for_is_spoken_to(Kind::Mongodb);
}
