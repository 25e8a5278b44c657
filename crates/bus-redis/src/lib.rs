//! The [`kernel::bus::Bus`] port on Redis Streams (Redis 7.0 or newer, Valkey): a stream for each lane of each service.
//!
//! # What is on the server
//!
//! Under keys that all begin with the prefix, here `TRADEWIND`:
//!
//! | key | type | what |
//! |---|---|---|
//! | `TRADEWIND:orders` | hash | `lanes`, and `life`, which differs whenever this was made anew |
//! | `TRADEWIND:orders:3` | stream | the events of lane 3, in the field `event` |
//! | `TRADEWIND:orders:payments.totals` | hash | of a consumer: `lane.3`, how far it has come there; `roster`, who receives which lanes |
//!
//! and a channel `TRADEWIND`, which wakes whoever reads. What has to be one step is a script (`scripts`). Nothing is read with
//! consumer groups: their pending entries come again late and out of order. See docs/decisions/0016-redis.md.
//!
//! # What Redis keeps
//!
//! A batch is acknowledged once the server has written it to its append-only file, and so survives the end of its process. With
//! `appendfsync everysec`, which is Redis's default, a power cut takes up to the last two seconds nevertheless; with `appendfsync
//! always` it takes nothing, and each batch takes as long as the disk does. Consumers see what is missing, and `tradewind
//! republish` sends it again. The same goes for a failover to a replica, which may be behind. `WAITAOF` of newer servers is not
//! used: with `everysec` it makes each batch wait for a second, and who wants that is better off with `always`.
//!
//! Servers that would lose more than that are refused: without an append-only file, with `appendfsync no`, or with a policy that
//! evicts keys when memory is full. Then, with `noeviction`, publishing waits until there is memory, and consumers go on.
//!
//! # Memory
//!
//! All that is kept is in memory: events of seven days ([`RedisOptions::max_age`]), each with about 60 bytes more than it has on
//! the wire, where the smallest are of 450 bytes and most of less than 1 KB. So a million events take about 0.8 GB, and as much
//! on the disk. What is older is removed while the same source publishes, whether every consumer has seen it or not.

mod bus;
mod check;
mod connection;
mod failure;
mod keys;
mod log;
mod logs;
mod news;
mod options;
mod scripts;
mod target;

pub use crate::bus::RedisBus;
pub use crate::failure::OpenError;
pub use crate::options::{MAX_AGE_DEFAULT, PREFIX_DEFAULT, RedisOptions};
