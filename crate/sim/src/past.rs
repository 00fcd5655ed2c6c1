//! What the logs that a server's disk has kept tell of its document.

use offprint_core::Image;
use offprint_core::disk::FileName;
use offprint_core::disk_memory::DiskMemory;
use offprint_core::history::{Restore, chain, describe};
use offprint_protocol::Error;

/// The document at the end of each log, from the first on that a whole one leads to.
pub(crate) fn images(disk: &DiskMemory) -> Result<Vec<Image>, Error> {
    let current = [FileName::Log0, FileName::Log1].map(|file| disk.bytes(file));
    let told = disk.kept().chain(current).filter_map(|log| {
        let kept = describe(log)?;
        Some((kept, &log[..kept.len as usize]))
    });
    let mut logs: Vec<_> = told.collect();
    logs.sort_by_key(|(kept, _)| (kept.start, kept.end));
    let kept: Vec<_> = logs.iter().map(|(kept, _)| *kept).collect();
    let mut images = Vec::new();
    for log in &kept {
        let mut restore = Restore::new(log.end);
        for (_, bytes) in &logs[chain(&kept, log.end)?] {
            restore.log(bytes)?;
        }
        images.push(restore.finish()?);
    }
    Ok(images)
}
