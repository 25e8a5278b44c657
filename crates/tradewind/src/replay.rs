//! Real order history, played through the HTTP API and reconciled against the file.

mod history;
mod plan;
mod play;
mod reconcile;
mod report;

pub use history::{COLUMNS, Row, read};
pub use plan::{Plan, Rejected};
pub use play::{Played, Player, percent_encoded};
pub use reconcile::{Reconciliation, reconcile};
pub use report::Report;
