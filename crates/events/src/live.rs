//! Live streams: server-sent events, resumable by the position that is each event's id.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, Stream};
use jiff::Timestamp;
use kernel::auth::{Caller, User, Verifier};
use kernel::clock::Clock;
use kernel::event::Position;
use kernel::feed::{Follower, Lost};

use crate::access::Listener;
use crate::entry::Readable;
use crate::seats::Seat;
use crate::{Entry, Filter};

/// How often a silent stream says that it is alive, and says how far it has come.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How soon a client should come back.
const RETRY_MS: u64 = 1000;
/// Entries taken from the log at once. A slow client holds no more than these.
const BATCH: usize = 32;
/// Streams that have seen everything look at what is new together, not each at every commit.
const LOOKS_APART: Duration = Duration::from_millis(20);
/// Pause after the store did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Who has the stream, and until when.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) user: User,
    pub(crate) expires_at: Timestamp,
}

/// A live stream. It reads from the log at the pace at which it is asked: a slow client costs a position and a few shared
/// entries, never a growing queue.
pub struct Live {
    clock: Arc<dyn Clock>,
    follower: Follower<Readable>,
    listener: Listener,
    filter: Filter,
    admission: Admission,
    /// Completes when the service ends its streams.
    ended: BoxFuture<'static, ()>,
    heartbeat: BoxFuture<'static, ()>,
    /// Read, and not yet asked for.
    pending: VecDeque<(Position, Arc<Entry>)>,
    /// The id that the client has seen last.
    told: Option<Position>,
    /// When the log is looked at again, on the monotonic clock.
    look_at: Duration,
    _seat: Seat,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("follower", &self.follower)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}

/// What a stream woke up for.
enum Woken {
    Ended,
    Heartbeat,
    Logged(Result<Vec<(Position, Readable)>, Lost>),
    Accessed(Option<Arc<Entry>>),
}

impl Live {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        follower: Follower<Readable>,
        listener: Listener,
        filter: Filter,
        admission: Admission,
        seat: Seat,
        ended: BoxFuture<'static, ()>,
    ) -> Self {
        Self {
            heartbeat: clock.sleep(until_heartbeat(&admission, clock.as_ref())),
            clock,
            follower,
            listener,
            filter,
            admission,
            ended,
            pending: VecDeque::new(),
            told: None,
            look_at: Duration::ZERO,
            _seat: seat,
        }
    }

    /// The next piece of the stream; `None` at its end: the service stops, the token has expired, or its user was erased.
    pub async fn next(&mut self) -> Option<Bytes> {
        if self.told.is_none() {
            // An id without data is no event, but where the client resumes even if nothing happens.
            let from = self.follower.position();
            self.told = Some(from);
            return Some(format!("retry: {RETRY_MS}\nid: {from}\n\n").into());
        }
        loop {
            if let Some((position, entry)) = self.pending.pop_front() {
                self.told = Some(position);
                return Some(entry.frame());
            }
            if !self.is_admitted() {
                return None;
            }
            let pause = self.look_at.saturating_sub(self.clock.monotonic());
            let logged = async {
                if !pause.is_zero() {
                    self.clock.sleep(pause).await;
                }
                self.follower.next(BATCH, |entry| self.filter.admits(entry)).await
            };
            let woken = tokio::select! {
                biased;
                () = &mut self.ended => Woken::Ended,
                () = &mut self.heartbeat => Woken::Heartbeat,
                logged = logged => Woken::Logged(logged),
                accessed = self.listener.next() => Woken::Accessed(accessed),
            };
            match woken {
                Woken::Ended | Woken::Accessed(None) | Woken::Logged(Err(Lost::Closed)) => return None,
                Woken::Heartbeat => {
                    self.heartbeat = self.clock.sleep(until_heartbeat(&self.admission, self.clock.as_ref()));
                    return Some(self.sign_of_life());
                }
                Woken::Logged(Ok(entries)) => {
                    self.pending.extend(
                        entries
                            .into_iter()
                            .filter_map(|(position, entry)| Some((position, entry?))),
                    );
                    let pause = if self.follower.is_at_head() {
                        LOOKS_APART
                    } else {
                        Duration::ZERO
                    };
                    self.look_at = self.clock.monotonic() + pause;
                }
                Woken::Logged(Err(Lost::Store(error))) => {
                    tracing::warn!(%error, "a live stream waits for the store");
                    self.look_at = self.clock.monotonic() + PAUSE;
                }
                Woken::Accessed(Some(entry)) if self.filter.matches(&entry) => return Some(entry.frame()),
                Woken::Accessed(Some(_)) => {}
            }
        }
    }

    /// As the body of an answer.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        stream::unfold(self, |mut live| async move {
            live.next().await.map(|piece| (Ok(piece), live))
        })
    }

    fn is_admitted(&self) -> bool {
        let Admission {
            verifier,
            user,
            expires_at,
        } = &self.admission;
        self.clock.now() < *expires_at && verifier.admit(&Caller::User(*user)).is_ok()
    }

    /// A comment, or how far the stream has come through entries that are not for it: there it resumes.
    fn sign_of_life(&mut self) -> Bytes {
        let position = self.follower.position();
        if self.told.is_some_and(|told| told < position) {
            self.told = Some(position);
            format!("id: {position}\n\n").into()
        } else {
            Bytes::from_static(b":\n\n")
        }
    }
}

/// The end of the token is noticed when it comes.
fn until_heartbeat(admission: &Admission, clock: &dyn Clock) -> Duration {
    let left = admission.expires_at.duration_since(clock.now());
    HEARTBEAT.min(Duration::try_from(left).unwrap_or_default())
}
