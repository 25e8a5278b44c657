//! Developer commands. `cargo xtask test` checks everything that a change must keep; CI runs the same.

use std::process::ExitCode;

use clap::Parser;

mod cluster;
mod fuzz;
mod lanes;
mod matrix;
mod mutants;
mod report;
mod services;
mod step;
mod tally;

use report::Report;
use servers::Kind;
use step::Step;

const FORMAT: Step = Step::cargo("format", &["fmt", "--all", "--check"]);
const LINTS: Step = Step::cargo(
    "lints",
    &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"],
);
/// After the lints: it finds the dependencies checked already.
const DOCS: Step =
    Step::cargo("docs", &["doc", "--workspace", "--no-deps"]).with(&[("RUSTDOCFLAGS", "--deny warnings")]);
const TESTS: Step = Step::cargo("tests", &["test", "--no-run", "--workspace", MESSAGES]).in_lanes();
const EXAMPLES: Step = Step::cargo("doc tests", &["test", "--doc", "--workspace", "--no-fail-fast"]).counted();
/// What Cargo built is told in a form to be read, and what the compiler says of it is not.
const MESSAGES: &str = "--message-format=json-render-diagnostics";

/// With the drivers of all databases and brokers, and the tests that need real ones.
const ALL_LINTS: Step = Step::cargo(
    "lints",
    &[
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        FEATURES,
        "--",
        "--deny",
        "warnings",
    ],
);
const ALL_DOCS: Step = Step::cargo("docs", &["doc", "--workspace", "--no-deps", "--features", FEATURES])
    .with(&[("RUSTDOCFLAGS", "--deny warnings")]);
const ALL_TESTS: Step = Step::cargo(
    "tests",
    &["test", "--no-run", "--workspace", MESSAGES, "--features", FEATURES],
)
.in_lanes();
const ALL_EXAMPLES: Step = Step::cargo(
    "doc tests",
    &["test", "--doc", "--workspace", "--no-fail-fast", "--features", FEATURES],
)
.counted();
const FEATURES: &str = "tradewind/full,store-mongodb/servers,bus-nats/servers,bus-rabbitmq/servers,bus-redis/servers,\
                        bus-kafka/servers,limit-redis/servers";

/// Seeds of the simulation, each a whole shop with faults. Tokio's own choices are under the seed too, for which it is
/// built apart. The usual seeds run for 82 s as they are quickest built, and 8 as for release, which takes four minutes longer to build.
const SIMULATION: Step = Step::cargo("simulation", &["run", "--quiet", "--package", "simulation", "--"]).with(SEEDED);
/// As many seeds as are asked for.
const SIMULATE: Step = Step::cargo(
    "simulation",
    &["run", "--quiet", "--release", "--package", "simulation", "--"],
)
.with(SEEDED);
const SEEDED: &[(&str, &str)] = &[
    ("RUSTFLAGS", "--cfg tokio_unstable"),
    ("CARGO_TARGET_DIR", "target/simulation"),
];

/// The real binary, built for release: a crash may depend on how fast it is.
const CRASH: Step = Step::cargo("crash", &["run", "--quiet", "--release", "--package", "crash", "--"]);

const ON_SERVERS: &[Step] = &[FORMAT, ALL_LINTS, ALL_DOCS, ALL_TESTS, ALL_EXAMPLES, SIMULATION];

const SPELLING: Step = Step::tool("spelling", "typos", &[]);
const UNUSED: Step = Step::cargo("unused dependencies", &["machete"]).optional();
/// Without the advisories, which are fetched from outside the registry.
const DEPENDENCIES: Step = Step::cargo("dependencies", &["deny", "check", "bans", "licenses", "sources"]).optional();

/// Developer commands.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    /// Check formatting, lints and documentation, and run all tests. Needs nothing but Rust and a C compiler
    Test {
        /// On real databases and brokers too, which are installed if need be (as root, from Debian's packages) and started in private
        #[arg(long)]
        servers: bool,
    },
    /// The same, with typos, cargo-machete and cargo-deny where they are installed
    Ci,
    /// Break each promise on purpose, in a copy of the tree, and see that something notices
    Mutants {
        /// Only these, by the names of their patches in xtask/mutants
        names: Vec<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Let libFuzzer look for bytes that are read as they should not be; needs a nightly compiler and cargo-fuzz
    Fuzz {
        /// Only this one, of those in fuzz/corpus
        target: Option<String>,
        /// How long each is fuzzed
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Install what is missing and start private databases and brokers for tests, until Ctrl-C; prints how to reach them
    Services {
        /// Only these; all of them unless told otherwise
        kinds: Vec<Kind>,
    },
    /// Run every service in processes of its own, on private databases and a broker, with two gateways behind nginx, until Ctrl-C
    Cluster(cluster::Options),
    /// Run the real binary under load, kill and starve it round after round, and check its books (`crash --help` says more)
    #[command(disable_help_flag = true)]
    Crash {
        /// What the harness is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the whole shop in one thread under seeds, with faults between any two steps (`sim --help` says more)
    #[command(disable_help_flag = true)]
    Sim {
        /// What the simulation is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let steps: &[Step] = match Command::parse() {
        Command::Test { servers: false } => &[FORMAT, LINTS, DOCS, TESTS, EXAMPLES, SIMULATION],
        Command::Test { servers: true } => return exit(services::test(ON_SERVERS)),
        Command::Ci => &[
            FORMAT,
            SPELLING,
            UNUSED,
            DEPENDENCIES,
            LINTS,
            DOCS,
            TESTS,
            EXAMPLES,
            SIMULATION,
        ],
        Command::Crash { arguments } => return CRASH.replace(&arguments),
        Command::Sim { arguments } => return SIMULATE.replace(&arguments),
        Command::Mutants { names, json } => return exit(mutants::run(&names, json)),
        Command::Services { kinds } => return exit(services::run(&kinds)),
        Command::Cluster(options) => return exit(cluster::run(&options)),
        Command::Fuzz { target, seconds } => return exit(fuzz::run(target, seconds)),
    };
    let code = Report::default().run(steps);
    println!(
        "not tested: PostgreSQL, MariaDB, MongoDB, NATS, RabbitMQ, Redis and Kafka; `cargo xtask test --servers` does that"
    );
    code
}

fn exit(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
