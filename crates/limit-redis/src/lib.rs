//! The `RateLimiter` port on Redis: gateways that name the same one count together.
#![warn(missing_docs)]
