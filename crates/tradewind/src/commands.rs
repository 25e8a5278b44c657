//! The commands of the binary, each in its own file.

pub mod admin;
pub mod api;
pub mod backup;
pub mod bench;
pub mod config;
pub mod copy;
pub mod demo;
pub mod migrate;
pub mod rebuild;
pub mod replay;
pub mod restore;
pub mod serve;
pub mod status;
