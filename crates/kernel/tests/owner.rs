//! A store is one service's.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use contracts::Service;
use kernel::clock::{Ids, ManualClock};
use kernel::engine::{Engine, Parts, StartError, schema};
use kernel::memory::MemoryStore;
use kernel::store::Store;
use uuid::Uuid;

async fn start(service: Service, store: &Arc<dyn Store>) -> Result<Engine, StartError> {
    let parts = Parts {
        store: Arc::clone(store),
        replica: Some(Uuid::from_u128(1)),
        clock: Arc::new(ManualClock::starting_at("2026-03-01T12:00:00Z".parse().unwrap())),
        ids: Arc::new(Ids::from_seed(1)),
    };
    Engine::start(service, parts).await
}

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(schema(&[]), Uuid::from_u128(2)))
}

#[tokio::test]
async fn another_service_is_refused_by_name() {
    let store = store();
    start(Service::Orders, &store).await.unwrap().stop().await;
    let refused = start(Service::Users, &store)
        .await
        .expect_err("the store is that of orders");
    assert!(matches!(
        refused,
        StartError::Taken {
            owner: Service::Orders,
            service: Service::Users
        }
    ));
}

#[tokio::test]
async fn its_own_service_starts_again_and_beside_itself() {
    let store = store();
    let first = start(Service::Orders, &store).await.unwrap();
    let second = start(Service::Orders, &store).await.unwrap();
    first.stop().await;
    second.stop().await;
    start(Service::Orders, &store).await.unwrap().stop().await;
}
