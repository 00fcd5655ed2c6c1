//! The program itself, as a process.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

pub(crate) fn write_definition(dir: &Path) -> PathBuf {
    let path = dir.join("notes.json");
    std::fs::write(&path, serde_json::to_string(&super::definition()).unwrap()).unwrap();
    path
}

pub(crate) fn offprint() -> Command {
    Command::new(env!("CARGO_BIN_EXE_offprint"))
}

impl Program {
    pub(crate) fn start(dir: &TempDir) -> Self {
        Self::start_with(dir, &[])
    }

    pub(crate) fn start_with(dir: &TempDir, options: &[&str]) -> Self {
        let mut child = offprint()
            .arg("serve")
            .arg(write_definition(dir.path()))
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(dir.path().join("data"))
            .args(options)
            .stdout(Stdio::piped())
            .stderr(File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("offprint: serving \"notes\" on http://").expect(&line);
        Self { address: address.trim().parse().unwrap(), child }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// The memory that the process has, in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
