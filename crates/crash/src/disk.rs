//! A small disk that can be filled, and files that cannot be written.
//!
//! The harness has mounts of its own, which end with it: see [`enter_a_namespace_of_its_own`].

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// How much the disk holds at the most.
const SIZE: &str = "1g";
/// How much room is left on a full one: the next, if more was written meanwhile.
const SPARES_KIB: [u64; 6] = [4, 64, 256, 1024, 4096, 16384];
/// What tells the harness that its mounts are its own.
const NAMESPACE: &str = "CRASH_NAMESPACE";

/// Whether this process may mount: then it runs in a namespace of its own.
pub(crate) fn may_mount() -> bool {
    std::env::var_os(NAMESPACE).is_some()
}

/// Begins this process anew where its mounts are its own, if that is allowed here. It needs `unshare`, which is in
/// util-linux, and root.
pub(crate) fn enter_a_namespace_of_its_own() -> Result<()> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--"]);
        command
    };
    let mut tried = unshare();
    tried
        .args(["mount", "-t", "tmpfs", "none", "/mnt"])
        .stderr(Stdio::null());
    if may_mount() || !tried.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let mut again = unshare();
    again.arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    Err(again.env(NAMESPACE, "own").exec()).context("unshare cannot be run")
}

/// A disk in memory.
#[derive(Debug)]
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts one on a directory.
    pub(crate) fn mount(path: &Path) -> Result<Self> {
        std::fs::create_dir(path)?;
        let options = format!("size={SIZE},mode=0700");
        mount(&["-t", "tmpfs", "-o", &options, "tradewind-crash"], path)?;
        Ok(Self(path.to_owned()))
    }

    /// From now on there is little room, or none.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut filled = Ok(());
        for spare in SPARES_KIB {
            let disk = rustix::fs::statvfs(&self.0)?;
            let used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize;
            filled = mount(&["-o", &format!("remount,size={}", used + spare * 1024)], &self.0);
            if filled.is_ok() {
                break;
            }
        }
        filled
    }

    /// Whether there is none.
    pub(crate) fn is_full(&self) -> Result<bool> {
        Ok(rustix::fs::statvfs(&self.0)?.f_bavail == 0)
    }

    /// There is room again.
    pub(crate) fn empty(&self) -> Result<()> {
        mount(&["-o", &format!("remount,size={SIZE}")], &self.0)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Whoever looks into it needs the files.
            let kept = self.0.with_extension("kept");
            let _ = Command::new("cp").arg("-r").arg(&self.0).arg(kept).status();
        }
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A file that nobody can write, whoever they are, until this is dropped.
#[derive(Debug)]
pub(crate) struct ReadOnly(PathBuf);

impl ReadOnly {
    pub(crate) fn make(file: &Path) -> Result<Self> {
        mount(&["--bind", &file.to_string_lossy()], file)?;
        let held = Self(file.to_owned());
        mount(&["-o", "remount,bind,ro"], file)?;
        Ok(held)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn mount(arguments: &[&str], path: &Path) -> Result<()> {
    let done = Command::new("mount").args(arguments).arg(path).output();
    let done = done.context("mount cannot be run")?;
    if !done.status.success() {
        bail!(
            "mount {} {}: {}",
            arguments.join(" "),
            path.display(),
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(())
}
