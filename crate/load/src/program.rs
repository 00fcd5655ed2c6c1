//! The server's process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;
use crate::setup::Setup;

/// A running server; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
}

/// Which cores a server may use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cores {
    All,
    /// The first of those that this process may use.
    One,
}

impl Program {
    /// Starts a server on a free port and waits until it listens.
    pub(crate) fn start(setup: &Setup, data: &Path, cores: Cores) -> Result<Self> {
        let mut command = Command::new(&setup.server);
        command
            .arg("serve")
            .arg(&setup.definition_file)
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(data);
        command.env("RUST_LOG", "error").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = match cores {
            Cores::All => command.spawn()?,
            Cores::One => spawn_on_one_core(command)?,
        };
        let mut line = String::new();
        if let Some(stdout) = child.stdout.as_mut() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim().rsplit_once("http://").and_then(|(_, address)| address.parse().ok());
        let address = address.ok_or_else(|| format!("the server does not say where it listens: {line:?}"))?;
        Ok(Self { child, address })
    }

    /// Stops it as an administrator would, and waits for its end.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }

    /// The memory that it has, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Ok(kilobytes.ok_or("the process has no VmRSS")? * 1024)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process has the affinity of the thread that starts it, so a thread is made for that.
fn spawn_on_one_core(mut command: Command) -> Result<Child> {
    let spawning = thread::spawn(move || -> Result<Child> {
        let all = sched_getaffinity(None)?;
        let first = (0..CpuSet::MAX_CPU).find(|core| all.is_set(*core)).ok_or("no core may be used")?;
        let mut one = CpuSet::new();
        one.set(first);
        sched_setaffinity(None, &one)?;
        Ok(command.spawn()?)
    });
    spawning.join().map_err(|_| "the thread that starts the server panicked")?
}
