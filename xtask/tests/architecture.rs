//! Which crate may depend on which: tradewind → gateway, services, adapters → kernel → contracts.

use std::process::Command;

use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    /// Words that services and clients share. No I/O.
    Contracts,
    Kernel,
    Service,
    Gateway,
    /// Databases and brokers; only the binary knows them.
    Adapter,
    /// What counts requests for the gateway; only the binary knows it.
    Limiter,
    /// How a server is reached that several adapters speak to.
    Access,
    /// Only tests know it.
    Testkit,
    /// Real databases and brokers, for tests; on its own.
    Servers,
    Binary,
    /// The whole shop in one thread, for tests.
    Simulation,
    /// Any bytes for whatever reads them, for tests.
    Fuzzing,
    /// The binary under load, and how it dies, for tests.
    Crash,
    /// Commands for developers; on their own.
    Tools,
}

/// A new crate is given its layer here.
fn layer(name: &str) -> Option<Layer> {
    Some(match name {
        "contracts" => Layer::Contracts,
        "kernel" => Layer::Kernel,
        "users" | "catalog" | "inventory" | "orders" | "payments" | "notifications" | "events" => Layer::Service,
        "gateway" => Layer::Gateway,
        "testkit" => Layer::Testkit,
        "servers" => Layer::Servers,
        "tradewind" => Layer::Binary,
        "simulation" => Layer::Simulation,
        "fuzzing" => Layer::Fuzzing,
        "crash" => Layer::Crash,
        "xtask" => Layer::Tools,
        "redis-access" => Layer::Access,
        _ if name.starts_with("limit-") => Layer::Limiter,
        _ if name.starts_with("store-") || name.starts_with("bus-") => Layer::Adapter,
        _ => return None,
    })
}

/// Both ends are crates of this workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edge {
    from: String,
    to: String,
    /// Only for tests, examples and benchmarks.
    is_dev: bool,
}

fn is_allowed(edge: &Edge) -> bool {
    use Layer::{
        Access, Adapter, Binary, Contracts, Crash, Fuzzing, Gateway, Kernel, Limiter, Servers, Service, Simulation,
        Testkit, Tools,
    };
    let (Some(from), Some(to)) = (layer(&edge.from), layer(&edge.to)) else {
        return false;
    };
    match from {
        Contracts | Servers => false,
        Tools => to == Servers,
        _ if to == Servers => edge.is_dev || matches!(from, Crash | Testkit),
        _ if to == Testkit => edge.is_dev || matches!(from, Simulation | Crash),
        Kernel => to == Contracts,
        Service | Gateway | Access => matches!(to, Contracts | Kernel),
        // The gateway has a port of its own, with a suite.
        Testkit => matches!(to, Contracts | Kernel | Gateway),
        Adapter => matches!(to, Contracts | Kernel | Access),
        Limiter => matches!(to, Contracts | Kernel | Gateway | Access),
        Simulation => matches!(to, Contracts | Kernel | Service),
        Binary => matches!(to, Contracts | Kernel | Service | Gateway | Adapter | Limiter),
        Fuzzing => matches!(to, Contracts | Kernel | Service | Gateway | Binary),
        Crash => matches!(to, Contracts | Kernel | Service | Binary),
    }
}

fn cargo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output();
    let output = output.expect("cargo runs this test");
    assert!(
        output.status.success(),
        "cargo {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn packages() -> Vec<Value> {
    let metadata = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let mut metadata: Value = serde_json::from_slice(&metadata).expect("cargo writes JSON");
    let Value::Array(packages) = metadata["packages"].take() else {
        panic!("cargo metadata names no packages")
    };
    packages
}

fn name(package: &Value) -> String {
    package["name"].as_str().expect("a package has a name").to_owned()
}

fn edges() -> Vec<Edge> {
    let mut edges = Vec::new();
    for package in packages() {
        for dependency in package["dependencies"]
            .as_array()
            .expect("a package lists its dependencies")
        {
            if dependency["path"].is_string() {
                let is_dev = dependency["kind"] == "dev";
                edges.push(Edge {
                    from: name(&package),
                    to: name(dependency),
                    is_dev,
                });
            }
        }
    }
    edges
}

