//! Stores as released versions left them.

use std::path::Path;
use std::sync::Arc;

use kernel::store::Store;
use testkit::released::{assert_goes_on, schema};

use crate::{Place, Wanted};

/// Below it a directory for each form.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/released");

fn wanted() -> Wanted {
    let (schema, rebuild) = (schema(), Vec::new());
    Wanted { schema, rebuild }
}

pub(crate) async fn a_store_of_each_released_form_is_opened_and_goes_on<P: Place>() {
    let new = P::new();
    new.open(wanted()).await.expect("the store opens").close().await;
    let expected = new.described().await;
    let directories = std::fs::read_dir(FIXTURES).expect("there are fixtures");
    let forms: Vec<_> = directories.map(|form| form.expect("it is read").path()).collect();
    assert!(!forms.is_empty());
    for form in forms {
        let place = P::new();
        place.shell_inside(&fixture::<P>(&form)).await;
        let store = place.open(wanted()).await.expect("the store opens");
        let store_alone: Arc<dyn Store> = Arc::clone(&store) as _;
        assert_goes_on(&store_alone).await;
        store.close().await;
        assert_eq!(place.described().await, expected, "of {}", form.display());
        assert_eq!(place.plan(wanted()).await.expect("nothing is in its way"), [""; 0]);
    }
}

fn fixture<P: Place>(form: &Path) -> String {
    let path = form.join(P::FIXTURE);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
