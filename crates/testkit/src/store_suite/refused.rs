//! What one database takes and another does not: only the command that brings it is refused.

use std::sync::Arc;

use contracts::Service;
use kernel::clock::{Ids, SystemClock};
use kernel::context::Context;
use kernel::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use kernel::engine::{Engine, Parts, schema};
use kernel::store::{Schema, Store};
use kernel::unit::Unit;
use kernel::writer::{self, Priority};
use serde::{Deserialize, Serialize};

/// Commands that come at once, so that most of them are decided in one group.
const COMMANDS: usize = 24;
/// Which of them brings the value.
const CULPRIT: usize = 11;

/// A text that is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remark {
    word: String,
}

impl Document for Remark {
    const COLLECTION: &'static Collection = &Collection {
        name: "remarks",
        kind: Kind::Record,
        columns: &[Column {
            name: "word",
            column_type: ColumnType::Text,
        }],
        indexes: &[Index {
            name: "by_word",
            columns: &["word"],
        }],
    };

    fn columns(&self) -> Vec<Value> {
        vec![self.word.as_str().into()]
    }
}

/// Of a store for [`only_the_command_that_brings_it_is_refused`].
#[must_use]
pub fn remarks() -> Schema {
    schema(&[Remark::COLLECTION])
}

/// Of a group of commands, one of which brings a word that the database does not take.
pub async fn only_the_command_that_brings_it_is_refused(store: Arc<dyn Store>, word: &str) {
    let parts = Parts {
        store,
        replica: None,
        clock: Arc::new(SystemClock::new()),
        ids: Arc::new(Ids::from_entropy()),
    };
    let engine = Engine::start(Service::Orders, parts).await.expect("the store answers");
    let commands = (0..COMMANDS).map(|number| {
        let word = if number == CULPRIT {
            word.to_owned()
        } else {
            format!("word {number}")
        };
        let engine = engine.clone();
        async move {
            let put = move |unit: &mut Unit<'_>| {
                unit.put(number, Remark { word: word.clone() });
                Ok::<(), writer::Error>(())
            };
            let done = engine
                .writer()
                .execute(Priority::Client, Context::system("test"), put)
                .await;
            let found = engine.reader().get::<Remark>(number).await;
            (number, done, found.expect("the store answers").is_some())
        }
    });
    let commands: Vec<_> = commands.map(tokio::spawn).collect();
    for command in commands {
        let (number, done, found) = command.await.expect("no command panics");
        match number {
            CULPRIT => assert!(matches!(done, Err(writer::Error::Content(_))), "{done:?}"),
            _ => assert!(done.is_ok(), "{number}: {done:?}"),
        }
        assert_eq!(found, number != CULPRIT, "{number}");
    }
    engine.stop().await;
}
