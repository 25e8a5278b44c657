//! The memory store passes the suite that databases pass, or tests and the simulation would prove nothing.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::memory::MemoryStore;
use kernel::store::Store;
use testkit::store_suite::{StoreFactory, fixture};
use uuid::Uuid;

struct Memory(Arc<MemoryStore>);

#[async_trait]
impl StoreFactory for Memory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0) as Arc<dyn Store>
    }
}

mod memory {
    use super::*;

    testkit::store_suite!(Memory(Arc::new(MemoryStore::new(
        fixture::schema(),
        Uuid::from_u128(1)
    ))));
}
