//! Secrets that a service makes for itself on its first start and keeps as records.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::document::{Collection, Document, Kind};
use crate::engine::Engine;
use crate::writer::{self, Priority};

/// A random 256-bit secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secret {
    bytes: [u8; 32],
}

impl Document for Secret {
    const COLLECTION: &'static Collection = &Collection {
        name: "secrets",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Engine {
    /// The service's secret of this name, drawn on first use and the same for all its replicas ever after.
    pub async fn secret(&self, name: &'static str) -> Result<[u8; 32], writer::Error> {
        let ids = Arc::clone(self.ids());
        let secret = self
            .writer()
            .execute(Priority::Background, Context::system("secret"), move |unit| {
                if let Some(secret) = unit.get::<Secret>(name) {
                    return Ok(secret.bytes);
                }
                let mut bytes = [0; 32];
                ids.fill(&mut bytes);
                unit.put(name, Secret { bytes });
                Ok::<_, writer::Error>(bytes)
            });
        secret.await
    }
}
