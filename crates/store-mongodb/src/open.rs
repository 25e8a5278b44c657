//! Making the collections, and bringing them in line with what the schema declares.
//!
//! Nothing of this can be in a transaction, nor under a lock, so each command can be given twice, and by two replicas at
//! once. What would be refused is looked for before the first of them.

mod existing;
mod plan;
mod shell;

use bson::Document;
use mongodb::Database;

use crate::failure::{OpenError, has_code, is_forbidden};
use crate::open::existing::Existing;
use crate::rows::{HeadRow, damaged};
use crate::store::MongodbOptions;

/// Another replica has been quicker: the collection is there (48), or the index is gone (27).
const DONE_BY_ANOTHER: [i32; 2] = [48, 27];
/// Another replica has changed an index since it was looked at, or its making was broken off for that.
const OTHER_INDEX: [i32; 3] = [85, 86, 276];
/// How often what is there is read, while another replica changes it.
const READINGS_MAX: usize = 8;

/// Makes what is missing.
pub(crate) async fn declare(database: &Database, options: &MongodbOptions) -> Result<(), OpenError> {
    let declared = async {
        for _ in 1..READINGS_MAX {
            match run(database, options, read_plan(database, options).await?).await {
                // What the other one has made need not be what this one declares.
                Ok(Ran::BesideAnother) => {}
                Err(OpenError::Database(error)) if has_code(&error, &OTHER_INDEX) => {}
                done => return done.map(drop),
            }
        }
        run(database, options, read_plan(database, options).await?)
            .await
            .map(drop)
    };
    in_words(declared.await, options)
}

/// What [`declare`] would run, as a person would have it done.
pub(crate) async fn plan(database: &Database, options: &MongodbOptions) -> Result<Vec<String>, OpenError> {
    let commands = in_words(read_plan(database, options).await, options)?;
    let typed = commands.iter().map(|command| shell::typed(&options.database, command));
    Ok(typed.collect())
}

async fn read_plan(database: &Database, options: &MongodbOptions) -> Result<Vec<Document>, OpenError> {
    let existing = Existing::read(database, options).await?;
    plan::commands(&existing, options)
}

/// How a plan was run.
#[derive(Debug)]
enum Ran {
    Alone,
    /// Another replica had done a part of it.
    BesideAnother,
}

async fn run(database: &Database, options: &MongodbOptions, plan: Vec<Document>) -> Result<Ran, OpenError> {
    let mut ran = Ran::Alone;
    for command in plan {
        let answer = match database.run_command(command).await {
            Err(error) if has_code(&error, &DONE_BY_ANOTHER) => {
                ran = Ran::BesideAnother;
                continue;
            }
            answer => answer?,
        };
        // Only the making of the head answers with a document, which is that of whichever replica came first.
        if let Ok(head) = answer.get_document("value") {
            let head: HeadRow = bson::deserialize_from_document(head.clone()).map_err(damaged)?;
            plan::check(&head, options)?;
        }
    }
    Ok(ran)
}

fn in_words<T>(outcome: Result<T, OpenError>, options: &MongodbOptions) -> Result<T, OpenError> {
    outcome.map_err(|error| match error {
        OpenError::Database(error) if is_forbidden(&error) => OpenError::Forbidden {
            database: options.database.clone(),
        },
        error => error,
    })
}