#[test]
fn every_crate_has_a_layer() {
    let unknown: Vec<_> = packages()
        .iter()
        .map(name)
        .filter(|name| layer(name).is_none())
        .collect();
    assert!(unknown.is_empty(), "give {unknown:?} a layer in {}", file!());
}

#[test]
fn dependencies_point_from_the_binary_to_the_contracts() {
    let edges = edges();
    let wrong: Vec<_> = edges.iter().filter(|edge| !is_allowed(edge)).collect();
    assert!(wrong.is_empty(), "these dependencies are not allowed: {wrong:#?}");
    let known = Edge {
        from: "kernel".into(),
        to: "contracts".into(),
        is_dev: false,
    };
    assert!(edges.contains(&known), "dependencies are not seen at all: {edges:?}");
}

#[test]
fn a_dependency_that_points_the_wrong_way_is_refused() {
    for (from, to) in [
        ("contracts", "kernel"),
        ("kernel", "catalog"),
        ("kernel", "store-sql"),
        ("orders", "payments"),
        ("orders", "store-sql"),
        ("orders", "gateway"),
        ("gateway", "users"),
        ("store-sql", "bus-nats"),
        ("bus-nats", "tradewind"),
        ("redis-access", "bus-redis"),
        ("limit-redis", "bus-redis"),
        ("bus-redis", "gateway"),
        ("gateway", "limit-redis"),
        ("orders", "redis-access"),
        ("tradewind", "redis-access"),
        ("testkit", "orders"),
        ("xtask", "contracts"),
        ("fuzzing", "store-sql"),
        ("tradewind", "fuzzing"),
        ("crash", "store-sql"),
        ("tradewind", "crash"),
        ("tradewind", "something-new"),
        ("servers", "kernel"),
    ] {
        for is_dev in [false, true] {
            let edge = Edge {
                from: from.into(),
                to: to.into(),
                is_dev,
            };
            assert!(!is_allowed(&edge), "{edge:?}");
        }
    }
    for (from, to) in [
        ("kernel", "testkit"),
        ("orders", "testkit"),
        ("gateway", "testkit"),
        ("store-sql", "testkit"),
        ("store-sql", "servers"),
        ("tradewind", "testkit"),
        ("tradewind", "servers"),
    ] {
        let edge = |is_dev| Edge {
            from: from.into(),
            to: to.into(),
            is_dev,
        };
        assert!(
            is_allowed(&edge(true)) && !is_allowed(&edge(false)),
            "{from} → {to} is for tests only"
        );
    }
}

#[test]
fn contracts_bring_no_runtime_server_or_database() {
    let tree = "tree --offline --package contracts --edges normal,build --prefix none --format {lib}";
    let tree = cargo(&tree.split(' ').collect::<Vec<_>>());
    let tree = String::from_utf8(tree).expect("crates have plain names");
    let libraries: Vec<_> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(
        libraries.contains(&"serde"),
        "dependencies are not seen at all: {libraries:?}"
    );
    for forbidden in [
        "tokio", "axum", "hyper", "mio", "reqwest", "rusqlite", "sqlx", "tracing",
    ] {
        assert!(
            !libraries.contains(&forbidden),
            "contracts must do no I/O, and depends on {forbidden}"
        );
    }
}

/// The README's first command is `cargo run --release -- demo`.
#[test]
fn cargo_run_runs_tradewind_without_being_told_which() {
    let metadata = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: Value = serde_json::from_slice(&metadata).expect("cargo writes JSON");
    let default = metadata["workspace_default_members"]
        .as_array()
        .expect("a list of packages");
    let run = packages()
        .into_iter()
        .filter(|package| default.contains(&package["id"]));
    let binaries: Vec<Value> = run
        .flat_map(|package| package["targets"].as_array().cloned().unwrap_or_default())
        .filter(|target| target["kind"][0] == "bin")
        .map(|target| target["name"].clone())
        .collect();
    assert_eq!(binaries, ["tradewind"]);
}
