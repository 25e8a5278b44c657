//! The names of everything on the server.

use contracts::Service;
use kernel::bus::Group;
use kernel::event::Lane;

/// They begin with the prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// The channel that tells which lanes have something new.
    pub(crate) fn channel(&self) -> &str {
        &self.prefix
    }

    /// What a source's log is like.
    pub(crate) fn log(&self, source: Service) -> String {
        format!("{}:{source}", self.prefix)
    }

    pub(crate) fn lane(&self, source: Service, lane: Lane) -> String {
        format!("{}:{source}:{}", self.prefix, lane.0)
    }

    /// What is kept for a group.
    pub(crate) fn group(&self, group: &Group) -> String {
        let Group {
            service,
            consumer,
            source,
        } = group;
        format!("{}:{source}:{service}.{consumer}", self.prefix)
    }
}
