//! Logging in: SCRAM (RFC 5802, RFC 7677), by which the password is not sent, or PLAIN (RFC 4616), by which it is.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::options::Login;

/// Fewer would make the password guessable by whoever has overheard the login.
const ITERATIONS_MIN: u32 = 4096;
/// More would keep this process busy for as long as somebody else likes.
const ITERATIONS_MAX: u32 = 1_000_000;
/// The header of SCRAM without channel binding, and its form in base 64.
const HEADER: &str = "n,,";
const HEADER_ENCODED: &str = "biws";

/// The best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    ScramSha512,
    ScramSha256,
    Plain,
}

impl Mechanism {
    pub(crate) const ALL: [Self; 3] = [Self::ScramSha512, Self::ScramSha256, Self::Plain];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
        }
    }
}

/// What the other side said is not what it must be: it is not who knows the password, or not well.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Untrue;

/// The only message of PLAIN.
pub(crate) fn plain(login: &Login) -> Vec<u8> {
    format!("\0{}\0{}", login.user, login.password).into_bytes()
}

/// One login by SCRAM.
pub(crate) struct Scram<'a> {
    login: &'a Login,
    algorithms: Algorithms,
    nonce: String,
}

struct Algorithms {
    pbkdf2: pbkdf2::Algorithm,
    hmac: hmac::Algorithm,
    digest: &'static digest::Algorithm,
}

impl fmt::Debug for Scram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").finish_non_exhaustive()
    }
}

impl<'a> Scram<'a> {
    /// With random bytes that nobody has used before. `None` if the mechanism is another one.
    pub(crate) fn new(login: &'a Login, mechanism: Mechanism, random: &[u8]) -> Option<Self> {
        let algorithms = match mechanism {
            Mechanism::ScramSha512 => Algorithms {
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512,
                hmac: hmac::HMAC_SHA512,
                digest: &digest::SHA512,
            },
            Mechanism::ScramSha256 => Algorithms {
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256,
                hmac: hmac::HMAC_SHA256,
                digest: &digest::SHA256,
            },
            Mechanism::Plain => return None,
        };
        Some(Self {
            login,
            algorithms,
            nonce: BASE64.encode(random),
        })
    }

    /// What the client says first.
    pub(crate) fn first(&self) -> String {
        format!("{HEADER}{}", self.first_bare())
    }

    fn first_bare(&self) -> String {
        let user = self.login.user.replace('=', "=3D").replace(',', "=2C");
        format!("n={user},r={}", self.nonce)
    }

    /// What it says to the challenge, and what it is then to be told: that proves that the broker knows the user, too.
    pub(crate) fn last(&self, challenge: &[u8]) -> Result<(String, String), Untrue> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| Untrue)?;
        let mut parts = challenge.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or(Untrue);
        let (nonce, salt, iterations) = (part("r=")?, part("s=")?, part("i=")?);
        let salt = BASE64.decode(salt).map_err(|_| Untrue)?;
        let iterations: u32 = iterations.parse().map_err(|_| Untrue)?;
        let is_fresh = nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce);
        if !is_fresh || !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(Untrue);
        }
        let Algorithms { pbkdf2, hmac, digest } = &self.algorithms;
        let iterations = NonZeroU32::new(iterations).ok_or(Untrue)?;
        let mut salted = vec![0; digest.output_len()];
        pbkdf2::derive(*pbkdf2, iterations, &salt, self.login.password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(*hmac, key), text);
        let without_proof = format!("c={HEADER_ENCODED},r={nonce}");
        let spoken = format!("{},{challenge},{without_proof}", self.first_bare());
        let client = sign(&salted, b"Client Key");
        let stored = digest::digest(digest, client.as_ref());
        let signature = sign(stored.as_ref(), spoken.as_bytes());
        let proof: Vec<u8> = client
            .as_ref()
            .iter()
            .zip(signature.as_ref())
            .map(|(a, b)| a ^ b)
            .collect();
        let server = sign(&salted, b"Server Key");
        let expected = sign(server.as_ref(), spoken.as_bytes());
        Ok((
            format!("{without_proof},p={}", BASE64.encode(proof)),
            format!("v={}", BASE64.encode(expected)),
        ))
    }

    /// Whether the broker has proved itself.
    pub(crate) fn is_proved(expected: &str, outcome: &[u8]) -> Result<(), Untrue> {
        constant_time::verify_slices_are_equal(expected.as_bytes(), outcome).map_err(|_| Untrue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login {
            user: "user".to_owned(),
            password: "pencil".to_owned(),
        }
    }

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_example_of_the_standard_comes_out() {
        let login = login();
        let mut scram = Scram::new(&login, Mechanism::ScramSha256, b"").expect("it is SCRAM");
        scram.nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (last, expected) = scram.last(challenge.as_bytes()).expect("it is as it must be");
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(expected, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(Scram::is_proved(&expected, expected.as_bytes()), Ok(()));
        assert_eq!(Scram::is_proved(&expected, b"v=abc"), Err(Untrue));
        assert_eq!(Scram::is_proved(&expected, b"e=other-error"), Err(Untrue));
    }

    #[test]
    fn a_challenge_that_is_not_to_this_login_or_too_easy_is_refused() {
        let login = login();
        let mut scram = Scram::new(&login, Mechanism::ScramSha512, b"").expect("it is SCRAM");
        scram.nonce = "abc".to_owned();
        for wrong in [
            "",
            "r=abcd",
            "r=xbcd,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=abcd,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095",
            "r=abcd,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001",
            "r=abcd,s=!,i=4096",
            "m=ext,r=abcd,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        ] {
            assert_eq!(scram.last(wrong.as_bytes()).err(), Some(Untrue), "{wrong}");
        }
    }

    #[test]
    fn a_name_with_signs_of_scram_is_written_otherwise() {
        let login = Login {
            user: "a=b,c".to_owned(),
            password: String::new(),
        };
        let scram = Scram::new(&login, Mechanism::ScramSha512, b"abc").expect("it is SCRAM");
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=YWJj");
        assert_eq!(plain(&login), b"\0a=b,c\0");
    }
}
