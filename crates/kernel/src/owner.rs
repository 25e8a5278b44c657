//! Whose store it is, as the store itself says.
//!
//! Two services that are led to one database, perhaps by two names of its host or from two machines, would write into one
//! journal. The first that starts there notes itself, and the other is refused.

use contracts::Service;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::document::{Collection, Document, Kind};
use crate::engine::Engine;
use crate::store::StoreError;
use crate::writer::{self, Priority};

const STORE: &str = "store";

/// The note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    service: Service,
}

impl Document for Owner {
    const COLLECTION: &'static Collection = &Collection {
        name: "owners",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

/// Why a service does not start on a store.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another service has started on it before.
    #[error("its store is that of {owner}, and has room for one service: give {service} a store of its own")]
    Taken {
        /// Whose it is.
        owner: Service,
        /// Who came later.
        service: Service,
    },
}

/// Notes that the store is this service's, unless it is another's.
pub(crate) async fn claim(engine: &Engine) -> Result<(), StartError> {
    let service = engine.service();
    let found = engine.reader().get::<Owner>(STORE).await.map_err(StoreError::new)?;
    let owner = match found {
        Some(owner) => owner.service,
        None => {
            let claimed = engine
                .writer()
                .execute(Priority::Client, Context::system("owner"), move |unit| {
                    let owner = unit.get::<Owner>(STORE).map_or(service, |owner| owner.service);
                    if owner == service {
                        unit.put(STORE, Owner { service });
                    }
                    Ok::<Service, writer::Error>(owner)
                });
            claimed.await.map_err(StoreError::new)?
        }
    };
    match owner == service {
        true => Ok(()),
        false => Err(StartError::Taken { owner, service }),
    }
}
