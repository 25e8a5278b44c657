//! Makes connections: reaches a broker, over TLS where that is asked for, finds out whether it will do, and logs in.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Decodable as _, StrBytes};
use kernel::clock::Ids;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::api::{Call as _, unknown_to};
use crate::connection::{Connection, Stream, lost};
use crate::failure::{Failure, OpenError};
use crate::options::{KafkaOptions, Login};
use crate::sasl::{self, Mechanism, Scram};

/// How long reaching a broker, or an answer of it, is waited for.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(5);
const NONCE_BYTES: usize = 24;

/// What it takes to reach any broker of the cluster.
pub(crate) struct Dialer {
    tls: Option<TlsConnector>,
    login: Option<Login>,
    client: StrBytes,
    ids: Arc<Ids>,
    /// The best that the brokers have been found to know.
    mechanism: Mutex<Mechanism>,
    seeds: Vec<String>,
    /// Where brokers were last said to be.
    brokers: Mutex<BTreeSet<String>>,
    is_reached: Arc<AtomicBool>,
}

/// Without the login.
impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("seeds", &self.seeds)
            .finish_non_exhaustive()
    }
}

/// `host:port` of a broker.
pub(crate) fn address(host: &str, port: i32) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

impl Dialer {
    /// Of a cluster that was reached. One seed that answers is enough, and one of the brokers that it names.
    pub(crate) async fn open(options: &KafkaOptions) -> Result<Self, OpenError> {
        let place = &options.place;
        let tls = place.is_tls.then(|| trusting(options)).transpose()?;
        let dialer = Self {
            tls,
            login: place.login.clone(),
            client: format!("tradewind-{}", options.prefix).into(),
            ids: Arc::clone(&options.ids),
            mechanism: Mutex::new(Mechanism::ScramSha512),
            seeds: place.addresses.clone(),
            brokers: Mutex::default(),
            is_reached: Arc::default(),
        };
        let mut refused = OpenError::Url;
        for seed in &dialer.seeds {
            match dialer.look(seed).await {
                Ok(()) => return Ok(dialer),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Asks a seed for the brokers, and tries to reach one of those.
    async fn look(&self, seed: &str) -> Result<(), OpenError> {
        let mut connection = self.dial(seed).await.map_err(|failure| failure.at(seed))?;
        let request = MetadataRequest::default()
            .with_topics(Some(Vec::new()))
            .with_allow_auto_topic_creation(false);
        let answer = connection
            .call(&request, ANSWER_MAX)
            .await
            .map_err(|failure| match failure {
                // It has just told what it knows, and to whom it tells more is what it does not like.
                Failure::Lost(_) if self.login.is_none() => Failure::LoginWanted.at(seed),
                other => other.at(seed),
            })?;
        self.note(&answer.brokers);
        let mut advertised = self.known();
        advertised.retain(|address| !self.seeds.contains(address));
        if advertised.len() < answer.brokers.len() {
            return Ok(());
        }
        let mut reason = "it names none".to_owned();
        for address in &advertised {
            match self.dial(address).await {
                Ok(_) => return Ok(()),
                Err(failure) => reason = failure.to_string(),
            }
        }
        Err(OpenError::Advertised {
            address: seed.to_owned(),
            advertised: advertised.join(", "),
            reason,
        })
    }

    /// Whether the broker that was asked last has answered. Each group is asked about once a second.
    pub(crate) fn is_reached(&self) -> bool {
        self.is_reached.load(Ordering::Acquire)
    }

    /// Remembers where brokers are.
    pub(crate) fn note(&self, brokers: &[MetadataResponseBroker]) {
        let addresses = brokers.iter().map(|broker| address(&broker.host, broker.port));
        let addresses: BTreeSet<String> = addresses.collect();
        if !addresses.is_empty() {
            *self.brokers.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
        }
    }

    /// Where brokers may be.
    pub(crate) fn known(&self) -> Vec<String> {
        let brokers = self.brokers.lock().unwrap_or_else(PoisonError::into_inner);
        let seeds = self.seeds.iter().filter(|seed| !brokers.contains(*seed));
        brokers.iter().chain(seeds).cloned().collect()
    }

    /// A connection to a broker that lets us in.
    pub(crate) async fn dial(&self, address: &str) -> Result<Connection, Failure> {
        let mechanism = *self.mechanism.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match self.dial_by(address, mechanism).await {
            Err(Failure::Mechanism(known)) => known,
            dialed => return dialed,
        };
        // The broker has ended the connection, and told what it knows.
        let is_known = |it: &Mechanism| known.split(", ").any(|known| known == it.name());
        let Some(better) = Mechanism::ALL.into_iter().find(is_known) else {
            return Err(Failure::Mechanism(known));
        };
        *self.mechanism.lock().unwrap_or_else(PoisonError::into_inner) = better;
        self.dial_by(address, better).await
    }

    async fn dial_by(&self, address: &str, mechanism: Mechanism) -> Result<Connection, Failure> {
        let stream = timeout(ANSWER_MAX, self.reach(address)).await;
        let stream = stream.unwrap_or(Err(Failure::Silent(ANSWER_MAX)));
        if stream.is_err() {
            self.is_reached.store(false, Ordering::Release);
        }
        let mut connection = Connection::over(stream?, self.client.clone(), Arc::clone(&self.is_reached));
        let asked = timeout(ANSWER_MAX, ask_versions(&mut connection)).await;
        asked.unwrap_or(Err(Failure::Silent(ANSWER_MAX)))?;
        if let Some(login) = &self.login {
            self.log_in(&mut connection, login, mechanism).await?;
        }
        Ok(connection)
    }

    async fn reach(&self, address: &str) -> Result<Box<dyn Stream>, Failure> {
        let stream = TcpStream::connect(address).await.map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| Failure::Tls(error.to_string()))?;
        let stream = tls.connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| Failure::Tls(error.to_string()))?))
    }

    async fn log_in(&self, connection: &mut Connection, login: &Login, mechanism: Mechanism) -> Result<(), Failure> {
        let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism.name()));
        let answer = connection.call(&request, ANSWER_MAX).await?;
        match ResponseError::try_from_code(answer.error_code) {
            None => {}
            Some(ResponseError::UnsupportedSaslMechanism) => {
                let known: Vec<&str> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
                return Err(Failure::Mechanism(known.join(", ")));
            }
            Some(ResponseError::IllegalSaslState) => return Err(Failure::LoginUnwanted),
            Some(code) => return Err(Failure::refused("logging in", code)),
        }
        let mut nonce = [0; NONCE_BYTES];
        self.ids.fill(&mut nonce);
        let Some(scram) = Scram::new(login, mechanism, &nonce) else {
            return say(connection, sasl::plain(login)).await.map(drop);
        };
        let challenge = say(connection, scram.first().into_bytes()).await?;
        let (last, expected) = scram.last(&challenge).map_err(|_| Failure::Login)?;
        let outcome = say(connection, last.into_bytes()).await?;
        Scram::is_proved(&expected, &outcome).map_err(|_| Failure::Login)
    }
}

