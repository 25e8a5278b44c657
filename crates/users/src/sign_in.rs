//! Signing in and out: sessions, passwords, and tokens for services.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use contracts::user::{ChangePassword, Login, RefreshToken, ServiceSignIn, ServiceToken, TokenType, Tokens};
use contracts::{Role, Secret, SessionId, UserId};
use kernel::auth::{Claims, TOKEN_LIFETIME_SECONDS, User as Caller};
use kernel::context::Context;
use kernel::http::IfMatch;
use kernel::writer::{self, Priority};

use crate::accounts::changeable;
use crate::identifiers::Identifier;
use crate::records::{Credential, Profile};
use crate::refresh_token::TokenHash;
use crate::session::{self, Rotation, Session};
use crate::{Command, Error, User, Users};

/// What came of a refresh token.
enum Refreshed {
    /// Its successor belongs to this session.
    Rotated(Caller),
    /// It was spent, so that its session was ended.
    Reused,
    /// Its session has ended before.
    Ended,
}

impl Users {
    /// Begins a session. An unknown e-mail and a wrong password look the same, and take as long.
    pub async fn log_in(&self, request: Login, mut context: Context) -> Result<Tokens, Error> {
        let account = self.pseudonyms.email(&request.email);
        let attempt = self.attempts.begin(&account).await?;
        let owner = self.engine.reader().get::<Identifier>(&account).await?;
        // Nobody has the nil id; the look-up is made all the same.
        let user_id = owner.map_or(UserId::from_uuid(uuid::Uuid::nil()), |owner| owner.user_id);
        let credential = self.engine.reader().get::<Credential>(user_id).await?;
        let hash = credential.as_ref().map(|credential| Arc::clone(&credential.hash));
        if !self.ports.hasher.verify(request.password, hash).await? {
            attempt.failed();
            return Err(Error::InvalidCredentials);
        }
        drop(attempt);
        let credential = credential.ok_or(Error::InvalidCredentials)?;
        let secret = self.draw();
        let first = TokenHash::of(&secret);
        context.actor = user_id.to_string().into();
        let begun = self.engine.writer().execute(Priority::Client, context, move |unit| {
            // The password may have changed, or the account gone, while it was verified.
            let now = unit.get::<Credential>(user_id);
            if now.is_none_or(|now| now.generation != credential.generation || now.hash != credential.hash) {
                return Err(Error::InvalidCredentials);
            }
            let session = SessionId::from_uuid(unit.uuid());
            unit.fresh::<Session>(session);
            unit.put(
                session,
                Session::begin(user_id, credential.generation, first.clone(), unit.now()),
            );
            unit.decide::<User>(user_id, Command::LogIn { session_id: session })?;
            let role = unit.get::<User>(user_id).ok_or(Error::InvalidCredentials)?.role;
            Ok(Caller {
                id: user_id,
                role,
                session,
            })
        });
        Ok(self.tokens(begun.await?, &secret))
    }

    /// Spends a refresh token for the next pair. One that was spent before ends its session, unless it is a repeat.
    pub async fn refresh(&self, request: RefreshToken, context: Context) -> Result<Tokens, Error> {
        let used = self
            .refresh_tokens
            .read(&request.refresh_token)
            .ok_or(Error::SessionEnded)?;
        let secret = self.draw();
        let successor = TokenHash::of(&secret);
        let id = used.session;
        let refreshed = self.engine.writer().execute(Priority::Client, context, move |unit| {
            let Some(session) = unit.get::<Session>(id) else {
                return Ok(Refreshed::Ended);
            };
            let user = unit.get::<User>(session.user_id).filter(|user| user.is_active());
            let credential = unit.get::<Credential>(session.user_id);
            let good = credential.is_some_and(|it| it.generation == session.credential) && !session.is_over(unit.now());
            let Some(user) = user.filter(|_| good) else {
                unit.delete::<Session>(id);
                return Ok(Refreshed::Ended);
            };
            let mut session = Session::clone(&session);
            match session.rotate(&used.hash, successor.clone(), unit.now()) {
                Rotation::Rotated => {
                    unit.put(id, session);
                    Ok(Refreshed::Rotated(Caller {
                        id: user.id,
                        role: user.role,
                        session: id,
                    }))
                }
                Rotation::Reused => {
                    unit.delete::<Session>(id);
                    Ok::<_, Error>(Refreshed::Reused)
                }
            }
        });
        match refreshed.await? {
            Refreshed::Rotated(caller) => Ok(self.tokens(caller, &secret)),
            Refreshed::Reused => {
                tracing::warn!(session = %id, "a spent refresh token was used again; its session was ended");
                Err(Error::SessionEnded)
            }
            Refreshed::Ended => Err(Error::SessionEnded),
        }
    }

