//! `tradewind bench`: how fast the shop is, beside what this machine could do at most.
//!
//! | module | says |
//! |---|---|
//! | [`server`] | the measured process: the shop or parts of it, with routes that touch nothing |
//! | [`valve`] | what keeps events from its consumers for a while, and counts what is published |
//! | [`witness`], [`stages`] | what the store of orders commits, and how long they take from placed to confirmed |
//! | [`measured`] | that process, as the bench starts, asks and watches it |
//! | [`shop`] | what it is filled with, and the requests that are made |
//! | [`load`] | the load generator: connections, as fast as they are answered or at a rate |
//! | [`run`] | which request at how many connections, and what is waited for between them |
//! | [`flush`] | what a flush takes on this disk |
//! | [`limit`] | what a database does at the most with what orders are stored as |
//! | [`cluster`] | shops of two processes with a broker between them, and what the broker takes at the most |
//! | [`figures`] | the modes, and what comes of measuring one |
//! | [`report`], [`plot`] | the figures as a table, as JSON and as a picture, and the targets beside them |

pub mod cluster;
pub mod figures;
pub mod flush;
pub mod limit;
pub mod load;
pub mod measured;
pub mod plot;
pub mod report;
pub mod run;
pub mod server;
pub mod shop;
pub mod stages;
pub mod valve;
pub mod witness;
