//! What a flush takes on this disk.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::bench::load::{latencies, milliseconds};
use crate::stopwatch::now;

/// Flushes measured, and the bytes of each: about what a commit of some dozen orders writes.
const FLUSHES: u32 = 500;
const FLUSH_BYTES: usize = 64 * 1024;

/// The milliseconds that appending to a file and flushing it takes at worst, but for one time in a hundred.
pub fn p99_ms(directory: &Path) -> Result<f64> {
    let mut file = File::create(directory.join("flushed"))?;
    let mut latency: Histogram<u64> = latencies();
    for _ in 0..FLUSHES {
        let began = now();
        file.write_all(&[7; FLUSH_BYTES])?;
        file.sync_data()?;
        latency.saturating_record(u64::try_from(began.elapsed().as_micros())?.max(1));
    }
    Ok(milliseconds(&latency, 0.99))
}
