//! The first admin: from the configuration, or made up on the first start of an empty embedded store.

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::{Email, Password};
use kernel::clock::Ids;
use users::Users;

use crate::config::Config;
use crate::data::DataDirectory;

const EMAIL: &str = "admin@tradewind.local";

/// A made-up admin, to be printed once.
#[derive(Debug)]
pub struct Generated {
    /// Its e-mail.
    pub email: String,
    /// Its password.
    pub password: String,
    /// The file that keeps the password.
    pub kept_in: std::path::PathBuf,
}

/// Sees to it that the shop has an admin. Answers with the one that was made up, if one was.
pub async fn ensure(users: &Users, config: &Config, data: &DataDirectory) -> Result<Option<Generated>> {
    if let Some((email, password)) = config.admin_email.as_ref().zip(config.admin_password.as_ref()) {
        if !users.has_admin().await? {
            let password = Password::try_from(password.reveal().to_owned())
                .map_err(|error| anyhow!("TRADEWIND_ADMIN_PASSWORD {error}"))?;
            users
                .create_admin(email.clone(), password)
                .await
                .context("cannot make the first admin")?;
        }
        return Ok(None);
    }
    if !users.is_empty().await? {
        return Ok(None);
    }
    let mut random = [0; 18];
    Ids::from_entropy().fill(&mut random);
    let password = URL_SAFE_NO_PAD.encode(random);
    // The file first: an admin whose password nobody knows would be of no use.
    let kept_in = data.write_admin_password(&password)?;
    let email = Email::try_from(EMAIL.to_owned()).expect("a constant e-mail");
    let secret = Password::try_from(password.clone()).expect("24 characters are enough");
    users
        .create_admin(email, secret)
        .await
        .context("cannot make the first admin")?;
    Ok(Some(Generated {
        email: EMAIL.to_owned(),
        password,
        kept_in,
    }))
}
