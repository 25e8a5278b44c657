//! What Redis's errors mean to the port.

use redis_access::AccessError;

/// Why a limiter was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not reached.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Each key may be on another server.
    #[error(
        "Redis at {0} runs as part of a cluster, over which the counts would be scattered: use one that does not \
         (cluster-enabled no)"
    )]
    Cluster(String),
    /// It is not the one to write to.
    #[error("Redis at {0} is a replica, which counts nothing: use the address of the master")]
    Replica(String),
    /// The user's rights are not enough.
    #[error(
        "Redis at {address} does not allow this user what counting needs ({reason}): ACL SETUSER … ~{prefix}:limit:* \
         +evalsha +script|load +time +get +set"
    )]
    NotAllowed {
        /// Where.
        address: String,
        /// In its words.
        reason: String,
        /// What the names of keys begin with.
        prefix: String,
    },
    /// It is there, and cannot count now: its memory is full, or it reads what it has on its disk.
    #[error("Redis at {address} cannot count now ({reason}): give it more memory (maxmemory) if that is what it lacks")]
    NotNow {
        /// Where.
        address: String,
        /// In its words.
        reason: String,
    },
    /// Requests would wait too long for it.
    #[error(
        "Redis at {address} takes longer than {answer_max_ms} ms to count: use one that is near, and not overloaded"
    )]
    Slow {
        /// Where.
        address: String,
        /// How long it has, in milliseconds.
        answer_max_ms: u128,
    },
}

impl OpenError {
    /// Whether it may pass by itself. All else waits for somebody to mend it.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::NotNow { .. } | Self::Slow { .. } => true,
            Self::Access(error) => error.is_outage(),
            Self::Cluster(_) | Self::Replica(_) | Self::NotAllowed { .. } => false,
        }
    }
}
