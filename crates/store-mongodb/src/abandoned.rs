//! Transactions whose client has gone. The server would keep them, and with them the head, for a minute or more.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;

/// A commit of ours pauses for milliseconds between two statements. One that stands still for so long was left behind by
/// a process that was killed, or by a machine that is off; if it was only held up, it is told so, and begins again. Less
/// than a commit waits for the head, so that the first one after a kill succeeds.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// Ends those of the clients that call themselves as this one does. What fails here is tried again by whoever waits next.
pub(crate) async fn end(client: &Client, name: &str) {
    let _ = try_end(client, name).await;
}

/// A user may see and end what is its own, without any role.
async fn try_end(client: &Client, name: &str) -> Result<(), mongodb::error::Error> {
    let admin = client.database("admin");
    let micros = i64::try_from(IDLE_MAX.as_micros()).unwrap_or(i64::MAX);
    let pipeline = [
        doc! { "$currentOp": { "idleSessions": true, "allUsers": false } },
        doc! { "$match": { "appName": name, "transaction.timeInactiveMicros": { "$gte": micros } } },
        doc! { "$project": { "session": "$lsid.id" } },
    ];
    let mut found = admin
        .aggregate(pipeline)
        .read_concern(mongodb::options::ReadConcern::local())
        .await?;
    let mut sessions: Vec<Document> = Vec::new();
    while found.advance().await? {
        let session: Document = found.deserialize_current()?;
        sessions.extend(session.get("session").map(|id| doc! { "id": id.clone() }));
    }
    if !sessions.is_empty() {
        admin.run_command(doc! { "killSessions": sessions }).await?;
    }
    Ok(())
}
