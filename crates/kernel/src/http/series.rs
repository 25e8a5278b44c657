//! Request metrics of one endpoint, with the handles kept so that a request looks nothing up by name.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Method, StatusCode};
use metrics::{Counter, Histogram, counter, histogram};

/// The counters of one endpoint by (method, status). A handful, so a list is searched.
///
/// A recorder has to be installed before the first request: handles made earlier count for nothing.
#[derive(Default)]
pub struct Series(ArcSwap<Vec<Arc<Handles>>>);

struct Handles {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    seconds: Histogram,
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").finish_non_exhaustive()
    }
}

impl Series {
    /// Counts one answered request.
    pub fn record(&self, service: &'static str, path: &str, method: &Method, status: StatusCode, latency: Duration) {
        let method = known(method);
        let all = self.0.load();
        let found = all
            .iter()
            .find(|handles| handles.status == status && handles.method == method);
        if let Some(handles) = found {
            handles.requests.increment(1);
            handles.seconds.record(latency);
            return;
        }
        let labels = [
            ("service", service.to_owned()),
            ("method", method.to_owned()),
            ("path", path.to_owned()),
            ("status", status.as_u16().to_string()),
        ];
        let handles = Arc::new(Handles {
            method,
            status,
            requests: counter!("http_requests_total", &labels),
            seconds: histogram!("http_request_duration_seconds", &labels),
        });
        handles.requests.increment(1);
        handles.seconds.record(latency);
        self.0.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push(Arc::clone(&handles));
            all
        });
    }
}

/// The method as a label. Anybody can make methods up, so those share one.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use metrics::{Gauge, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    use super::*;

    /// Writes down which series are made and what they are told.
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    struct Note(Notes, String);

    impl Note {
        fn write(&self, value: impl fmt::Display) {
            self.0.0.lock().unwrap().push(format!("{} {value}", self.1));
        }
    }

    impl metrics::CounterFn for Note {
        fn increment(&self, value: u64) {
            self.write(value);
        }

        fn absolute(&self, _: u64) {}
    }

    impl HistogramFn for Note {
        fn record(&self, value: f64) {
            self.write(value);
        }
    }

    impl Notes {
        fn made(&self, key: &Key) -> Arc<Note> {
            let labels: Vec<_> = key
                .labels()
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            let note = Note(self.clone(), key.name().to_owned());
            note.write(labels.join(","));
            Arc::new(note)
        }
    }

    impl Recorder for Notes {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.made(key))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.made(key))
        }
    }

    #[test]
    fn a_series_is_made_once_and_told_of_every_request() {
        let notes = Notes::default();
        metrics::with_local_recorder(&notes, || {
            let series = Series::default();
            let record = |method: &[u8]| {
                let method = Method::from_bytes(method).unwrap();
                series.record(
                    "orders",
                    "/api/orders/{id}",
                    &method,
                    StatusCode::OK,
                    Duration::from_millis(250),
                );
            };
            for method in ["GET", "GET", "BREW", "STIR"] {
                record(method.as_bytes());
            }
        });
        insta::assert_snapshot!(notes.0.lock().unwrap().join("\n"), @r"
        http_requests_total service=orders,method=GET,path=/api/orders/{id},status=200
        http_request_duration_seconds service=orders,method=GET,path=/api/orders/{id},status=200
        http_requests_total 1
        http_request_duration_seconds 0.25
        http_requests_total 1
        http_request_duration_seconds 0.25
        http_requests_total service=orders,method=other,path=/api/orders/{id},status=200
        http_request_duration_seconds service=orders,method=other,path=/api/orders/{id},status=200
        http_requests_total 1
        http_request_duration_seconds 0.25
        http_requests_total 1
        http_request_duration_seconds 0.25
        ");
    }
}