/// One message of a login, and what is said to it.
async fn say(connection: &mut Connection, message: Vec<u8>) -> Result<bytes::Bytes, Failure> {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
    let answer = connection.call(&request, ANSWER_MAX).await?;
    match ResponseError::try_from_code(answer.error_code) {
        None => Ok(answer.auth_bytes),
        Some(ResponseError::SaslAuthenticationFailed) => Err(Failure::Login),
        Some(code) => Err(Failure::refused("logging in", code)),
    }
}

/// Whether it understands what will be said to it.
async fn ask_versions(connection: &mut Connection) -> Result<(), Failure> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("tradewind"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    let mut answer = connection.exchange(&request).await?;
    // One that does not know the question answers in its oldest form, which begins with the error.
    if answer.starts_with(&ResponseError::UnsupportedVersion.code().to_be_bytes()) {
        return Err(Failure::Unknown(format!("ApiVersions {}", ApiVersionsRequest::VERSION)));
    }
    let answer = ApiVersionsResponse::decode(&mut answer, ApiVersionsRequest::VERSION);
    let answer = answer.map_err(|error| Failure::Lost(format!("what it answers is not Kafka's protocol: {error}")))?;
    match unknown_to(&answer.api_keys) {
        None => Ok(()),
        Some(unknown) => Err(Failure::Unknown(unknown)),
    }
}

/// Trusts the authorities of the options, or those of this machine.
fn trusting(options: &KafkaOptions) -> Result<TlsConnector, OpenError> {
    let mut roots = RootCertStore::empty();
    let refused = |reason: String| OpenError::Authorities(reason);
    match &options.authorities {
        Some(file) => {
            let found = CertificateDer::pem_file_iter(file).map_err(|error| refused(error.to_string()))?;
            for certificate in found {
                let certificate = certificate.map_err(|error| refused(error.to_string()))?;
                roots.add(certificate).map_err(|error| refused(error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(refused("there are none".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
