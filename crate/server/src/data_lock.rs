//! The lock on a data directory: a server has it alone, the commands that look into it share it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use offprint_protocol::{Code, Error};

/// The lock's file in the data directory; no document's directory has this name.
const NAME: &str = "offprint.lock";
const RETRY: Duration = Duration::from_millis(20);

/// A hold on a data directory; it ends when this is dropped, or the process does.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// For a server: nobody else may be there. Fails with `blocked` if somebody still is after `patience`.
    pub(crate) fn alone(data: &Path, patience: Duration) -> Result<Self, Error> {
        take(data, patience, File::try_lock)
    }

    /// For a command: no server may be there. Fails with `blocked` if one is.
    pub fn beside_others(data: &Path) -> Result<Self, Error> {
        take(data, Duration::ZERO, File::try_lock_shared)
    }
}

fn take(
    data: &Path,
    patience: Duration,
    lock: impl Fn(&File) -> Result<(), TryLockError>,
) -> Result<DataLock, Error> {
    let failed = |error: io::Error| {
        Error::new(Code::Disk, format!("cannot lock the data directory {}: {error}", data.display()))
    };
    let path = data.join(NAME);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    let start = Instant::now();
    loop {
        match lock(&file) {
            Ok(()) => return Ok(DataLock { _file: file }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if start.elapsed() >= patience => {
                let what = format!("a server or another command is using {}", data.display());
                return Err(Error::new(Code::Blocked, what));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(RETRY.min(patience)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_alone_and_commands_are_together() {
        let dir = tempfile::tempdir().unwrap();
        let server = DataLock::alone(dir.path(), Duration::ZERO).unwrap();
        for result in [DataLock::alone(dir.path(), Duration::ZERO), DataLock::beside_others(dir.path())] {
            assert_eq!(result.unwrap_err().code, Code::Blocked);
        }
        drop(server);
        let one = DataLock::beside_others(dir.path()).unwrap();
        let _two = DataLock::beside_others(dir.path()).unwrap();
        assert_eq!(DataLock::alone(dir.path(), Duration::ZERO).unwrap_err().code, Code::Blocked);
        drop(one);
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        assert_eq!(DataLock::beside_others(&absent).unwrap_err().code, Code::Disk);
        assert!(!absent.exists());
    }
}
