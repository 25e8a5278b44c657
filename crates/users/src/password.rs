//! Passwords: the port behind which they are hashed, Argon2id for real, and a cheap stand-in for simulations.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use contracts::{Password, PasswordAttempt};
use kernel::clock::Ids;
use tokio::sync::{Semaphore, oneshot};

/// Memory of one hash, in KiB: 19 MiB.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over it.
const PASSES: u32 = 2;
/// Lanes of it.
const LANES: u32 = 1;
/// Salt of one hash, in bytes.
const SALT_BYTES: usize = 16;
/// Of the threads that hash: about a tenth of others' time, if those want it all.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;
/// Passwords that wait to be hashed or verified, or are about to be: at about 20 ms each, more would wait for too long.
pub const PASSWORDS_QUEUED_MAX: usize = 128;

/// Verified where there is no account, so that it takes as long. No password is known to have this hash.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password was neither hashed nor verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too many others wait; come back in a moment.
    #[error("too many passwords wait to be hashed")]
    Overloaded,
    /// The reason, for the log.
    #[error("a password cannot be hashed: {0}")]
    Failed(String),
}

/// Hashes passwords, slowly.
///
/// What every implementation owes:
///
/// - A hash is a PHC string, salted, so that equal passwords have different ones; [`verify`](Self::verify) takes those
///   that were made earlier under other parameters.
/// - Verifying takes as long whether there is a hash or not, and whether the password is right or not.
/// - Neither blocks the runtime's threads, and what waits is bounded.
#[async_trait]
pub trait PasswordHasher: Send + Sync + fmt::Debug {
    /// The hash of a new password.
    async fn hash(&self, password: Password) -> Result<Arc<str>, Error>;

    /// Whether it is the password. `None`, for an account that is not there, is never right.
    async fn verify(&self, attempt: PasswordAttempt, hash: Option<Arc<str>>) -> Result<bool, Error>;
}

/// Argon2id with 19 MiB, two passes and one lane (OWASP's Password Storage Cheat Sheet), on threads of its own that leave
/// the processors to all others.
pub struct Argon2Hasher {
    argon2: Argon2<'static>,
    ids: Arc<Ids>,
    queued: Arc<Semaphore>,
    threads: rayon::ThreadPool,
}

impl fmt::Debug for Argon2Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Argon2Hasher")
            .field("argon2", &self.argon2)
            .finish_non_exhaustive()
    }
}

impl Argon2Hasher {
    /// Hashes so many at once, and takes salt from `ids`.
    ///
    /// # Panics
    /// If the operating system has no more threads.
    #[must_use]
    pub fn new(ids: Arc<Ids>, concurrent: NonZeroUsize) -> Self {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the constants are within Argon2's limits");
        Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            ids,
            queued: Arc::new(Semaphore::new(PASSWORDS_QUEUED_MAX)),
            threads: rayon::ThreadPoolBuilder::new()
                .num_threads(concurrent.get())
                .thread_name(|_| "password".to_owned())
                .start_handler(|_| stand_back())
                .build()
                .expect("a process that starts has threads left"),
        }
    }

    /// Hashes as many at once as the machine has processors.
    #[must_use]
    pub fn on_all_processors(ids: Arc<Ids>) -> Self {
        Self::new(ids, std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// Runs the work when it is its turn.
    async fn work<R: Send + 'static>(
        &self,
        work: impl FnOnce(Argon2<'static>) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        let place = Arc::clone(&self.queued)
            .try_acquire_owned()
            .map_err(|_| Error::Overloaded)?;
        let argon2 = self.argon2.clone();
        let (done, outcome) = oneshot::channel();
        self.threads.spawn(move || {
            // Held until the work is done, even if whoever asked goes away meanwhile.
            let _place = place;
            if !done.is_closed() {
                let _ = done.send(work(argon2));
            }
        });
        outcome
            .await
            .map_err(|_| Error::Failed("the thread that hashed it panicked".to_owned()))?
    }
}

/// Lets others of the process go first, so that a storm of logins slows nobody down but those who log in.
fn stand_back() {
    // Elsewhere niceness is the process's, not the thread's.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::warn!(%error, "threads that hash passwords have the priority of others");
    }
}

#[async_trait]
impl PasswordHasher for Argon2Hasher {
    async fn hash(&self, password: Password) -> Result<Arc<str>, Error> {
        let mut salt = [0; SALT_BYTES];
        self.ids.fill(&mut salt);
        let hashed = self.work(move |argon2| {
            let hash = argon2.hash_password_with_salt(password.as_str().as_bytes(), &salt);
            hash.map(|hash| hash.to_string().into())
                .map_err(|error| Error::Failed(error.to_string()))
        });
        hashed.await
    }

    async fn verify(&self, attempt: PasswordAttempt, hash: Option<Arc<str>>) -> Result<bool, Error> {
        let verified = self.work(move |argon2| {
            let stored = PasswordHash::new(hash.as_deref().unwrap_or(NOBODYS));
            let stored = stored.map_err(|error| Error::Failed(error.to_string()))?;
            let right = argon2.verify_password(attempt.as_str().as_bytes(), &stored).is_ok();
            Ok(right && hash.is_some())
        });
        verified.await
    }
}