    /// Ends the caller's session: its refresh tokens at once, its access tokens within their lifetime.
    pub async fn log_out(&self, by: Caller, context: Context) -> Result<(), Error> {
        let ended = self.engine.writer().execute(Priority::Client, context, move |unit| {
            if unit
                .get::<Session>(by.session)
                .is_some_and(|session| session.user_id == by.id)
            {
                unit.delete::<Session>(by.session);
            }
            Ok(())
        });
        ended.await
    }

    /// Gives the caller's own account another password. Other sessions end.
    pub async fn change_password(
        &self,
        id: UserId,
        request: ChangePassword,
        by: Caller,
        context: Context,
    ) -> Result<(), Error> {
        if by.id != id {
            return Err(Error::Unknown);
        }
        // A repetition cannot be verified any more: its answer is given again, or it comes again when that has expired.
        let answered = self.is_answered(&context).await?;
        let hashes = match answered {
            true => None,
            false => self.verified(id, request).await?,
        };
        let verified = hashes.is_some();
        let changed = self.engine.writer().answer(context, move |unit| {
            changeable(unit, id, by, &IfMatch::Absent)?;
            let Some((until_now, new)) = &hashes else {
                return Err(if answered {
                    writer::Error::InProgress.into()
                } else {
                    Error::InvalidCredentials
                });
            };
            let credential = unit.get::<Credential>(id).ok_or(Error::Unknown)?;
            if credential.hash != *until_now {
                return Err(Error::InvalidCredentials);
            }
            let generation = credential.generation + 1;
            unit.put(
                id,
                Credential {
                    hash: Arc::clone(new),
                    generation,
                },
            );
            if let Some(session) = unit.get::<Session>(by.session).filter(|session| session.user_id == id) {
                unit.put(by.session, session.under(generation));
            }
            unit.decide::<User>(
                id,
                Command::Change {
                    fields: vec!["password"],
                },
            )?;
            Ok(())
        });
        changed.await?;
        if verified {
            self.end_stale_sessions(id).await;
        }
        Ok(())
    }

    /// A token for one of our services; `None` if no secret is configured.
    pub fn sign_in_service(&self, request: &ServiceSignIn) -> Option<Result<ServiceToken, Error>> {
        let configured = self.config.service_secret.as_ref()?;
        // Equal hashes are equal secrets, and comparing them tells not even the length.
        let [given, configured] =
            [&request.secret, configured].map(|secret| digest(&SHA256, secret.as_str().as_bytes()));
        if verify_slices_are_equal(given.as_ref(), configured.as_ref()).is_err() {
            return Some(Err(Error::InvalidCredentials));
        }
        let claims = Claims::of_service(request.service, self.engine.clock().now());
        let token = self.signed(&claims);
        Some(Ok(ServiceToken {
            token,
            token_type: TokenType::Bearer,
            expires_in: TOKEN_LIFETIME_SECONDS.unsigned_abs(),
        }))
    }

