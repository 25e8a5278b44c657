//! What Redis's errors mean to the port.

use kernel::bus::BusError;
use redis::RedisError;
use redis_access::{AccessError, code, words};

/// Why a bus was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not reached.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Scripts and streams are not what they must be.
    #[error("Redis at {address} is {version}, older than 7.0: use a newer one")]
    TooOld {
        /// Where.
        address: String,
        /// What it is.
        version: String,
    },
    /// The keys of one step would be on several servers.
    #[error(
        "Redis at {0} runs as part of a cluster, over which the lanes of a batch would be scattered: use one that does not \
         (cluster-enabled no)"
    )]
    Cluster(String),
    /// It is not the one to write to.
    #[error("Redis at {address} is a {role}, which takes no events: use the address of the master")]
    Role {
        /// Where.
        address: String,
        /// What it is instead of a master.
        role: String,
    },
    /// Nothing survives its end.
    #[error(
        "Redis at {0} keeps no append-only file, so that events would be lost: set appendonly yes in its configuration, or \
         CONFIG SET appendonly yes"
    )]
    NotKept(String),
    /// Far too much is lost with the machine.
    #[error(
        "Redis at {0} leaves it to the system when events get to the disk: set appendfsync everysec or always in its \
         configuration"
    )]
    NotFlushed(String),
    /// Memory is made by forgetting.
    #[error(
        "Redis at {address} forgets keys when its memory is full (maxmemory-policy {policy}), so that events would be lost: set \
         maxmemory-policy noeviction in its configuration, and use another server for caches"
    )]
    Forgets {
        /// Where.
        address: String,
        /// How it chooses.
        policy: String,
    },
    /// It may lose everything, or not.
    #[error(
        "Redis at {address} does not say what its {setting} is: allow this user INFO or CONFIG GET (ACL SETUSER … +info \
         +config|get)"
    )]
    Silent {
        /// Where.
        address: String,
        /// What must be known.
        setting: &'static str,
    },
    /// The user's rights are not enough.
    #[error(
        "Redis at {address} does not allow this user what a bus needs ({reason}): ACL SETUSER … ~{prefix}:* &{prefix} +@all \
         -@dangerous +info"
    )]
    NotAllowed {
        /// Where.
        address: String,
        /// In its words.
        reason: String,
        /// What the names of keys begin with.
        prefix: String,
    },
}

impl OpenError {
    /// Whether nobody answered, which may pass by itself. All else waits for somebody to mend it.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Access(error) if error.is_outage())
    }
}

/// It may go better in a moment.
pub(crate) fn unavailable(error: &RedisError) -> BusError {
    match code(error).as_deref() {
        Some("OOM") => {
            BusError::new("the memory of Redis is full: give it more (maxmemory), or keep events for a shorter time")
        }
        _ => BusError::new(words(error)),
    }
}