/// Hashes at once, the same each time, and unsafely: for tests and simulations alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimulatedHasher;

impl SimulatedHasher {
    fn hashed(password: &str) -> Arc<str> {
        format!(
            "$simulated${}",
            STANDARD_NO_PAD.encode(digest(&SHA256, password.as_bytes()))
        )
        .into()
    }
}

#[async_trait]
impl PasswordHasher for SimulatedHasher {
    async fn hash(&self, password: Password) -> Result<Arc<str>, Error> {
        Ok(Self::hashed(password.as_str()))
    }

    async fn verify(&self, attempt: PasswordAttempt, hash: Option<Arc<str>>) -> Result<bool, Error> {
        Ok(hash.is_some_and(|hash| hash == Self::hashed(attempt.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argon2() -> Arc<Argon2Hasher> {
        Arc::new(Argon2Hasher::new(Arc::new(Ids::from_seed(1)), NonZeroUsize::MIN))
    }

    fn attempt(password: &str) -> PasswordAttempt {
        password.try_into().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn threads_that_hash_leave_the_processors_to_others() {
        let niceness = || rustix::process::getpriority_process(None).map_err(|error| Error::Failed(error.to_string()));
        let others = niceness().unwrap();
        assert_eq!(argon2().work(move |_| niceness()).await, Ok(others + NICENESS));
        assert_eq!(niceness(), Ok(others));
    }

    #[tokio::test]
    async fn a_hash_is_argon2id_of_the_agreed_cost_and_salted() {
        let argon2 = argon2();
        let password = Password::try_from("correct horse").unwrap();
        let [first, second] = [
            argon2.hash(password.clone()).await.unwrap(),
            argon2.hash(password).await.unwrap(),
        ];
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, second);
        assert_eq!(first.len(), NOBODYS.len());
        assert_eq!(
            argon2.verify(attempt("correct horse"), Some(Arc::clone(&first))).await,
            Ok(true)
        );
        assert_eq!(argon2.verify(attempt("correct horse "), Some(first)).await, Ok(false));
    }

    #[tokio::test]
    async fn an_earlier_hash_of_other_cost_is_verified_too() {
        let params = Params::new(64, 1, 1, None).unwrap();
        let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = cheap
            .hash_password_with_salt(b"correct horse", &[1; 16])
            .unwrap()
            .to_string();
        assert_eq!(
            argon2().verify(attempt("correct horse"), Some(hash.into())).await,
            Ok(true)
        );
    }

    #[tokio::test]
    async fn nobody_has_a_password_and_it_is_computed_all_the_same() {
        let parsed = PasswordHash::new(NOBODYS).unwrap();
        let params = Params::try_from(&parsed).unwrap();
        assert_eq!(
            (params.m_cost(), params.t_cost(), params.p_cost()),
            (MEMORY_KIB, PASSES, LANES)
        );
        assert_eq!(parsed.hash.unwrap().as_bytes().len(), 32);
        assert_eq!(argon2().verify(attempt("correct horse"), None).await, Ok(false));
    }

    #[tokio::test]
    async fn a_stored_hash_that_is_none_is_our_fault() {
        assert!(matches!(
            argon2().verify(attempt("x"), Some("plain".into())).await,
            Err(Error::Failed(_))
        ));
    }

    #[tokio::test]
    async fn a_storm_is_bounded_and_those_who_went_away_hold_their_place_no_longer() {
        let argon2 = argon2();
        let verify = || {
            let argon2 = Arc::clone(&argon2);
            tokio::spawn(async move { argon2.verify(attempt("x"), None).await })
        };
        let storm: Vec<_> = (0..PASSWORDS_QUEUED_MAX * 2).map(|_| verify()).collect();
        // Each of them asks for its place before more than a few have had their turn.
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        let mut overloaded = 0;
        for one in storm.into_iter().rev() {
            if one.is_finished() {
                overloaded += usize::from(one.await.unwrap() == Err(Error::Overloaded));
            } else {
                one.abort();
            }
        }
        assert!(
            (PASSWORDS_QUEUED_MAX - 16..=PASSWORDS_QUEUED_MAX).contains(&overloaded),
            "{overloaded}"
        );
        while argon2.queued.available_permits() < PASSWORDS_QUEUED_MAX {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(verify().await.unwrap(), Ok(false));
    }

    #[tokio::test]
    async fn the_simulation_tells_passwords_apart() {
        let hash = SimulatedHasher.hash("correct horse".try_into().unwrap()).await.unwrap();
        assert_eq!(
            SimulatedHasher
                .verify(attempt("correct horse"), Some(Arc::clone(&hash)))
                .await,
            Ok(true)
        );
        assert_eq!(SimulatedHasher.verify(attempt("wrong"), Some(hash)).await, Ok(false));
        assert_eq!(SimulatedHasher.verify(attempt("correct horse"), None).await, Ok(false));
    }
}
