//! Notifications on memory stores: messages, routes, stored forms.

#![expect(clippy::unwrap_used, reason = "a fixture that is not valid should stop the test")]

mod golden;
mod http;
mod messages;
mod rig;