    /// The hash of the current password, if that is what was given, and the hash of the new one.
    async fn verified(&self, id: UserId, request: ChangePassword) -> Result<Option<(Arc<str>, Arc<str>)>, Error> {
        let profile = self.engine.reader().get::<Profile>(id).await?.ok_or(Error::Unknown)?;
        let credential = self
            .engine
            .reader()
            .get::<Credential>(id)
            .await?
            .ok_or(Error::Unknown)?;
        let attempt = self.attempts.begin(&self.pseudonyms.email(&profile.email)).await?;
        let until_now = Arc::clone(&credential.hash);
        if !self
            .ports
            .hasher
            .verify(request.current_password, Some(Arc::clone(&until_now)))
            .await?
        {
            attempt.failed();
            return Ok(None);
        }
        drop(attempt);
        Ok(Some((until_now, self.ports.hasher.hash(request.new_password).await?)))
    }

    /// Tidies up: sessions of an earlier password are refused anyway, and deleted at their end if not now.
    pub(crate) async fn end_stale_sessions(&self, id: UserId) {
        if let Err(error) = session::end_stale(&self.engine, id).await {
            tracing::warn!(%error, "sessions that have ended are not deleted yet");
        }
    }

    fn tokens(&self, caller: Caller, secret: &[u8; 32]) -> Tokens {
        debug_assert_ne!(caller.role, Role::Service, "services have no sessions");
        let claims = Claims::of_user(caller, self.engine.clock().now());
        Tokens {
            token: self.signed(&claims),
            token_type: TokenType::Bearer,
            expires_in: TOKEN_LIFETIME_SECONDS.unsigned_abs(),
            refresh_token: self.refresh_tokens.issue(caller.session, secret),
            user_id: caller.id,
        }
    }

    fn signed(&self, claims: &Claims) -> Secret {
        self.ports
            .keys
            .sign(claims)
            .try_into()
            .expect("a token is shorter than a secret may be")
    }

    fn draw(&self) -> [u8; 32] {
        let mut secret = [0; 32];
        self.engine.ids().fill(&mut secret);
        secret
    }
}

#[cfg(test)]
mod tests {
    use kernel::access::AccessEvents;
    use testkit::harness::Harness;

    use super::*;
    use crate::{Config, Keys, Ports, SimulatedHasher};

    /// The sessions of an earlier password are deleted after its commit. Here the process ends in between.
    #[tokio::test(start_paused = true)]
    async fn a_session_of_an_earlier_password_is_refused_though_nobody_has_deleted_it() {
        let harness = Harness::new(contracts::Service::Users, crate::COLLECTIONS).await;
        let engine = harness.engine();
        let ports = Ports {
            keys: Keys::open(&engine).await.unwrap(),
            hasher: Arc::new(SimulatedHasher),
            access: AccessEvents::new(Arc::clone(engine.clock()), Arc::clone(engine.ids())),
        };
        let (bus, verifier) = (harness.bus(), harness.verifier());
        let users = Users::start(engine.clone(), bus, verifier, ports, Config::default())
            .await
            .unwrap();
        let email: contracts::Email = "ada@example.com".try_into().unwrap();
        users
            .create_admin(email.clone(), "correct horse".try_into().unwrap())
            .await
            .unwrap();
        let password = "correct horse".try_into().unwrap();
        let tokens = users
            .log_in(Login { email, password }, Context::system("test"))
            .await
            .unwrap();

        let id = tokens.user_id;
        let changed = engine
            .writer()
            .execute(Priority::Client, Context::system("test"), move |unit| {
                if let Some(credential) = unit.get::<Credential>(id) {
                    let generation = credential.generation + 1;
                    unit.put(
                        id,
                        Credential {
                            generation,
                            ..Credential::clone(&credential)
                        },
                    );
                }
                Ok::<(), writer::Error>(())
            });
        changed.await.unwrap();
        let session = users.refresh_tokens.read(&tokens.refresh_token).unwrap().session;
        assert!(engine.reader().get::<Session>(session).await.unwrap().is_some());

        let refresh_token = tokens.refresh_token;
        let refused = users
            .refresh(RefreshToken { refresh_token }, Context::system("test"))
            .await;
        assert!(matches!(refused, Err(Error::SessionEnded)), "{refused:?}");
        assert!(engine.reader().get::<Session>(session).await.unwrap().is_none());
    }
}
