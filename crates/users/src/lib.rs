//! Users: accounts, sign-in, roles and the tokens that say who somebody is.

use std::sync::Arc;

use contracts::Secret;
use kernel::access::AccessEvents;
use kernel::auth::Verifier;
use kernel::bus::Bus;
use kernel::document::{Collection, Document};
use kernel::engine::Engine;
use kernel::http::Kit;
use kernel::reaction::Consumers;
use kernel::writer;

mod accounts;
mod admins;
mod attempts;
mod erasure;
mod error;
mod events;
mod http;
mod identifiers;
mod keys;
pub mod password;
mod records;
mod refresh_token;
mod session;
mod sign_in;
mod user;
mod views;

pub use admins::AdminCreated;
pub use attempts::{FAILED_MAX, WINDOW};
pub use error::Error;
pub use events::Event;
pub use keys::{KEY_SET_CACHED_SECONDS, Keys, PUBLISHED_AHEAD, VERIFIES_AFTER};
pub use password::{Argon2Hasher, PasswordHasher, SimulatedHasher};
pub use session::{REFRESH_TOKEN_LIFETIME, REPEAT_ALLOWED};
pub use user::{Command, Status, User};
pub use views::fold;

/// What users keeps besides what every service has.
pub const COLLECTIONS: &[&Collection] = &[
    User::COLLECTION,
    views::Admins::COLLECTION,
    records::Profile::COLLECTION,
    identifiers::Identifier::COLLECTION,
    records::Credential::COLLECTION,
    session::Session::COLLECTION,
    keys::KeyRing::COLLECTION,
];

/// What users works with besides its engine.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Signs tokens. Opened first, since the verifier takes its keys from there.
    pub keys: Keys,
    /// Hashes passwords.
    pub hasher: Arc<dyn PasswordHasher>,
    /// Where it is told that somebody read an account.
    pub access: AccessEvents,
}

/// What an operator says about users.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What services sign in with; without it they cannot. Comes from `TRADEWIND_SERVICE_SECRET`.
    pub service_secret: Option<Secret>,
}

/// The use cases: accounts ([`sign_up`](Self::sign_up), [`update`](Self::update), [`set_role`](Self::set_role),
/// [`erase`](Self::erase)), sign-in ([`log_in`](Self::log_in), [`refresh`](Self::refresh), [`log_out`](Self::log_out),
/// [`change_password`](Self::change_password)), and the operator's ([`create_admin`](Self::create_admin)).
#[derive(Clone, Debug)]
pub struct Users {
    engine: Engine,
    consumers: Consumers,
    kit: Kit,
    ports: Ports,
    config: Config,
    pseudonyms: identifiers::Pseudonyms,
    refresh_tokens: refresh_token::RefreshTokens,
    attempts: Arc<attempts::Attempts>,
}

impl Users {
    /// Is ready to answer. The order of construction: [`Keys::open`], then the verifier over [`Keys::key_source`], then
    /// this.
    pub async fn start(
        engine: Engine,
        bus: &Arc<dyn Bus>,
        verifier: &Arc<Verifier>,
        ports: Ports,
        config: Config,
    ) -> Result<Self, writer::Error> {
        let kit = Kit::of(&engine, verifier).await?;
        let pseudonyms = identifiers::Pseudonyms::new(&engine.secret(identifiers::Pseudonyms::SECRET).await?);
        let refresh_tokens =
            refresh_token::RefreshTokens::new(&engine.secret(refresh_token::RefreshTokens::SECRET).await?);
        let attempts = Arc::new(attempts::Attempts::new(Arc::clone(engine.clock())));
        kernel::erasure::start(
            &engine,
            verifier,
            Arc::new(erasure::Sessions { engine: engine.clone() }),
        )
        .await?;
        engine.watch(Arc::new(session::Expiry { engine: engine.clone() }));
        // Users follows nobody: it notes erasures itself.
        let consumers = Consumers::start(&engine, bus, Vec::new());
        Ok(Self {
            engine,
            consumers,
            kit,
            ports,
            config,
            pseudonyms,
            refresh_tokens,
            attempts,
        })
    }

    /// How its consumers are doing.
    #[must_use]
    pub fn consumers(&self) -> &Consumers {
        &self.consumers
    }
}
