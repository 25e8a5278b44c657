//! Which lanes have something new. A publication tells it to all processes; whoever waits for a lane looks again then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::watch;

/// By the keys of lanes. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    lanes: Arc<Mutex<BTreeMap<String, watch::Sender<()>>>>,
}

impl News {
    /// Changes whenever something was added to the lane.
    pub(crate) fn of(&self, lane: String) -> watch::Receiver<()> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.entry(lane).or_default().subscribe()
    }

    /// Takes what the server sends of its own accord.
    pub(crate) fn take(&self, info: &PushInfo) {
        if let (PushKind::Message, [_, Value::BulkString(text)]) = (&info.kind, info.data.as_slice()) {
            let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            let named = std::str::from_utf8(text).unwrap_or_default().split(' ');
            for lane in named.filter_map(|lane| lanes.get(lane)) {
                lane.send_replace(());
            }
        }
    }
}
